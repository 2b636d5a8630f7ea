"""What a replay is made of: its record and its plays, the copy that it builds, and what is found about that.

A *generation* is one copy of the read models of a replay, with checkpoints of its own. The live one has the plain table
names. `ReadModelCopy` is a generation that is not live, in one database; there is one implementation for each dialect,
and what stands above it (the manager, verification, the command line) knows none of them.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol, TypeAlias

from penstock.projections.abc import Handlers, ProjectionPlan
from penstock.store.database import Connection, Database

__all__ = [
    "Candidate",
    "Column",
    "Comparing",
    "CopiedTable",
    "CopySize",
    "Finding",
    "Held",
    "Outcome",
    "Part",
    "Play",
    "ReadModelCopy",
    "Replay",
    "ReplayProgress",
    "ReplayState",
    "RowDifference",
    "Severity",
    "Switched",
    "TableDifference",
    "Verification",
]

ReplayState: TypeAlias = Literal["created", "building", "built", "following", "promoted"]
"""``created``: the copy is there and empty. ``building``: somebody plays history to it, or would go on if he could.
``built``: it has been at the end of the store. ``following``: whoever runs the projection feeds it. ``promoted``: it is
live, and the copy under the replay's key is the former live one."""

Outcome: TypeAlias = Literal["running", "finished", "stopped", "failed", "died"]
"""How a play ended; ``died``: its process did not say."""

Severity: TypeAlias = Literal["note", "warning", "refusal"]
"""``warning``: think about it; ``refusal``: it is not done, unless forced where that can be."""


@dataclass(frozen=True, slots=True)
class Part:
    """Which part of history a partial replay is about; everything, if nothing is said.

    A partial copy has the rows of that part only, so promoting it changes those and leaves all others.
    """

    streams: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    after: int = 0
    """Events above this position."""
    rows: Mapping[str, str] = field(default_factory=dict[str, str])
    """For each table the column by which its rows belong to one of *keys* (or, without keys, of the streams' keys)."""
    since: datetime | None = None
    """Events recorded from then on, by which `after` is found when a replay is planned or created; with a zone."""

    @property
    def is_whole(self) -> bool:
        """Whether all of history is meant."""
        return not (self.streams or self.keys or self.after or self.since)


@dataclass(frozen=True, slots=True)
class Replay:
    """The record of one replay, as it is kept beside the read models (table ``penstock_replays``)."""

    key: str
    """Chosen by its creator, unique in a database; also the name of the generation."""
    state: ReplayState
    store: str
    """The name of the store in whose database the read models are."""
    projections: tuple[str, ...]
    """Sorted by name."""
    versions: Mapping[str, int]
    """The version of each projection that the copy is built for."""
    former_versions: Mapping[str, int] = field(default_factory=dict[str, int])
    """After promotion: the version of each that the former live copy is of."""
    place: str = ""
    """Where the copy is: the schema's name on PostgreSQL, the file's path on SQLite."""
    tables: tuple[str, ...] = ()
    part: Part = Part()
    processes: int = 1
    """How many play to it at once while it is built."""
    is_fed: bool = False
    """Whether whoever runs a projection also feeds the copy that is not live: the former one, once promoted."""
    created_at: datetime | None = None
    created_by: str = ""
    verified_at: datetime | None = None
    verified_position: int | None = None
    is_verified: bool = False
    """Whether the last verification found nothing, and nothing was played again from the start since."""
    promoted_at: datetime | None = None
    override: str = ""
    """Why it was promoted without a green verification."""
    error: str = ""
    """What made the last play fail."""


