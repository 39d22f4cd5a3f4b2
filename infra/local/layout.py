"""The paths of the local cluster: one directory holds all its files, and deleting that removes the cluster."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
KEPT_BY_CLEAN = "cache"
LOG_MODE = 0o640
"""Permissions of a log: names, addresses and errors in it are nobody else's business."""


@dataclass(frozen=True)
class Layout:
    """The paths of one checkout's cluster."""

    project: Path = PROJECT

    @property
    def data(self) -> Path:
        """The directory that holds everything else."""
        return self.project / ".gostack"

    @property
    def cache(self) -> Path:
        """The directory for downloads and builds, which `clean` keeps."""
        return self.data / KEPT_BY_CLEAN

    @property
    def logs(self) -> Path:
        """The directory for logs, a file for each part."""
        return self.data / "logs"

    @property
    def secrets(self) -> Path:
        """The directory for keys, tokens and private SSH keys."""
        return self.data / "secrets"

    @property
    def images(self) -> Path:
        """The directory of the image store."""
        return self.data / "images"

    @property
    def work(self) -> Path:
        """The working directory of the processes: the one directory besides their own that they may write to."""
        return self.data / "work"

    @property
    def options(self) -> Path:
        """The file with the options of the last `up`, which `down` and `status` use."""
        return self.data / "local.json"

    @property
    def config(self) -> Path:
        """The file with the settings of all processes but the agents."""
        return self.data / "config.toml"

    @property
    def agent_config(self) -> Path:
        """The file with the settings of the agents."""
        return self.data / "agent.toml"

    @property
    def guest_image(self) -> Path:
        """The file of the tiny guest image, which is built once."""
        return self.cache / "tiny.qcow2"

    @property
    def emulators(self) -> Path:
        """The directory with libvirt's findings about emulators: they take seconds, and are the same for every host."""
        return self.cache / "libvirt"

    @property
    def venv(self) -> Path:
        """The directory of the project's Python environment."""
        return self.project / ".venv"

    def program(self, name: str) -> str:
        """Return the path of a program in the project's Python environment."""
        return str(self.venv / "bin" / name)

    def log(self, part: str) -> Path:
        """Return the path of a part's log."""
        return self.logs / f"{part}.log"

    def host(self, name: str) -> Path:
        """Return the directory of a host."""
        return self.data / "hosts" / name

    @property
    def aside(self) -> Path:
        """The directory for servers' data where only root can enter the project's directory."""
        return Path("/var/lib") / f"gostack-{hashlib.sha256(bytes(self.project)).hexdigest()[:8]}"
