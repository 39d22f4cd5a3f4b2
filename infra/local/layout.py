"""Where everything of the local cluster lies, so that one directory holds it and deleting that forgets it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
KEPT_BY_CLEAN = "cache"


@dataclass(frozen=True)
class Layout:
    """The paths of one checkout's cluster."""

    project: Path = PROJECT

    @property
    def data(self) -> Path:
        """All of it."""
        return self.project / ".gostack"

    @property
    def cache(self) -> Path:
        """What was fetched or built; data comes and goes without it."""
        return self.data / KEPT_BY_CLEAN

    @property
    def logs(self) -> Path:
        """A log a part."""
        return self.data / "logs"

    @property
    def secrets(self) -> Path:
        """Keys, tokens, private halves."""
        return self.data / "secrets"

    @property
    def images(self) -> Path:
        """The images' bytes."""
        return self.data / "images"

    @property
    def work(self) -> Path:
        """Where the processes run: the one place besides their own that they may write to."""
        return self.data / "work"

    @property
    def options(self) -> Path:
        """What `up` was asked for, so that `down` and `status` need not be told again."""
        return self.data / "local.json"

    @property
    def config(self) -> Path:
        """The processes' settings."""
        return self.data / "config.toml"

    @property
    def agent_config(self) -> Path:
        """The agents' settings."""
        return self.data / "agent.toml"

    @property
    def guest_image(self) -> Path:
        """The tiny guest, built once."""
        return self.cache / "tiny.qcow2"

    @property
    def emulators(self) -> Path:
        """What libvirt found out about this machine's emulators: it takes seconds, and is the same for every host."""
        return self.cache / "libvirt"

    @property
    def venv(self) -> Path:
        """The project's environment."""
        return self.project / ".venv"

    def program(self, name: str) -> str:
        """A program of the project's environment."""
        return str(self.venv / "bin" / name)

    def log(self, part: str) -> Path:
        """A part's log."""
        return self.logs / f"{part}.log"

    def host(self, name: str) -> Path:
        """What one host has."""
        return self.data / "hosts" / name

    @property
    def aside(self) -> Path:
        """For servers that never run as root, where the project lies in a directory only root can enter."""
        return Path("/var/lib") / f"gostack-{hashlib.sha256(bytes(self.project)).hexdigest()[:8]}"
