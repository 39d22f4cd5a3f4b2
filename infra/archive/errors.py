"""What can be wrong with an archive, or with the log that is to be archived or filled."""


class ArchiveError(Exception):
    """Archiving or restoring cannot go on; the text is what the operator reads."""


class Damaged(ArchiveError):
    """A file of the archive is missing, or is not what was written."""

    def __init__(self, file: str, what: str) -> None:
        super().__init__(f"{file}: {what}")


class ArchiveBusy(ArchiveError):
    """Another process works on the archive."""


class WrongLog(ArchiveError):
    """The log is not the one that the archive is of."""


class NotEmpty(ArchiveError):
    """The log holds something that is no beginning of the archive."""


class CannotRestore(ArchiveError):
    """The archive does not fit this release's topics, or holds nothing whole, or the log was written to meanwhile."""