@dataclass(frozen=True, slots=True)
class Play:
    """One stretch of history that was played to a copy."""

    id: int
    replay: str
    from_position: int
    to_position: int | None
    started_at: datetime
    finished_at: datetime | None
    outcome: Outcome
    events: int = 0
    who: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far a replay is at this moment."""

    key: str
    state: ReplayState
    position: int
    """The lowest of its projections."""
    head: int
    """The safe end of the store."""
    lag_events: int
    """Events that its projections handle and that it has still to take: it reaches 0 whatever else is stored."""
    handled: int = 0
    """Events handled in this play."""
    rate: float = 0.0
    """Events a second in this play."""
    remaining: timedelta | None = None
    """An estimate; ``None`` while there is nothing to estimate by."""
    is_running: bool = False
    """Whether somebody plays or feeds it now."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, as the database shows it."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class CopiedTable:
    """A table of a read model that a replay copies."""

    name: str
    """Without schema, unquoted."""
    schema: str | None = None
    """PostgreSQL: where the live one is or will be."""
    definition: Any = None
    """Its ``sqlalchemy.Table`` in the present code; ``None``: it is defined by its read model or by production."""

    @property
    def shown(self) -> str:
        """For people."""
        return self.name if self.schema is None else f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One projection of a replay, with the handlers that write the copy."""

    plan: ProjectionPlan
    """With `ProjectionPlan.wanted` narrowed to the replay's `Part`."""
    handlers: Handlers
    """Guarded: they write the copy and nothing else."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was looked at before a switch."""

    severity: Severity
    subject: str
    """What it is about: ``table totals``, ``view spending``, ``lag``, ``disk``."""
    message: str
    """What is so, and what to do about it."""
    can_be_forced: bool = False


@dataclass(frozen=True, slots=True)
class CopySize:
    """How large a copy is."""

    rows: Mapping[str, int]
    """By table; an estimate of the server's where counting would be slow."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RowDifference:
    """One row that is not the same in both generations."""

    key: Mapping[str, Any]
    """The columns of the primary key; all columns, where there is none."""
    kind: Literal["missing", "surplus", "changed"]
    """``missing``: not in the copy; ``surplus``: only in the copy."""
    columns: Mapping[str, tuple[Any, Any]] = field(default_factory=dict[str, tuple[Any, Any]])
    """What is not the same: the live value and the copy's."""


@dataclass(frozen=True, slots=True)
class TableDifference:
    """What was found about one table."""

    table: str
    live_rows: int
    copy_rows: int
    compared: tuple[str, ...] = ()
    """The columns that both have with the same type, which were compared."""
    only_live: tuple[str, ...] = ()
    only_copy: tuple[str, ...] = ()
    differing: int = 0
    """How many rows are not the same; all of them, not only those of `rows`."""
    rows: tuple[RowDifference, ...] = ()
    """The first of them by key."""
    note: str = ""
    is_new: bool = False
    """There is no live table of this name, so there was nothing to compare with."""

    @property
    def is_equal(self) -> bool:
        """Whether all that could be compared is the same."""
        return self.is_new or (self.differing == 0 and self.live_rows == self.copy_rows)


@dataclass(frozen=True, slots=True)
class Verification:
    """The report of one comparison of a copy with the live read model (kept in ``penstock_replay_reports``)."""

    replay: str
    at: datetime
    position: int
    tables: tuple[TableDifference, ...]
    failed_checks: tuple[str, ...] = ()
    """What user invariants and sampled queries found, in words."""
    passed_checks: tuple[str, ...] = ()
    held: timedelta = timedelta()
    """How long both generations stood still for it."""
    took: timedelta = timedelta()

    @property
    def is_green(self) -> bool:
        """Whether nothing was found: every table equal, every check passed."""
        return not self.failed_checks and all(each.is_equal for each in self.tables)


@dataclass(frozen=True, slots=True)
class Switched:
    """What a promotion or rollback did."""

    position: int
    """Both generations had handled everything up to here."""
    tables: tuple[str, ...]
    locked: timedelta
    """How long the tables were locked."""
    tries: int
    """How often it gave way to others before."""


