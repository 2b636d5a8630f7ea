"""The row that the live file and the copy's have about a copy, and rows of ours that are carried between the two."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from penstock.replays._sqlite._shapes import Run, TableShape
from penstock.replays._sqlite._statements import quoted

__all__ = [
    "FileRow",
    "Shadow",
    "Shadows",
    "columns_of",
    "delete_row",
    "new_name",
    "read_row",
    "schema_number",
    "write_row",
]


class Shadow(msgspec.Struct):
    """How far the shadow of one table follows the copy's file."""

    is_filled: bool = False
    """Whether all rows are there that were in the file when its changes began to be noted."""
    applied: int = 0
    """Changes up to this number are in it."""


class Shadows(msgspec.Struct):
    """The shadow tables of a copy; in its own file: the tables of which it notes changes."""

    changes: str = ""
    """Names the run of notes that they follow; another one in the file means that they are of no use. Empty: none."""
    tables: dict[str, Shadow] = {}
    schema: int = 0
    """The number of the live file's schema when they were made; ``VACUUM`` raises it, too, and may change row ids."""
    kept: tuple[str, ...] = ()
    """Tables that are live and that the live version has given up, in small letters: the copy's are of its own."""


@dataclass(slots=True)
class FileRow:
    """What a file says about a copy."""

    content: str
    """Names what the copy's file has to hold, or holds."""
    is_leaving: bool = False
    shadows: Shadows = field(default_factory=Shadows)
    former: tuple[TableShape, ...] = ()
    """Of the tables in shadow, when the copy's file can be made again from them."""


def new_name() -> str:
    """A name that nothing else has."""
    return uuid.uuid4().hex


def read_row(run: Run, schema: str, key: str) -> FileRow | None:
    """The row about a copy in the database *schema*."""
    row = run(
        f"SELECT content, is_leaving, shadows, former FROM {schema}.penstock_replay_files WHERE replay = ?",
        (key,),
    ).fetchone()
    if row is None:
        return None
    content, is_leaving, shadows, former = row
    return FileRow(
        content,
        bool(is_leaving),
        msgspec.json.decode(shadows, type=Shadows),
        msgspec.json.decode(former, type=tuple[TableShape, ...]),
    )


def write_row(run: Run, key: str, row: FileRow) -> None:
    """Have this row in the main database of a connection, inside the caller's transaction."""
    run(
        "INSERT INTO main.penstock_replay_files (replay, content, is_leaving, shadows, former) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (replay) DO UPDATE SET content = excluded.content, is_leaving = excluded.is_leaving, "
        "shadows = excluded.shadows, former = excluded.former",
        (
            key,
            row.content,
            int(row.is_leaving),
            msgspec.json.encode(row.shadows).decode(),
            msgspec.json.encode(row.former).decode(),
        ),
    )


def delete_row(run: Run, key: str) -> None:
    """Have no such row."""
    run("DELETE FROM main.penstock_replay_files WHERE replay = ?", (key,))


def columns_of(run: Run, schema: str, table: str, *, without: Sequence[str] = ()) -> str:
    """The columns of a table, as they are listed in SQL."""
    found = run(f"PRAGMA {schema}.table_info({quoted(table)})").fetchall()
    return ", ".join(quoted(each[1]) for each in found if each[1] not in without)


def schema_number(run: Run) -> int:
    """The number of the main database's schema."""
    return int(run("PRAGMA main.schema_version").fetchone()[0])
