"""What a table looks like in SQLite, by its schema table and its pragmas."""

import re
from collections.abc import Sequence
from typing import Any, Final, Protocol

import msgspec

from penstock.errors import ReplayError
from penstock.replays._sqlite._statements import folded, is_by_rowid, quoted, words_of

__all__ = ["SHADOW", "Run", "TableShape", "read_names", "read_shape", "shadow_name"]

SHADOW: Final = "penstock_shadow_"
_ROWIDS: Final = ("rowid", "_rowid_", "oid")


class Run(Protocol):
    """Runs a statement on a connection; what it answers."""

    def __call__(self, sql: str, parameters: Sequence[object] = (), /) -> Any:
        """A cursor."""
        ...


class TableShape(msgspec.Struct, frozen=True):
    """A table with all that is declared on it, under its plain name."""

    name: str
    sql: str
    columns: tuple[str, ...]
    """Those that are stored by whoever writes; generated ones are not among them."""
    key: tuple[str, ...]
    """By what its rows are told apart: the row id under a name that no column has, or the primary key."""
    has_rowid: bool
    counts: bool
    """Whether it never gives out a row id again (``AUTOINCREMENT``)."""
    is_loose: bool = False
    """Whether its row ids are no column of it, so that ``VACUUM`` may give out others."""
    indexes: dict[str, str] = {}
    """By name, how they are made."""
    triggers: dict[str, str] = {}

    @property
    def stored(self) -> tuple[str, ...]:
        """Everything that a copied row is made of."""
        return (*self.key, *self.columns) if self.has_rowid else self.columns


def shadow_name(place: str, name: str) -> str:
    """The name of what stands for *name* in shadow; *place* is the copy's."""
    return f"{SHADOW}{place}_{name}"


def read_names(run: Run, schema: str) -> list[str]:
    """The tables in a database that are neither SQLite's nor ours, in the order in which they were made."""
    found = run(
        f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table' AND substr(name, 1, 7) <> 'sqlite_' "
        "AND substr(name, 1, 9) <> 'penstock_' ORDER BY rowid"
    ).fetchall()
    return [name for [name] in found]


def read_shape(run: Run, schema: str, name: str) -> TableShape | None:
    """What a table looks like, or ``None`` where there is none. Raises `ReplayError` for one that cannot be copied."""
    row = run(
        f"SELECT name, sql FROM {schema}.sqlite_master WHERE type = 'table' AND name = ? COLLATE NOCASE",
        (name,),
    ).fetchone()
    if row is None:
        return None
    actual, sql = row
    if re.match(r"\s*CREATE\s+VIRTUAL\b", sql, re.IGNORECASE):
        raise ReplayError(
            f"table {name!r} is a virtual one, whose rows are in tables of its module; it cannot be copied, so leave "
            "it out of tables= and fill it from the copied ones"
        )
    info = run(f"PRAGMA {schema}.table_xinfo({quoted(actual)})").fetchall()
    columns = tuple(each[1] for each in info if each[6] == 0)
    primary = tuple(each[1] for each in sorted((each for each in info if each[5]), key=lambda each: each[5]))
    words = words_of(sql)
    has_rowid = is_by_rowid(sql)
    kinds = [each[2].upper() for each in info if each[5]]
    is_alias = kinds == ["INTEGER"] and "DESC" not in words_of(sql)
    named = {folded(each[1]) for each in info}
    rowid = next((each for each in _ROWIDS if each not in named), None)
    if has_rowid and rowid is None:
        raise ReplayError(
            f"table {name!r} has columns named rowid, _rowid_ and oid, so its row id has no name; rename one of them"
        )
    made: dict[str, dict[str, str]] = {"index": {}, "trigger": {}}
    for kind, each, text in run(
        f"SELECT type, name, sql FROM {schema}.sqlite_master WHERE type IN ('index', 'trigger') "
        "AND tbl_name = ? COLLATE NOCASE AND sql IS NOT NULL AND substr(name, 1, 9) <> 'penstock_' ORDER BY rowid",
        (actual,),
    ).fetchall():
        made[kind][each] = text
    return TableShape(
        actual,
        sql,
        columns,
        (rowid,) if has_rowid and rowid is not None else primary,
        has_rowid,
        "AUTOINCREMENT" in words,
        has_rowid and not is_alias,
        made["index"],
        made["trigger"],
    )
