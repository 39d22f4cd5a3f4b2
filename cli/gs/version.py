"""gs version: of this program and of the service it speaks to."""

from cli.gs.call import Call
from cli.gs.problems import GsError


def version(call: Call) -> None:
    """Show the version of this program and of the service."""
    known = {"client": own()}
    try:
        answer = call.client.get("/version")
    except GsError:
        # This program's version needs no service; the exit status still says that there is none.
        call.show(known)
        raise
    said = answer.body if isinstance(answer.body, dict) else {}
    call.show({**known, "service": said.get("version"), **{key: said[key] for key in said if key != "version"}})


def own() -> str:
    """Return the version of this program."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("gostack")
    except PackageNotFoundError:
        return "not installed"
