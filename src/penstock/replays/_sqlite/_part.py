"""The switch of a partial copy: not tables are exchanged, but rows of its part, in one transaction of the live file.

What was live of that part is in shadow tables afterwards, and the copy's file is made again from them, as after any
switch, so that the same leads back. The rows of one part are few, which is why nothing is prepared.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from penstock.errors import ReplayRefusedError
from penstock.replays._sqlite._file import OURS, CopyDatabase, place_of
from penstock.replays._sqlite._rows import FileRow, Shadow, Shadows, columns_of, new_name, write_row
from penstock.replays._sqlite._shadows import COPY, drop_shadows, make_shadow
from penstock.replays._sqlite._shapes import Run, TableShape, shadow_name
from penstock.replays._sqlite._statements import folded, quoted
from penstock.replays.abc import Finding, Part

__all__ = ["exchange_part", "findings_of_part"]

_STEP: Final = "be switched"


def findings_of_part(
    live: Sequence[TableShape], copied: Sequence[TableShape], part: Part
) -> Iterator[Finding]:
    """What keeps the rows of a part from being exchanged."""
    if not _keys(part):
        yield Finding(
            "refusal",
            "part",
            "it has neither keys nor streams, so it is not known which rows are its own; a copy from a position on is "
            "for looking at",
        )
    columns = {folded(table): column for table, column in part.rows.items()}
    old = {folded(shape.name): shape for shape in live}
    for shape in copied:
        subject, column, before = (
            f"table {shape.name}",
            columns.get(folded(shape.name)),
            old.get(folded(shape.name)),
        )
        if column is None:
            yield Finding(
                "refusal",
                subject,
                "it is not said by which column its rows belong to a key; create the replay with "
                f"--rows {shape.name}=COLUMN (in Python rows=)",
            )
        elif folded(column) not in map(folded, shape.columns):
            yield Finding(
                "refusal", subject, f"it has no column {column!r}, by which its rows are to belong to a key"
            )
        elif before is None or {*map(folded, before.columns)} != {*map(folded, shape.columns)}:
            yield Finding(
                "refusal",
                subject,
                "the live one has other columns, and rows of a part go into it as they are; replay all of history",
            )


def exchange_part(
    database: CopyDatabase,
    live: Run,
    old: Sequence[TableShape],
    new: Sequence[TableShape],
    part: Part,
) -> None:
    """Exchange the rows; *live* has the copy attached. Raises `ReplayRefusedError`."""
    if reasons := [f"{each.subject}: {each.message}" for each in findings_of_part(old, new, part)]:
        raise ReplayRefusedError(database.key, step=_STEP, reasons=reasons)
    keys = json.dumps(_keys(part))
    columns = {folded(table): column for table, column in part.rows.items()}
    drop_shadows(live, database.key)
    for shape in old:
        for trigger in shape.triggers:
            live(f"DROP TRIGGER main.{quoted(trigger)}")
    for shape in new:
        make_shadow(live, place_of(database.key), shape)
        _exchange_rows(database, live, shape, columns[folded(shape.name)], keys)
    for shape in old:
        for sql in shape.triggers.values():
            live(sql)
    for table in OURS:
        listed = columns_of(live, "main", table)
        live(f"DELETE FROM main.{table} WHERE generation = ?", (database.key,))
        live(
            f"INSERT INTO main.{table} ({listed}) SELECT {listed} FROM {COPY}.{table} WHERE generation = ?",
            (database.key,),
        )
    # Whoever feeds the copy has to see that it holds something else now.
    live("UPDATE main.penstock_checkpoints SET epoch = epoch + 1 WHERE generation = ?", (database.key,))
    shadows = Shadows(new_name(), {shape.name: Shadow(is_filled=True) for shape in new})
    write_row(live, database.key, FileRow(new_name(), shadows=shadows, former=tuple(new)))


def _exchange_rows(database: CopyDatabase, live: Run, shape: TableShape, column: str, keys: str) -> None:
    table, shadow = quoted(shape.name), quoted(shadow_name(place_of(database.key), shape.name))
    listed = ", ".join(map(quoted, shape.columns))
    is_its = f"WHERE CAST({quoted(column)} AS TEXT) IN (SELECT value FROM json_each(?))"
    live(f"INSERT INTO main.{shadow} ({listed}) SELECT {listed} FROM main.{table} {is_its}", (keys,))
    live(f"DELETE FROM main.{table} {is_its}", (keys,))
    try:
        live(f"INSERT INTO main.{table} ({listed}) SELECT {listed} FROM {COPY}.{table} {is_its}", (keys,))
    except sqlite3.IntegrityError as failure:
        raise ReplayRefusedError(
            database.key,
            step=_STEP,
            reasons=[
                f"rows of table {shape.name} cannot stand beside those of other keys ({failure}); a number that the "
                "table gives out itself is given out in the copy, too: replay all of history"
            ],
        ) from failure


def _keys(part: Part) -> list[str]:
    """The keys whose rows are exchanged; a stream's is what stands behind its category."""
    return list(part.keys) or [stream.partition("-")[2] for stream in part.streams]
