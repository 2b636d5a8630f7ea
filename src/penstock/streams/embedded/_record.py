"""What the data folder remembers of its server, and the names of the files that are kept there.

``server.json`` is a note for those who come later, never proof that a server runs: that is the lock alone.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from penstock.streams.embedded._locks import FileLock

__all__ = ["Durability", "Record", "ServerFolder"]

Durability = Literal["everysec", "always"]


@dataclass(frozen=True, slots=True)
class Record:
    """The server that was last started here. `pid` is known once it has answered; times are ISO 8601, UTC."""

    socket: str
    lock: tuple[int, int]
    product: str
    version: str
    durability: Durability
    started_at: str
    pid: int | None = None
    stays: bool = False

    @classmethod
    def parse(cls, text: str) -> "Record | None":
        """Read ``server.json``; nothing for a text that is none, such as one cut short by a power failure."""
        try:
            fields = json.loads(text)
            fields["lock"] = tuple(fields["lock"])
            fits = isinstance(fields["socket"], str) and isinstance(fields["pid"], int | None)
            return cls(**fields) if fits else None
        except (ValueError, TypeError, KeyError):
            return None

    @property
    def path(self) -> Path:
        """Where the server listens."""
        return Path(self.socket)


@dataclass(frozen=True, slots=True)
class ServerFolder:
    """A data folder, by its resolved path, and the files in it."""

    path: Path

    @property
    def server_lock(self) -> Path:
        """Held alone by the running server, and before it by whoever starts it: no lock, no server."""
        return self.path / "server.lock"

    @property
    def users_lock(self) -> Path:
        """Held with others by everyone who uses the server, alone by whoever stops it because nobody does."""
        return self.path / "users.lock"

    @property
    def leaving_lock(self) -> Path:
        """Held alone by a user who finds out whether it is the last: two who do so at once would each see the other."""
        return self.path / "leaving.lock"

    @property
    def watcher_lock(self) -> Path:
        """Held alone by the process that waits for the last user to leave."""
        return self.path / "watcher.lock"

    @property
    def log(self) -> Path:
        """What the server writes while it runs; the one of before is kept beside it as ``server.log.1``."""
        return self.path / "server.log"

    @property
    def note(self) -> Path:
        """The `Record`, as JSON."""
        return self.path / "server.json"

    def read(self) -> Record | None:
        """The record of this folder's last server; nothing when there is none, or when it came with a copied folder."""
        try:
            record = Record.parse(self.note.read_text(encoding="utf-8"))
            status = self.server_lock.stat()
        except (OSError, UnicodeDecodeError):
            return None
        return record if record is not None and record.lock == (status.st_dev, status.st_ino) else None

    def write(self, record: Record) -> None:
        """Replace the record in one step: readers see the former one or this one."""
        draft = self.note.with_name(f"server.json.{os.getpid()}-{time.monotonic_ns()}")
        draft.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
        draft.replace(self.note)

    def runs(self) -> bool:
        """Whether a server runs here or is being started. Creates nothing, and is in nobody's way."""
        if not self.server_lock.exists():
            return False
        with FileLock(self.server_lock) as lock:
            return not lock.try_shared()
