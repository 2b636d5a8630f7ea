"""The notes that a copy's file keeps of its changes: for each table, which rows are not what they were.

Only the key of a row is noted, and once, however often it changes: whoever follows takes the row as it is by then. The
number of a note says when it changed last.

A row that gives way to another (``OR REPLACE``) goes without a trigger, unless triggers may run into themselves, which
would make users' triggers do other things here than in production. So before a row is written, those are noted which
have the same in a unique index.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from penstock.replays._sqlite._rows import Shadow, Shadows
from penstock.replays._sqlite._shapes import Run, TableShape
from penstock.replays._sqlite._statements import parts_of_index, quoted

__all__ = ["begin_capture", "end_capture", "forget", "log_name", "pending"]

_LOG: Final = "penstock_changes_"


def log_name(number: int) -> str:
    """The table of notes about the *number*-th table."""
    return f"{_LOG}{number}"


def begin_capture(run: Run, shapes: Sequence[TableShape], name: str) -> Shadows:
    """Note changes from here on, under *name*; inside a transaction that writes the copy's file."""
    end_capture(run)
    for number, shape in enumerate(shapes):
        log, keys = log_name(number), [f"k{place}" for place in range(len(shape.key))]
        listed = ", ".join(keys)
        run(f"CREATE TABLE main.{log} (seq INTEGER PRIMARY KEY AUTOINCREMENT, {listed}, UNIQUE ({listed}))")
        moved = " OR ".join(f"old.{quoted(key)} IS NOT new.{quoted(key)}" for key in shape.key)
        for what, event, row in (
            ("inserted", "INSERT", "new"),
            ("updated", "UPDATE", "new"),
            ("moved", "UPDATE", "old"),
            ("deleted", "DELETE", "old"),
        ):
            when = f" WHEN {moved}" if what == "moved" else ""
            noted = _noted(log, keys, shape, row)
            run(
                f"CREATE TRIGGER main.{log}_{what} AFTER {event} ON {quoted(shape.name)}{when} BEGIN {noted}END"
            )
        for place, rivals in enumerate(_rivals(run, shape)):
            other = " OR ".join(f"{quoted(key)} IS NOT old.{quoted(key)}" for key in shape.key)
            for event, which in (("INSERT", rivals), ("UPDATE", f"{rivals} AND ({other})")):
                run(
                    f"CREATE TRIGGER main.{log}_before_{event}_{place} BEFORE {event} ON {quoted(shape.name)} "
                    f"BEGIN {_all_noted(log, keys, shape, which)}END"
                )
    return Shadows(name, {shape.name: Shadow() for shape in shapes})


def _noted(log: str, keys: Sequence[str], shape: TableShape, row: str) -> str:
    """Statements of a trigger. No conflict clause: that of the statement which fires the trigger would override it."""
    # The plus takes the column's affinity away, with which the index on the notes could not be used.
    values = [f"+{row}.{quoted(name)}" for name in shape.key]
    same = " AND ".join(f"{key} = {value}" for key, value in zip(keys, values, strict=True))
    return (
        f"DELETE FROM {log} WHERE {same}; "
        f"INSERT INTO {log} ({', '.join(keys)}) VALUES ({', '.join(values)}); "
    )


def _all_noted(log: str, keys: Sequence[str], shape: TableShape, which: str) -> str:
    listed, values = ", ".join(keys), ", ".join(f"+{quoted(name)}" for name in shape.key)
    found = f"SELECT {values} FROM {quoted(shape.name)} WHERE {which}"
    return f"DELETE FROM {log} WHERE ({listed}) IN ({found}); INSERT INTO {log} ({listed}) {found}; "


def _rivals(run: Run, shape: TableShape) -> Iterator[str]:
    """For each unique index but the key: by what the rows are found that have the same in it as the new one."""
    columns = run(f"PRAGMA main.table_xinfo({quoted(shape.name)})").fetchall()
    new = ", ".join(f"new.{quoted(each[1])} AS {quoted(each[1])}" for each in columns if each[6] != 1)
    for _, index, is_unique, origin, _ in run(f"PRAGMA main.index_list({quoted(shape.name)})").fetchall():
        if not is_unique or (origin == "pk" and not shape.has_rowid):
            continue
        where = ""
        if index in shape.indexes:
            parts, where = parts_of_index(shape.indexes[index])
        else:
            of_constraint = run(f"PRAGMA main.index_xinfo({quoted(index)})").fetchall()
            parts = [f"{quoted(each[2])} COLLATE {quoted(each[4])}" for each in of_constraint if each[5]]
        same = [f"({part}) = (SELECT {part} FROM (SELECT {new}))" for part in parts]
        yield " AND ".join([*same, f"({where})"] if where else same)


def end_capture(run: Run) -> None:
    """Note nothing any more, and forget what was noted."""
    named = run(
        "SELECT type, name FROM main.sqlite_master WHERE type IN ('trigger', 'table') AND name LIKE ? ESCAPE '!' "
        "ORDER BY type DESC",
        (_LOG.replace("_", "!_") + "%",),
    ).fetchall()
    for kind, name in named:
        run(f"DROP {kind} main.{quoted(name)}")


def pending(run: Run, schema: str, number: int, applied: int) -> int:
    """How many notes there are above *applied*."""
    [count] = run(f"SELECT count(*) FROM {schema}.{log_name(number)} WHERE seq > ?", (applied,)).fetchone()
    return int(count)


def forget(run: Run, number: int, applied: int) -> None:
    """Drop notes up to *applied*."""
    run(f"DELETE FROM main.{log_name(number)} WHERE seq <= ?", (applied,))
