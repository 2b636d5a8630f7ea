"""From the projections of a replay to the copy that it builds. The implementation of a dialect is loaded when needed.

Each is made as ``PostgresCopy(key, live, tables, projections=..., part=..., makes_own=...)``, or ``SqliteCopy`` with
the same arguments, and connects to nothing by that.
"""

from collections.abc import Sequence
from typing import Protocol

from penstock.projections import Projection
from penstock.replays.abc import CopiedTable, Part, ReadModelCopy
from penstock.store.database import Database

__all__ = ["MakesCopy", "copied_tables", "copy_of", "copy_of_tables"]


class MakesCopy(Protocol):
    """The class of a dialect's `ReadModelCopy`, as it is called here."""

    def __call__(
        self,
        key: str,
        live: Database,
        tables: Sequence[CopiedTable],
        *,
        projections: Sequence[str],
        part: Part = ...,
        makes_own: bool = ...,
    ) -> ReadModelCopy:
        """A copy of *tables* under *key*, beside those in *live*.

        *projections* are the names whose checkpoints it has. *makes_own*: some of them have a read model that makes
        its tables itself (`Handlers.prepare`), so after `ReadModelCopy.create` there may be more tables than *tables*;
        `ReadModelCopy.tables` then has them all. Tables without a `CopiedTable.definition` are like production's.
        """
        ...


def copied_tables(projections: Sequence[Projection]) -> tuple[CopiedTable, ...]:
    """The tables of these projections, each once, those first that others may refer to."""
    found: dict[tuple[str | None, str], CopiedTable] = {}
    for projection in projections:
        for table in projection.tables.copied():
            place = (table.schema, table.name)
            if place not in found or found[place].definition is None:
                found[place] = CopiedTable(table.name, table.schema, table.definition)
    return tuple(found.values())


def copy_of(
    key: str, projections: Sequence[Projection], *, live: Database, part: Part | None = None
) -> ReadModelCopy:
    """The copy of the read models of *projections* by the code's present definitions, made or not."""
    return copy_of_tables(
        key,
        copied_tables(projections),
        live=live,
        projections=[each.name for each in projections],
        part=part,
        makes_own=any(each.read_model is not None for each in projections),
    )


def copy_of_tables(
    key: str,
    tables: Sequence[CopiedTable],
    *,
    live: Database,
    projections: Sequence[str],
    part: Part | None = None,
    makes_own: bool = False,
) -> ReadModelCopy:
    """The copy of *tables*, for whoever knows them from the record and not from code."""
    made = _kind(live)
    return made(key, live, tables, projections=tuple(projections), part=part or Part(), makes_own=makes_own)


def _kind(live: Database) -> MakesCopy:
    if live.dialect == "postgresql":
        from penstock.replays._postgres.copy import PostgresCopy

        return PostgresCopy
    from penstock.replays._sqlite.copy import SqliteCopy

    return SqliteCopy
