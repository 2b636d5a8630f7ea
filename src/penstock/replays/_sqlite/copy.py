"""`SqliteCopy`: a generation of read models that is not live, beside a SQLite file."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any

from penstock.projections.abc import Handlers
from penstock.replays._guarding import GuardedHandlers
from penstock.replays._sqlite import _making, _preflight, _removing, _shadows, _switching
from penstock.replays._sqlite._fence import SqliteFence
from penstock.replays._sqlite._file import CopyDatabase
from penstock.replays._sqlite._making import run_on
from penstock.replays._sqlite._shapes import read_names
from penstock.replays._sqlite._statements import folded, quoted
from penstock.replays.abc import Candidate, Comparing, CopiedTable, CopySize, Finding, Held, Part, Switched
from penstock.replays.verifying._sqlite import comparing_files
from penstock.store.database import Database

__all__ = ["SqliteCopy"]


class SqliteCopy:
    """A `ReadModelCopy` in a file beside the live one, named ``<live file>.<key>-<8 digits>.replay``.

    Args:
        key: The replay's.
        live: The database with the live tables.
        tables: What is copied.
        projections: Whose checkpoints the copy has.
        part: The part of history that it is about.
        makes_own: Whether there are tables that read models make themselves; `tables` has them as soon as they are.
    """

    def __init__(
        self,
        key: str,
        live: Database,
        tables: Sequence[CopiedTable],
        *,
        projections: Sequence[str],
        part: Part | None = None,
        makes_own: bool = False,
    ) -> None:
        # What is asked of it besides is its path, and how long it waits.
        file: Any = live
        self.key = key
        self.live_database: Database = live
        self._file = CopyDatabase(key, file)
        self.database: Database = self._file
        self.building: Database = CopyDatabase(key, file, lasting=False)
        self.where = str(self._file.path)
        self.projections = tuple(projections)
        self.part = part or Part()
        self._declared = tuple(tables)
        self._makes_own = makes_own
        self._tables: tuple[CopiedTable, ...] | None = None if makes_own else self._declared

    @property
    def tables(self) -> tuple[CopiedTable, ...]:
        """What is copied."""
        if self._tables is None:
            if not self._file.path.exists():
                return self._declared
            plain = self._file.plain
            with closing(plain.connect()) as connection:
                self._tables = self._with(read_names(run_on(plain, connection), "main"))
        return self._tables

    def _with(self, names: Sequence[str]) -> tuple[CopiedTable, ...]:
        known = {folded(each.name) for each in self._declared}
        return (*self._declared, *(CopiedTable(each) for each in names if folded(each) not in known))

    def exists(self) -> bool:
        """Whether it was made."""
        return _making.exists(self._file)

    def create(self, candidates: Sequence[Candidate]) -> None:
        """Make it. Raises `ReplayError` if a table cannot be copied, naming it."""
        if self.exists():
            return
        self.drop()
        try:
            self._tables = self._with(_making.make(self._file, self._declared, candidates, self.part))
        except BaseException:
            self.drop()
            raise

    def guard(self, handlers: Handlers) -> Handlers:
        """Handlers whose pages cannot touch production."""
        return GuardedHandlers(handlers, SqliteFence(self._file.live.path))

    def empty(self) -> None:
        """Take out every row and put the checkpoints back, for a start from zero."""
        _making.empty(self._file, self.part)

    def finish(self) -> None:
        """Have the planner know the tables, and the log on disk and written back."""
        with closing(self._file.connect()) as connection:
            run = run_on(self._file, connection)
            run("PRAGMA main.analysis_limit = 1000")
            run("ANALYZE main")
            run("PRAGMA main.wal_checkpoint(PASSIVE)").fetchall()

    def size(self) -> CopySize:
        """How large it is."""
        with closing(self._file.connect()) as connection:
            run = run_on(self._file, connection)
            rows = {
                name: int(run(f"SELECT count(*) FROM main.{quoted(name)}").fetchone()[0])
                for name in read_names(run, "main")
            }
        files = (self._file.path, Path(f"{self._file.path}-wal"))
        return CopySize(rows, sum(each.stat().st_size for each in files if each.exists()))

    def comparing(self, held: Held) -> AbstractContextManager[Comparing]:
        """A look at both files as they are while *held*; the look outlives the hold."""
        return comparing_files(self._file, self._file.live.path, self._file.path)

    def preflight(self) -> list[Finding]:
        """What stands in the way of a switch, or should be known before it."""
        return _preflight.findings(self._file, self.projections, self.part)

    def prepare_switch(self, say: Callable[[str], None]) -> None:
        """Copy it into shadow tables of the live file, beside readers and writers. Repeatable."""
        if self.part.is_whole:
            _shadows.bring_up(self._file, say)

    def switch(
        self, meet: Callable[[], AbstractContextManager[Held]], record: Callable[[Held], None]
    ) -> Switched:
        """Exchange live and copy. Raises `ReplayBusyError`."""
        return _switching.switch(
            self._file,
            self.part,
            lambda: _shadows.bring_up(self._file, _silent),
            meet,
            record,
        )

    def alone(self) -> AbstractContextManager[None]:
        """Have its file open alone: a page that is handled keeps its lease, which is in there, from being renewed."""
        return _removing.alone(self._file)

    def drop(self) -> None:
        """Remove it, also what is left of a half-made one."""
        _removing.remove(self._file)


def _silent(_: str) -> None:
    """Nobody listens."""
