"""Tables that are somewhere else than their definitions say: the copy of a read model, in a schema of its own.

SQLAlchemy can translate schemas, but all tables of one then move together, and a copy has some of them only: its
handlers go on reading the others where they are. So what is moved is said by name, for each connection.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from penstock.errors import MissingExtraError
from penstock.store._quoting import quoted
from penstock.store.database import Connection

if TYPE_CHECKING:
    from penstock.store.work._tables import RowTable

__all__ = ["Moved", "engine_in", "move", "moved_on"]


class _Named(Protocol):
    """What SQLAlchemy asks the schema of: a table, a sequence, a type."""

    @property
    def schema(self) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Moved:
    """Which tables, sequences and types are in *schema*, by the schema and name that definitions have."""

    schema: str
    names: frozenset[tuple[str | None, str]]
    _quoted: Mapping[str, str] = field(init=False)

    def __post_init__(self) -> None:
        places = {
            f"{quoted(schema)}.{quoted(name)}": f"{quoted(self.schema)}.{quoted(name)}"
            for schema, name in self.names
            if schema is not None
        }
        object.__setattr__(self, "_quoted", places)

    def schema_of(self, named: _Named) -> str | None:
        """Where it is."""
        name: Any = getattr(named, "name", None)
        return self.schema if (named.schema, name) in self.names else named.schema

    def row_table(self, table: "RowTable") -> "RowTable":
        """The same table, named where it is."""
        place = self._quoted.get(table.name)
        return table if place is None else replace(table, name=place)


_NOTED: Final = "penstock_moved"


def move(connection: Connection, moved: Moved) -> None:
    """From now on, what sessions and rows on *connection* do to those tables is done where they are."""
    setattr(connection, _NOTED, moved)


def moved_on(connection: Connection) -> Moved | None:
    """What is moved on a connection, if anything is."""
    found: Moved | None = getattr(connection, _NOTED, None)
    return found


def engine_in(connect: Callable[[], Connection], begin: Sequence[str], moved: Moved) -> Any:
    """A ``sqlalchemy.Engine`` whose transactions begin by the statements *begin*. Raises `MissingExtraError`."""
    try:
        from penstock.store.work import _alchemy
    except ImportError as failure:
        raise MissingExtraError("a session of SQLAlchemy", "sql") from failure
    return _alchemy.engine_in(connect, begin, moved)
