"""Exceptions of archiving and restoring."""


class ArchiveError(Exception):
    """Archiving or restoring cannot go on; the text is shown to the operator."""


class Damaged(ArchiveError):
    """A file of the archive is missing, or differs from what was written."""

    def __init__(self, file: str, what: str) -> None:
        super().__init__(f"{file}: {what}")


class ArchiveBusy(ArchiveError):
    """Another process archives to, or restores from, the same archive."""


class WrongLog(ArchiveError):
    """The log is not the one that was archived before."""


class NotEmpty(ArchiveError):
    """The log to restore into has records that are not the first ones of the archive."""


class CannotRestore(ArchiveError):
    """The archive does not fit this release's topics, or holds nothing whole, or the log was written to meanwhile."""
