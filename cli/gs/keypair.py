"""gs keypair: public keys by name. A private key is shown when the service makes it, and never again."""

from contextlib import nullcontext
from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.completion import files
from cli.gs.new_file import NewFile
from cli.gs.options import command
from cli.gs.output import Format
from cli.gs.parsing import one_name, text_or_file
from cli.gs.problems import Refused
from cli.gs.resources import KEYPAIR
from cli.gs.standard import add_delete, add_list, add_show
from cli.gs.story import add_story
from cli.terminal import write

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
        str | None,
        typer.Option(
            "--public-key",
            metavar="FILE|KEY",
            help="An OpenSSH public key, or the file that holds it.",
            autocompletion=files(),
        ),
    ] = None,
    private_key: Annotated[
        str | None,
        typer.Option(
            "--private-key",
            metavar="FILE",
            help="Write the private key that is made to this file.",
            autocompletion=files(),
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file of --private-key, if it exists.")] = False,
) -> None:
    """Store a public key, or make a new pair and show its private key, once."""
    body: dict[str, Any] = {"name": one_name(argument, name)}
    if public_key is not None:
        if private_key is not None:
            raise typer.BadParameter("--private-key is for a new pair; it does not go with --public-key.")
        body["public_key"] = text_or_file(public_key).strip()
    with NewFile(private_key, force=force) if private_key is not None else nullcontext() as file:
        answer = call.client.write("POST", KEYPAIR.path(), body)
        made = answer.get("private_key")
        if not made and public_key is None:
            raise Refused(
                f"Keypair {body['name']} was made, but the answer with its private key was lost, and it is kept "
                "nowhere.",
                "Delete the keypair and create it again.",
            )
        text = f"{made.rstrip()}\n" if made else ""
        if made:
            call.only_now("private_key", text)
        if made and file is not None:
            file.write(text.encode())
            call.told(["private_key"])
    if made and file is not None:
        call.note(f"The private key is in {private_key}.")
        call.written(KEYPAIR, answer.without("private_key"))
    elif made and call.options.form is Format.TABLE and not call.options.raw and not call.options.fields:
        # As Nova does: the key alone is the answer, so that `> FILE` makes a usable file.
        call.note(f"Keypair {body['name']} ({answer.get('fingerprint')}). Its private key is shown only now:")
        write(text)
        call.told(["private_key"])
    else:
        call.written(KEYPAIR, answer, extra={"private_key": made} if made else None)


add_delete(app, KEYPAIR)
