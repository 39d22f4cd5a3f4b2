"""Debian packages as a source of files, without installing them.

Why: the image needs a kernel and a few programs built for the guest, not for the machine that builds it, and building
must not need root. apt already knows the mirrors, the signatures and the versions, so fetching is left to it.
"""

import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

QUERY_TIMEOUT = 60  # seconds
DOWNLOAD_TIMEOUT = 600  # seconds


class PackageUnknown(Exception):
    """apt knows no such package; run `apt-get update`, and build on Debian 12, x86-64."""


@dataclass(frozen=True)
class Package:
    """A version of a Debian package, with the names of the packages that it needs."""

    name: str
    version: str
    depends: tuple[str, ...]


def look_up(names: Sequence[str]) -> list[Package]:
    """Return the versions that apt would install, in the order of `names`.

    Raises PackageUnknown.
    """
    answer = subprocess.run(
        ["apt-cache", "show", "--no-all-versions", *names],
        capture_output=True, text=True, timeout=QUERY_TIMEOUT, check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    found: dict[str, Package] = {}
    for paragraph in answer.stdout.split("\n\n"):
        fields = dict(re.findall(r"^(\S+): *(.*)$", paragraph, re.MULTILINE))
        if "Package" in fields:
            depends = tuple(part.split()[0] for part in re.split(r"[,|]", fields.get("Depends", "")) if part.strip())
            found[fields["Package"]] = Package(fields["Package"], fields["Version"], depends)
    if missing := [name for name in names if name not in found]:
        raise PackageUnknown(f"{', '.join(missing)}: {PackageUnknown.__doc__}")
    return [found[name] for name in names]


def fetch(package: Package, cache: Path) -> Path:
    """The package's .deb in `cache`, downloaded if it is not there yet.

    Raises CalledProcessError when apt cannot download it.
    """
    # apt writes an epoch's colon as %3a in file names.
    pattern = f"{package.name}_{package.version.replace(':', '%3a')}_*.deb"
    if kept := next(cache.glob(pattern), None):
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as arriving:
        # As root apt gives up its rights to the user _apt, who may not write here; the option avoids that warning.
        subprocess.run(
            ["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", f"{package.name}={package.version}"],
            cwd=arriving, check=True, timeout=DOWNLOAD_TIMEOUT,
        )  # fmt: skip
        # Moved only when complete: an interrupted download must not be taken for a package.
        arrived = next(Path(arriving).glob(pattern))
        return arrived.rename(cache / arrived.name)


def release() -> str:
    """Return the code name of this machine's Debian release."""
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def sources(apt: Path = Path("/etc/apt")) -> list[Path]:
    """Return the files that say where this machine has the packages of its release from.

    Those of other publishers are left out, which name the release otherwise: where one of them is away, or has no such
    release, the others are enough. Where no file names the release, all are returned.
    """
    further = sorted([*apt.glob("sources.list.d/*.list"), *apt.glob("sources.list.d/*.sources")])
    found = [path for path in (apt / "sources.list", *further) if path.exists()]
    named = re.compile(rf"(?<![\w-]){re.escape(release())}(?!\w)")
    return [path for path in found if named.search(path.read_text(errors="replace"))] or found


def unpack(deb: Path, into: Path) -> None:
    """Lay the package's files out below `into`."""
    subprocess.run(["dpkg-deb", "-x", str(deb), str(into)], check=True, timeout=QUERY_TIMEOUT)
