"""Shadow tables follow a copy exactly, whatever is done to it, and in whatever pieces."""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.projections.abc import ProjectionPlan
from penstock.replays._meeting import meet
from penstock.replays._sqlite import _shadows
from penstock.replays._sqlite._capture import pending
from penstock.replays._sqlite._file import place_of
from penstock.replays._sqlite._making import run_on
from penstock.replays._sqlite._rows import read_row
from penstock.replays._sqlite._shapes import Run, TableShape, read_shape, shadow_name
from penstock.replays._sqlite._statements import quoted
from penstock.replays._sqlite.copy import SqliteCopy
from penstock.replays.abc import Candidate, CopiedTable
from penstock.store import migrating
from penstock.store._sqlite import SqliteBackend
from penstock.store._sqlite._database import SqliteDatabase
from tests.replays.sqlite.spending import direct, folder_in_memory
from tests.replays.sqlite.test_tables import Making
from tests.replays.things import KEY, PATIENCE, nothing

_KEYS = st.sampled_from([1, 2, 3, "a", "A", 1.5, "1", b"x"])
_VALUES = st.sampled_from([1, 2, 3, 4, None, "t"])
_TABLES = st.sampled_from(["plain", "named", "pair"])

Statement = tuple[str, tuple[Any, ...]]


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    """A change, as handlers write them: with conflict clauses, of keys, of many rows."""
    table, key, other, value = draw(_TABLES), draw(_KEYS), draw(_KEYS), draw(_VALUES)
    clause = draw(st.sampled_from(["", "OR REPLACE", "OR IGNORE", "OR ABORT"]))
    match draw(st.sampled_from(["insert", "insert", "update", "move", "delete", "all", "upsert", "swap"])):
        case "insert":
            return f"INSERT {clause} INTO {table} (k, l, u) VALUES (?, ?, ?)", (key, other, value)
        case "update":
            return f"UPDATE {clause} {table} SET u = ? WHERE k = ?", (value, key)
        case "move":
            return f"UPDATE {clause} {table} SET k = ?, l = ? WHERE k = ?", (other, key, key)
        case "delete":
            return f"DELETE FROM {table} WHERE k = ? OR u = ?", (key, value)
        case "all":
            return f"DELETE FROM {table}", ()
        case "upsert":
            target = {"plain": "u", "named": "k", "pair": "k, l"}[table]
            return (
                f"INSERT INTO {table} (k, l, u) VALUES (?, ?, ?) ON CONFLICT ({target}) DO UPDATE SET l = excluded.l",
                (key, other, value),
            )
        case _:
            return f"UPDATE {clause} {table} SET u = 5 - u WHERE typeof(u) = 'integer'", ()


@contextmanager
def copied(folder: Path) -> Iterator[SqliteCopy]:
    """A copy of three tables: by row id, by a key of a type of its own with a trigger, and without row ids."""
    database = SqliteDatabase("local", folder / "live.db")
    migrating.apply(database)
    with closing(database.connect()) as connection:
        connection.execute("CREATE TABLE plain (k, l, u UNIQUE)")
        connection.execute("CREATE TABLE named (k INTEGER PRIMARY KEY AUTOINCREMENT, l TEXT, u UNIQUE)")
        connection.execute(
            "CREATE TABLE pair (k TEXT COLLATE NOCASE, l, u, PRIMARY KEY (l DESC, k)) WITHOUT ROWID"
        )
        connection.execute("CREATE UNIQUE INDEX pair_u ON pair (u) WHERE u > 1")
        connection.execute("CREATE UNIQUE INDEX plain_k ON plain (lower(k) DESC) WHERE typeof(k) = 'text'")
        # One that would run into itself, if it could.
        connection.execute(
            "CREATE TRIGGER stamped AFTER UPDATE ON named BEGIN UPDATE named SET l = new.l || '+' WHERE k = new.k; END"
        )
    tables = [CopiedTable(name) for name in ("plain", "named", "pair")]
    copy = SqliteCopy(KEY, database, tables, projections=["spending"])
    copy.create([Candidate(ProjectionPlan("spending"), Making(database))])
    yield copy


def change(copy: SqliteCopy, group: Sequence[Statement]) -> None:
    """Do it in one transaction; a statement that SQLite refuses changes nothing."""
    with closing(copy.database.connect()) as connection:
        raw: Any = connection
        copy.database.begin(connection)
        for sql, parameters in group:
            with contextlib.suppress(sqlite3.IntegrityError):
                raw.execute(sql, parameters)
        connection.commit()


