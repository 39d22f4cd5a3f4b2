"""Limits on programs that read what strangers made: processor time, memory, and the size of files that they write.

Why a program in front (prlimit, of util-linux) and no code between fork and exec: processes with threads must not run
any there.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Greatest amounts that a program may use; 0: as much as it likes."""

    cpu: int
    """Seconds of processor time; past them the program is killed."""
    memory: int
    """Bytes of address space; past them it is given none."""
    file: int = 0
    """Bytes of a file that it writes; past them it is killed."""

    def around(self, command: tuple[str, ...]) -> tuple[str, ...]:
        """Return the command line that runs this one within the limits."""
        file = (f"--fsize={self.file}",) if self.file else ()
        return ("prlimit", f"--cpu={self.cpu}", f"--as={self.memory}", "--core=0", *file, "--", *command)
