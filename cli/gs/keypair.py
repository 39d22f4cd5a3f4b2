"""gs keypair: public keys by name. A private key is shown once, when the service makes it, and stored nowhere."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.options import command
from cli.gs.output import Format, write
from cli.gs.parsing import one_name, text_or_file
from cli.gs.problems import Refused, Usage
from cli.gs.resources import KEYPAIR
from cli.gs.standard import add_delete, add_list, add_show
from cli.gs.story import add_story

app = typer.Typer()

add_list(app, KEYPAIR)
add_show(app, KEYPAIR, past=True)
add_story(app, KEYPAIR)


@command(app, writes=True)
def create(
    call: Call,
    argument: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the keypair, or --name.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the keypair.")] = None,
    public_key: Annotated[
        str | None, typer.Option("--public-key", help="An OpenSSH public key, or the file that holds it.")
    ] = None,
    private_key: Annotated[
        str | None,
        typer.Option("--private-key", metavar="FILE", help="Write the private key that is made to this file."),
    ] = None,
) -> None:
    """Store a public key, or make a new pair and show its private key, once."""
    body: dict[str, Any] = {"name": one_name(argument, name)}
    if public_key is not None:
        if private_key is not None:
            raise typer.BadParameter("--private-key is for a new pair; it does not go with --public-key.")
        body["public_key"] = text_or_file(public_key).strip()
    if private_key is not None and Path(private_key).exists():
        raise Usage(f"{private_key} exists already.", "It is not overwritten: it may be the only copy of a key.")
    answer = call.client.write("POST", KEYPAIR.path(), body)
    made = answer.get("private_key")
    if not made and public_key is None:
        raise Refused(
            f"Keypair {body['name']} was made, but the answer with its private key was lost, and it is kept nowhere.",
            "Delete the keypair and create it again.",
        )
    public = answer.without("private_key")
    if made and private_key is not None:
        _keep(Path(private_key), made)
        call.written(KEYPAIR, public)
        call.note(f"The private key is in {private_key}.")
    elif made and call.options.form is Format.TABLE and not call.options.raw and not call.options.fields:
        # As Nova does: the key alone is the answer, so that `> FILE` makes a usable file.
        call.note(f"Keypair {body['name']} ({answer.get('fingerprint')}). Its private key is shown only now:")
        write(made if made.endswith("\n") else made + "\n")
    else:
        call.written(KEYPAIR, answer, extra={"private_key": made} if made else None)


add_delete(app, KEYPAIR)


def _keep(path: Path, text: str) -> None:
    """Create a file that only its owner can read, from its first byte on."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(text if text.endswith("\n") else text + "\n")
