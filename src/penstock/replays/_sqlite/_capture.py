"""The notes that a copy's file keeps of its changes: for each table, which rows are not what they were.

Only the key of a row is noted, and once, however often it changes: whoever follows takes the row as it is by then. The
number of a note says when it changed last.
"""

from collections.abc import Sequence
from typing import Final

from penstock.replays._sqlite._rows import Shadow, Shadows
from penstock.replays._sqlite._shapes import Run, TableShape
from penstock.replays._sqlite._statements import quoted

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
