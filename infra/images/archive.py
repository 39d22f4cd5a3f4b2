"""The kernel's initial file system: a cpio archive in the "newc" format.

Why not the cpio program: it packs what lies on a disk, so device nodes and files owned by root would need root, and
its archives differ from run to run. Sixty lines that write the format need neither and always write the same bytes.
"""

import gzip
import stat
from pathlib import PurePosixPath

CONSOLE = (5, 1)  # /dev/console, major and minor


class Archive:
    """Files for the initial file system, all owned by root and dated at the epoch."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._names: set[str] = set()

    def directory(self, name: str, mode: int = 0o755) -> None:
        """Add a directory; one that is there already is left as it is."""
        self._add(name, stat.S_IFDIR | mode)

    def file(self, name: str, data: bytes, mode: int = 0o644) -> None:
        """Add a file; one that is there already stays, so the first to claim a name wins."""
        self._add(name, stat.S_IFREG | mode, data)

    def link(self, name: str, target: str) -> None:
        """Add a symbolic link; a file that is there already stays."""
        self._add(name, stat.S_IFLNK | 0o777, target.encode())

    def console(self) -> None:
        """Add /dev/console, which the first process needs before it can mount anything."""
        self._add("dev/console", stat.S_IFCHR | 0o600, device=CONSOLE)

    def compressed(self) -> bytes:
        """The finished archive, gzip-compressed."""
        trailer = self._entry("TRAILER!!!", 0, b"", (0, 0), number=0)
        return gzip.compress(bytes(self._body) + trailer, compresslevel=9, mtime=0)

    def _add(self, name: str, mode: int, data: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
        name = name.strip("/")
        if name in self._names:
            return
        # The kernel makes no parents of its own: a directory has to stand before what is in it.
        if (parent := str(PurePosixPath(name).parent)) != ".":
            self.directory(parent)
        self._names.add(name)
        self._body += self._entry(name, mode, data, device, number=len(self._names))

    @staticmethod
    def _entry(name: str, mode: int, data: bytes, device: tuple[int, int], number: int) -> bytes:
        path = name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(mode) else 1
        # inode, mode, uid, gid, links, mtime, size, device of the file, device it stands for, name size, checksum
        fields = (number, mode, 0, 0, links, 0, len(data), 0, 0, *device, len(path), 0)
        header = b"070701" + b"".join(b"%08x" % field for field in fields)
        return _padded(header + path) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
