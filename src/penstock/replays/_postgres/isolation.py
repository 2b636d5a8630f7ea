"""The guard of a copy: before a page commits, the locks of its transaction tell what it has touched.

Every statement locks the tables that it reads or writes until the transaction ends, whoever runs it: a session, SQL
with a schema in it, a function, a trigger, a view. So a look at one's own locks misses nothing (``pg_locks``; counters
of statistics come later). A page that wrote outside its copy, or read what its copy replaces, is refused.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from penstock.errors import IsolationError
from penstock.store.database import Connection, Database

__all__ = ["PostgresFence", "Touched", "refusal", "touched"]

_LOOK: Final = """\
SELECT n.nspname::text, c.relname::text, c.relkind::text, l.mode
  FROM pg_catalog.pg_locks AS l
  JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
  JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
 WHERE l.locktype = 'relation' AND l.pid = pg_catalog.pg_backend_pid() AND n.nspname <> ?
   AND c.relpersistence <> 't' AND c.relkind NOT IN ('i', 'I', 't')
   AND (n.nspname <> 'pg_catalog' OR c.relname = 'pg_largeobject')"""
_WRITES: Final = frozenset(
    {
        "RowExclusiveLock",
        "ShareUpdateExclusiveLock",
        "ShareLock",
        "ShareRowExclusiveLock",
        "ExclusiveLock",
        "AccessExclusiveLock",
    }
)
"""What no reading statement takes. ``SELECT FOR SHARE``, which foreign keys use, takes less (``RowShareLock``)."""
_OURS: Final = ("penstock_checkpoints", "penstock_projection", "penstock_replay")
"""How those of our tables begin that the frame of a page writes itself."""
_KINDS: Final = {
    "S": "sequence",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
    "c": "type",
}


@dataclass(frozen=True, slots=True)
class Touched:
    """Something outside of the copy that a transaction holds a lock on."""

    schema: str
    name: str
    kind: str
    """As in ``pg_class.relkind``."""
    mode: str

    @property
    def is_written(self) -> bool:
        """Whether the lock is one that writing takes."""
        return self.mode in _WRITES

    @property
    def shown(self) -> str:
        """For people."""
        return f"{_KINDS.get(self.kind, 'table')} {self.schema}.{self.name}"


def touched(database: Database, connection: Connection, schema: str) -> list[Touched]:
    """Everything outside of *schema* that the transaction has touched, but indexes and the catalog."""
    return [Touched(*row) for row in database.execute(connection, _LOOK, (schema,)).fetchall()]


def refusal(found: Iterable[Touched], own: frozenset[tuple[str, str]]) -> tuple[str, str] | None:
    """What was wrong and what to do about it; ``None`` if nothing was. *own* are the live tables of what is copied."""
    wrong = [each for each in found if _is_wrong(each, own)]
    if not wrong:
        return None
    worst = min(wrong, key=lambda each: _rank(each, own))
    if (worst.schema, worst.name) in own:
        deed = "wrote" if worst.is_written else "read"
        return (
            f"{deed} {worst.shown}, the live one of its own read model,",
            f"name {worst.name} without a schema in SQL, and use only the session, connection or rows of the page",
        )
    if worst.kind == "S":
        return (
            f"drew from {worst.shown}, which is not part of the copy,",
            "give the column an identity or a sequence of its own, in the definition of its table",
        )
    if worst.name.startswith("penstock_"):
        return (
            f"wrote {worst.shown}",
            "a replay appends and sends nothing: look at Generation.is_live before that",
        )
    return (
        f"wrote {worst.shown}, which is not part of the copy,",
        "if it belongs to the read model, name it with tables=; if not, look at Generation.is_live before writing it",
    )


def _is_wrong(each: Touched, own: frozenset[tuple[str, str]]) -> bool:
    if (each.schema, each.name) in own:
        return True
    return each.is_written and not each.name.startswith(_OURS)


def _rank(each: Touched, own: frozenset[tuple[str, str]]) -> tuple[bool, bool, bool, str, str]:
    """What is said first: own tables, what was written, tables before sequences."""
    return (
        (each.schema, each.name) not in own,
        not each.is_written,
        each.kind == "S",
        each.schema,
        each.name,
    )


@dataclass(frozen=True, slots=True)
class PostgresFence:
    """What a copy's transactions are held against; a `Fence`."""

    database: Database
    schema: str
    own: Callable[[Connection], frozenset[tuple[str, str]]]
    """Schema and name of the live tables of what is copied."""
    files: frozenset[str] = frozenset()

    def meant(self, projection: str, failure: BaseException) -> IsolationError | None:
        """Nothing: the server lets a page write wherever its user may."""
        return None

    def check(self, projection: str, connection: Connection) -> None:
        """Look at the locks of the transaction. Raises `IsolationError`."""
        found = refusal(touched(self.database, connection, self.schema), self.own(connection))
        if found is not None:
            what, remedy = found
            raise IsolationError(projection, what=what, remedy=remedy)
