"""gs image: images for root disks. The bytes are uploaded first, under their checksum; the image then names them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.completion import files
from cli.gs.options import command
from cli.gs.parsing import one_name
from cli.gs.problems import Usage
from cli.gs.resources import IMAGE
from cli.gs.standard import add_delete, add_list, add_show
from cli.gs.story import add_story

CHUNK = 1 << 20  # bytes

app = typer.Typer()

add_list(app, IMAGE)
add_show(app, IMAGE, past=True)
add_story(app, IMAGE)


@command(app, writes=True)
def create(
    call: Call,
    file: Annotated[
        Path,
        typer.Option("--file", metavar="FILE", help="File with the disk image: qcow2 or raw.", autocompletion=files()),
    ],
    argument: Annotated[str | None, typer.Argument(metavar="NAME", help="Name of the image, or --name.")] = None,
    name: Annotated[str | None, typer.Option("--name", help="Name of the image.")] = None,
    description: Annotated[str | None, typer.Option("--description", help="Description of the image.")] = None,
    arch: Annotated[str | None, typer.Option("--arch", help="Processor architecture, e.g. x86_64.")] = None,
) -> None:
    """Upload a disk image and give it a name."""
    wanted = one_name(argument, name)
    if not file.is_file():
        raise Usage(f"{file} is no file.")
    stored = call.client.upload("/images/uploads", lambda: _chunks(file), file.stat().st_size)
    body: dict[str, Any] = {"name": wanted, "checksum": stored.get("checksum")}
    body |= {key: value for key, value in (("description", description), ("arch", arch)) if value is not None}
    call.written(IMAGE, call.client.write("POST", IMAGE.path(), body))


add_delete(app, IMAGE)


def _chunks(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}.") from error
