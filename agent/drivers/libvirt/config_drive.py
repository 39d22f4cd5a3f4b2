"""The config drive: an ISO 9660 image with a guest's metadata documents.

Why an image made here and not by a tool: it is a few kilobytes, and what is in it (a password) must not pass through
a command line or a directory that others can read.
"""

import io
import os
import stat
from pathlib import Path

import pycdlib

LABEL = "config-2"
_FOLDERS = (("/OPENSTAC", "openstack"), ("/OPENSTAC/LATEST", "latest"))


def write(path: Path, documents: dict[str, bytes]) -> None:
    """Write the image with the documents under openstack/latest/. Raises OSError."""
    fresh = path.with_suffix(".new")
    handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w+b") as file:
        file.write(image(documents))
    fresh.replace(path)


def read(path: Path) -> dict[str, bytes]:
    """Read the documents on an image that `write` has made, by name. Raises OSError."""
    iso = pycdlib.PyCdlib()
    iso.open(str(path))
    folder = "/" + "/".join(name for _, name in _FOLDERS)
    found = {}
    for child in iso.list_children(joliet_path=folder):
        if child.is_file():
            name = child.file_identifier().decode("utf-16-be")
            content = io.BytesIO()
            iso.get_file_from_iso_fp(content, joliet_path=f"{folder}/{name}")
            found[name] = content.getvalue()
    iso.close()
    return found


def image(documents: dict[str, bytes]) -> bytes:
    """The bytes of the image."""
    iso = pycdlib.PyCdlib()
    # Rock Ridge for the names on Unix, Joliet for those on Windows; both have the documents' own.
    iso.new(interchange_level=3, rock_ridge="1.09", joliet=3, vol_ident=LABEL)
    joliet = ""
    for folder, name in _FOLDERS:
        joliet = f"{joliet}/{name}"
        iso.add_directory(folder, rr_name=name, joliet_path=joliet, file_mode=stat.S_IFDIR | 0o500)
    for number, (name, content) in enumerate(sorted(documents.items())):
        iso.add_fp(
            io.BytesIO(content),
            len(content),
            f"{_FOLDERS[-1][0]}/DOC{number}.;1",
            rr_name=name,
            joliet_path=f"{joliet}/{name}",
            file_mode=stat.S_IFREG | 0o400,
        )
    written = io.BytesIO()
    iso.write_fp(written)
    iso.close()
    return written.getvalue()
