"""Comparing tables: two sides that can be read over one connection in, what is not the same out.

It knows nothing of replays: `comparing_files` and `comparing_schemas` make two sides of any two SQLite files or schemas
of PostgreSQL. The comparison itself is done by the database.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from penstock.replays.abc import Column, Comparing, CopiedTable, TableDifference
from penstock.replays.verifying import _in_postgres, _in_sqlite
from penstock.replays.verifying._postgres import PostgresComparing, comparing_schemas
from penstock.replays.verifying._sqlite import SqliteComparing, comparing_files
from penstock.replays.verifying._subject import Only, Subject

__all__ = [
    "Only",
    "PostgresComparing",
    "SqliteComparing",
    "comparing_files",
    "comparing_schemas",
    "difference",
    "differences",
]

_COMPARE: Final = {"postgresql": _in_postgres.compare, "sqlite": _in_sqlite.compare}


def differences(
    comparing: Comparing,
    tables: Sequence[CopiedTable],
    *,
    rows: int = 20,
    only: Mapping[str, Only] | None = None,
    copy_only: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> list[TableDifference]:
    """What is not the same in *tables*, one answer for each, equal or not.

    Args:
        comparing: The two sides.
        tables: Those of the copy; one that is live or copied alone is reported as such.
        rows: So many differing rows are shown of each table, the first by key.
        only: For tables by name, with their schema or without, which rows are compared.
        copy_only: Of tables that are not in *only*, compare the rows that the copy has.
        say: Is told each table's name before it is compared.

    Raises:
        StoreUnavailableError, StoreRefusedError: The database went away.
    """
    found, limits = list[TableDifference](), only or {}
    for table in tables:
        say(table.shown)
        limit = limits.get(table.shown, limits.get(table.name))
        found.append(
            difference(comparing, table, rows=rows, only=limit, copy_only=copy_only and limit is None)
        )
    return found


def difference(
    comparing: Comparing,
    table: CopiedTable,
    *,
    rows: int = 20,
    only: Only | None = None,
    copy_only: bool = False,
) -> TableDifference:
    """What is not the same in one table; see `differences`."""
    live, copied = comparing.live(table), comparing.copy(table)
    live_columns, copy_columns = comparing.columns(table)
    if live is None or not live_columns or not copy_columns:
        return _alone(comparing, table, live, copied, is_in_copy=bool(copy_columns))
    common, others = _compared(live_columns, copy_columns)
    key = tuple(comparing.key(table))
    names = {each.name for each in common}
    subject = Subject(
        live=live,
        copy=copied,
        key=key,
        columns=common,
        text_keys=frozenset(key) - names,
        only=only,
        copy_only=copy_only,
    )
    found = _COMPARE[comparing.database.dialect](comparing.database, comparing.connection, subject, rows=rows)
    return TableDifference(
        table=table.shown,
        live_rows=found.live_rows,
        copy_rows=found.copy_rows,
        compared=tuple(each.name for each in common),
        only_live=_only(live_columns, copy_columns),
        only_copy=_only(copy_columns, live_columns),
        differing=found.differing,
        rows=found.rows,
        note=_note(subject, others),
    )


def _compared(
    live: Sequence[Column], copied: Sequence[Column]
) -> tuple[tuple[Column, ...], list[tuple[Column, Column]]]:
    """The columns that are the same on both sides, and those that have another type, live and copied."""
    types = {each.name: each for each in live}
    both = [(types[each.name], each) for each in copied if each.name in types]
    same = tuple(copy for live, copy in both if live.type == copy.type)
    return same, [(live, copy) for live, copy in both if live.type != copy.type]


def _only(columns: Sequence[Column], others: Sequence[Column]) -> tuple[str, ...]:
    names = {each.name for each in others}
    return tuple(each.name for each in columns if each.name not in names)


def _note(subject: Subject, others: Sequence[tuple[Column, Column]]) -> str:
    notes = [
        f"column {copy.name!r} is {live.type or 'of no type'} in the live table and {copy.type or 'of no type'} in "
        + (
            "the copy, and was compared as text"
            if copy.name in subject.text_keys
            else "the copy, and was not compared"
        )
        for live, copy in others
    ]
    if not subject.key:
        notes.append("there is no key that both have, so rows are compared as wholes")
    if subject.copy_only:
        notes.append("only the rows that the copy has were compared")
    return "; ".join(notes)


def _alone(
    comparing: Comparing, table: CopiedTable, live: str | None, copied: str, *, is_in_copy: bool
) -> TableDifference:
    """A table that one side has alone."""

    def count(name: str) -> int:
        cursor = comparing.database.execute(comparing.connection, f"SELECT count(*) FROM {name}")
        return int(cursor.fetchone()[0])

    if not is_in_copy:
        rows = 0 if live is None else count(live)
        return TableDifference(table.shown, rows, 0, differing=rows, note="the copy has no such table")
    note = "there is no live table of this name, so nothing was compared"
    return TableDifference(table.shown, 0, count(copied), note=note, is_new=True)
