"""What an archive says."""

from penstock.errors._base import PenstockError, TransientError

__all__ = [
    "ArchiveError",
    "ArchiveUnavailableError",
    "ArchiveDamagedError",
]


class ArchiveError(PenstockError):
    """The archive refuses what it was asked for. What was to be archived is still in its stream."""


class ArchiveUnavailableError(ArchiveError, TransientError):
    """The archive cannot be reached, or is full or read-only. Calling again is safe."""


class ArchiveDamagedError(ArchiveError):
    """A file of the archive cannot be read. Everything in other files can."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path} cannot be read: {reason}; put it back from a copy, or move it away")
