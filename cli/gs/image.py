"""gs image: images for root disks. An image is made first; then its bytes are uploaded, or the service fetches them."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cli.gs.call import Call
from cli.gs.completion import closed, files
from cli.gs.options import command
from cli.gs.parsing import one_name, pairs, size
from cli.gs.problems import GsError, Usage
from cli.gs.resources import IMAGE
from cli.gs.standard import add_delete, add_list, add_show, argument
from cli.gs.story import add_story

app = typer.Typer()

Text = str | None
Which = Annotated[str, argument(IMAGE)]
Description = Annotated[Text, typer.Option("--description", help="Description of the image.")]
Arch = Annotated[
    Text, typer.Option("--arch", "--architecture", help="Processor architecture, e.g. x86_64, amd64 or aarch64.")
]
Visibility = Annotated[
    Text,
    typer.Option("--visibility", help="Who may use it: private or public.", autocompletion=closed("private", "public")),
]
Protected = Annotated[bool | None, typer.Option("--protected/--no-protected", help="Refuse to delete it.")]
MinDisk = Annotated[Text, typer.Option("--min-disk", help="Least size of a root disk: bytes, or with K, M, G, T.")]
MinRam = Annotated[Text, typer.Option("--min-ram", help="Least memory of a flavor: bytes, or with K, M, G, T.")]
Property = Annotated[
    list[str] | None, typer.Option("--property", help="Properties K=V,K2=V2, e.g. os_type=linux, hw_disk_bus=scsi.")
]
DISK_FORMATS, CONVERTIBLE = ("qcow2", "raw", "iso"), ("vmdk", "vdi", "vhd", "vhdx")

add_list(app, IMAGE)
add_show(app, IMAGE, past=True)
add_story(app, IMAGE)


@command(app, writes=True)
def create(
    call: Call,
    argument: Annotated[Text, typer.Argument(metavar="NAME", help="Name of the image, or --name.")] = None,
    name: Annotated[Text, typer.Option("--name", help="Name of the image.")] = None,
    file: Annotated[
        Path | None,
        typer.Option("--file", metavar="FILE", help="File with the disk image.", autocompletion=files()),
    ] = None,
    url: Annotated[Text, typer.Option("--url", help="URL from which the service fetches it: http or https.")] = None,
    checksum: Annotated[Text, typer.Option("--checksum", help="SHA-256 that the bytes of --url have to have.")] = None,
    disk_format: Annotated[
        Text,
        typer.Option(
            "--disk-format", help="What it has to be: qcow2, raw or iso.", autocompletion=closed(*DISK_FORMATS)
        ),
    ] = None,
    convert: Annotated[
        Text,
        typer.Option("--convert", help="Convert it from vmdk, vdi, vhd or vhdx.", autocompletion=closed(*CONVERTIBLE)),
    ] = None,
    description: Description = None,
    arch: Arch = None,
    visibility: Visibility = None,
    protected: Protected = None,
    min_disk: MinDisk = None,
    min_ram: MinRam = None,
    properties: Property = None,
) -> None:
    """Make an image of a file, or of what a URL gives; without either, its file is uploaded later."""
    from cli.gs import transfer

    if file is not None and url is not None:
        raise Usage("--file does not go with --url.")
    if file is not None and not file.is_file():
        raise Usage(f"{file} is no file.")
    body = {
        "name": one_name(argument, name),
        "url": url,
        "checksum": transfer.checksum_of(file) if file is not None else checksum,
        "disk_format": disk_format,
        "convert_from": convert,
        **_fields(description, arch, visibility, protected, min_disk, min_ram, properties),
    }
    given = {key: value for key, value in body.items() if value is not None}
    answer = call.client.write("POST", IMAGE.path(), given)
    call.settle(answer)
    if file is None and (url is None or not call.options.wait):
        call.written(IMAGE, answer)
        return
    _complete(call, str(answer.get("id")), file)


@command(app, writes=True)
def upload(
    call: Call,
    which: Which,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File with the disk image.", autocompletion=files())],
) -> None:
    """Upload the file of an image that has none; an upload that was interrupted goes on."""
    from cli.gs import transfer

    if not file.is_file():
        raise Usage(f"{file} is no file.")
    ident = call.ident(IMAGE, which)
    wanted = call.client.get(IMAGE.path(ident)).get("checksum")
    if wanted and wanted != transfer.checksum_of(file):
        raise Usage(f"{file} is not the file that the image is to have: its SHA-256 differs.")
    _complete(call, ident, file)


@command(app)
def download(
    call: Call,
    which: Which,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to write.", autocompletion=files())],
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """Download the file of an image, and compare its checksum; what was interrupted goes on."""
    from cli.gs import transfer

    if file.exists() and not force:
        raise Usage(f"{file} is there already.", "--force writes over it.")
    image: dict[str, Any] = dict(call.client.get(IMAGE.path(call.ident(IMAGE, which))).body or {})
    try:
        transfer.download(call.client, image, file)
    except OSError as error:
        raise Usage(f"{file} cannot be written: {error.strerror}.") from error
    call.note(f"{file}: {image['size']} bytes, SHA-256 {image['checksum']}")


@command(app, writes=True)
def update(
    call: Call,
    which: Which,
    name: Annotated[Text, typer.Option("--name", help="New name of the image.")] = None,
    description: Description = None,
    arch: Arch = None,
    visibility: Visibility = None,
    protected: Protected = None,
    min_disk: MinDisk = None,
    min_ram: MinRam = None,
    properties: Property = None,
    remove: Annotated[list[str] | None, typer.Option("--remove-property", help="Remove this property.")] = None,
) -> None:
    """Change an image; instances that were made of it stay as they are."""
    fields = _fields(description, arch, visibility, protected, min_disk, min_ram, properties)
    if remove:
        fields["properties"] = {**dict.fromkeys(remove, ""), **(fields["properties"] or {})}
    body = {key: value for key, value in {"name": name, **fields}.items() if value is not None}
    if not body:
        raise typer.BadParameter("Nothing is to be changed.")
    ident = call.ident(IMAGE, which)
    call.written(IMAGE, call.client.write("PATCH", IMAGE.path(ident), body), ident)


add_delete(app, IMAGE)


def _fields(
    description: str | None,
    arch: str | None,
    visibility: str | None,
    protected: bool | None,
    min_disk: str | None,
    min_ram: str | None,
    properties: list[str] | None,
) -> dict[str, Any]:
    """Return the fields that create and update share, None for those that were not given."""
    return {
        "description": description,
        "arch": arch,
        "visibility": visibility,
        "protected": protected,
        "min_disk": size(min_disk) if min_disk is not None else None,
        "min_ram": size(min_ram) if min_ram is not None else None,
        "properties": pairs(properties) if properties else None,
    }


def _complete(call: Call, ident: str, file: Path | None) -> None:
    """Upload a file, if there is one, wait until the image is active, and show it."""
    from cli.gs import transfer

    try:
        if file is not None:
            transfer.upload(call, ident, file)
        if call.options.wait:
            call.show(transfer.verified(call, ident))
            return
    except (GsError, KeyboardInterrupt):
        again = f"gs image upload {ident} {file}" if file is not None else f"gs image show {ident}"
        call.note(f"Image {ident} is there. It goes on with: {again}")
        raise
    call.show_answer(call.client.get(IMAGE.path(ident)))