class Held(Protocol):
    """Live and copy at one position, held there by locks on their checkpoints until the block ends."""

    @property
    def positions(self) -> Mapping[str, int]:
        """Where each projection stands, in both."""
        ...

    @property
    def live(self) -> Connection:
        """In the transaction that holds the live checkpoints."""
        ...

    @property
    def copied(self) -> Connection:
        """In the transaction that holds the copy's. On PostgreSQL the same connection as `live`."""
        ...


class ReadModelCopy(Protocol):
    """A generation that is not live, in one database. Blocking; used by one thread at a time.

    Everything may raise `StoreUnavailableError`, `StoreRefusedError`.
    """

    key: str
    where: str
    """The schema's name, or the file's path."""
    live_database: Database
    """Where the live tables are, and ``penstock_replays``."""
    database: Database
    """The copy's: what is begun on its connections reads and writes the copy, and its checkpoint."""
    building: Database
    """The same for history that is played: if the machine fails, the last pages may be gone, with the checkpoints that
    they moved. What is there at `finish` lasts."""

    @property
    def tables(self) -> tuple[CopiedTable, ...]:
        """What is copied, as far as that is known; after `create` all of it."""
        ...

    def exists(self) -> bool:
        """Whether it was made."""
        ...

    def create(self, candidates: Sequence[Candidate]) -> None:
        """Make it: the tables by the code's present definitions, empty, with a checkpoint at `Part.after` for each.

        All or nothing, and harmless to repeat. Raises `ReplayError` if a table cannot be copied, naming it.
        """
        ...

    def guard(self, handlers: Handlers) -> Handlers:
        """Handlers whose pages cannot touch production: a page that did is refused (`IsolationError`) before commit."""
        ...

    def empty(self) -> None:
        """Take out every row and put the checkpoints back, for a start from zero."""
        ...

    def finish(self) -> None:
        """Called when history has been played: what was left for the end (indexes, keys, statistics) is made now."""
        ...

    def size(self) -> CopySize:
        """How large it is."""
        ...

    def comparing(self, held: Held) -> "AbstractContextManager[Comparing]":
        """A look at both generations as they are while *held*; the look outlives the hold."""
        ...

    def preflight(self) -> list[Finding]:
        """What stands in the way of a switch, or should be known before it. It changes nothing."""
        ...

    def prepare_switch(self, say: Callable[[str], None]) -> None:
        """What can be done before the switch, beside readers and writers: statistics, copying. Repeatable."""
        ...

    def switch(
        self, meet: "Callable[[], AbstractContextManager[Held]]", record: Callable[[Held], None]
    ) -> Switched:
        """Exchange live and copy, tables and checkpoints, in one transaction; the same call leads back.

        *meet* holds both at one position. *record* is called inside the transaction of `Held.live`, last of all.
        Where a lock is not had soon, it gives way, waits and tries again. Raises `ReplayBusyError` in the end.
        """
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Keep others out until the block ends, as far as leases do not tell of them. Raises `ReplayBusyError`."""
        ...

    def drop(self) -> None:
        """Remove what `create` made and nothing else, also what is left of a half-made one. Harmless to repeat."""
        ...


class Comparing(Protocol):
    """A connection on which both generations can be read, as they were at one position."""

    connection: Connection
    database: Database

    def live(self, table: CopiedTable) -> str | None:
        """How the live table is written in SQL; ``None`` where there is none."""
        ...

    def copy(self, table: CopiedTable) -> str:
        """How the copy's is."""
        ...

    def columns(self, table: CopiedTable) -> tuple[Sequence[Column], Sequence[Column]]:
        """The live table's columns and the copy's."""
        ...

    def key(self, table: CopiedTable) -> Sequence[str]:
        """The columns of its primary key, or of a unique key that is never null; empty where there is none.

        It tells rows apart in both generations.
        """
        ...

    def read(self, side: Literal["live", "copy"], sql: str, *, most: int) -> list[Any]:
        """The rows, *most* at most, of a statement in which plain table names mean those of one side; it only reads."""
        ...