def rows_of(run: Run, shape: TableShape, name: str) -> list[Any]:
    """Everything of a table, its row ids and the kinds of its values too."""
    named = ", ".join(map(quoted, shape.stored))
    kinds = ", ".join(f"typeof({quoted(column)})" for column in shape.stored)
    return sorted(run(f"SELECT {named}, {kinds} FROM main.{quoted(name)}").fetchall(), key=repr)


@pytest.mark.covers("ZDT-7", "ZDT-10")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(
    before=[("INSERT INTO plain (k, l, u) VALUES ('a', 'a', 1)", ())],
    during=[
        [],
        [],
        [
            ("INSERT OR REPLACE INTO plain (k, l, u) VALUES ('b', 'b', 1)", ()),
            ("UPDATE plain SET u = 2 WHERE k = 'b'", ()),
        ],
    ],
    rows=4,
)
@example(
    before=[
        ("INSERT INTO plain (k, l, u) VALUES ('a', 'a', 1)", ()),
        ("INSERT INTO plain (k, l, u) VALUES ('b', 'b', 2)", ()),
    ],
    during=[[("UPDATE plain SET u = 3 WHERE u = 1", ()), ("UPDATE plain SET u = 1 WHERE u = 2", ())]],
    rows=1,
)
@example(
    before=[("INSERT INTO plain (k, l, u) VALUES ('a', 'a', 1)", ())],
    during=[
        [],
        [],
        [
            ("INSERT OR REPLACE INTO plain (k, l, u) VALUES ('A', 'b', 2)", ()),
            ("UPDATE plain SET k = 'b' WHERE k = 'A'", ()),
        ],
    ],
    rows=4,
)
@given(
    before=st.lists(statements(), max_size=12),
    during=st.lists(st.lists(statements(), min_size=1, max_size=6), max_size=4),
    rows=st.integers(min_value=1, max_value=4),
)
def test_shadows_become_what_the_copy_is(
    before: Sequence[Statement], during: Sequence[Sequence[Statement]], rows: int
) -> None:
    """Filled in small pieces while the copy changes between them, the shadows are the copy when no note is left."""
    with (
        folder_in_memory() as folder,
        copied(folder) as copy,
        pytest.MonkeyPatch.context() as patch,
    ):
        waiting = list(during)

        @contextmanager
        def step(self: Any, transaction: Any) -> Iterator[Any]:
            with transaction as opened:
                yield opened, rows
            if waiting:
                change(copy, waiting.pop(0))

        patch.setattr(_shadows.Pace, "step", step)
        patch.setattr(_shadows, "_NEAR", 0)
        change(copy, before)
        copy.prepare_switch(nothing)
        for group in waiting:
            change(copy, group)
        waiting.clear()
        copy.prepare_switch(nothing)
        with (
            closing(copy.database.connect()) as ours,
            closing(copy.live_database.connect()) as live,
        ):
            run = run_on(copy.database, ours)
            row = read_row(run, "production", KEY)
            assert row is not None
            for number, (name, shadow) in enumerate(row.shadows.tables.items()):
                shape = read_shape(run, "main", name)
                assert shape is not None
                assert pending(run, "main", number, shadow.applied) == 0
                found = rows_of(run_on(copy.live_database, live), shape, shadow_name(place_of(KEY), name))
                assert found == rows_of(run, shape, name)


@pytest.mark.covers("ZDT-10")
async def test_row_ids_that_vacuum_gives_out_anew_are_noticed(store: SqliteBackend) -> None:
    """A table without a key is followed by its row ids; when those have changed it is copied once more."""
    with direct(store.database.path) as user:
        user.execute("CREATE TABLE loose (text TEXT)")
    copy = SqliteCopy(KEY, store.database, [CopiedTable("loose")], projections=["spending"])
    copy.create([Candidate(ProjectionPlan("spending"), Making(store.database))])
    change(copy, [("INSERT INTO loose VALUES (?)", (each,)) for each in "abcdef"])
    change(copy, [("DELETE FROM loose WHERE text = 'b'", ())])
    copy.prepare_switch(nothing)
    with direct(store.database.path) as user:
        user.execute("VACUUM")
    change(copy, [("UPDATE loose SET text = 'E' WHERE text = 'e'", ())])
    candidates = [Candidate(ProjectionPlan("spending"), copy.guard(Making(store.database)))]
    copy.switch(
        lambda: meet(candidates, copy, lambda name: store.reader(), patience=PATIENCE), lambda held: None
    )
    with direct(store.database.path) as user:
        assert user.execute("SELECT text FROM loose ORDER BY rowid").fetchall() == [
            (each,) for each in "acdEf"
        ]
