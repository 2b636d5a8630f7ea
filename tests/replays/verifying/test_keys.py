"""Rows are told apart by their keys, whatever these are; and what is said of them is short."""

import tracemalloc

import psycopg
import pytest

from penstock.replays.abc import RowDifference
from tests.replays.verifying.sides import FileSides, SchemaSides, Sides, compared

CHANGED = {("a", "changed")}
APART = {("a", "missing"), ("A", "surplus")}
MORE = {("A", "surplus")}
SIZE = "CREATE TYPE size AS ENUM ('A', 'a')"
CASES = {
    "sqlite": [
        # Under this collation a is A, and rows with either would be one.
        ("TEXT COLLATE NOCASE", "TEXT COLLATE NOCASE", [("a", 1)], [("A", 1)], APART),
        ("TEXT COLLATE NOCASE", "TEXT COLLATE NOCASE", [("a", 1)], [("a", 2)], CHANGED),
        ("TEXT COLLATE NOCASE", "TEXT", [("a", 1)], [("a", 1), ("A", 1)], MORE),
        ("TEXT", "TEXT COLLATE NOCASE", [("a", 1), ("A", 1)], [("a", 1)], {("A", "missing")}),
        ("TEXT COLLATE RTRIM", "TEXT COLLATE RTRIM", [("a", 1)], [("A", 1)], APART),
    ],
    "postgresql": [
        # A type of one's own is another one in each schema.
        ("size", "size", [("a", 1)], [("a", 2)], CHANGED),
        ("size", "size", [("a", 1)], [("a", 1), ("A", 1)], MORE),
        ('text COLLATE "C"', 'text COLLATE "POSIX"', [("a", 1)], [("a", 2)], CHANGED),
        ("character varying(9)", "text", [("a", 1)], [("A", 1)], APART),
        ("character(9)", "character(9)", [("a", 1)], [("a ", 2)], CHANGED),
        ("text[]", "text[]", [("{a}", 1)], [("{a}", 2)], {("{a}", "changed")}),
        (
            "interval",
            "interval",
            [("1 day", 1)],
            [("24:00", 1)],
            {("1 day", "missing"), ("24:00:00", "surplus")},
        ),
    ],
}


@pytest.mark.covers("ZDT-9", "LEAD-1")
@pytest.mark.parametrize("number", range(max(map(len, CASES.values()))))
def test_keys_of_any_type_and_collation_tell_rows_apart(sides: Sides, number: int) -> None:
    """What is another key to people is another row, and is found though a collation calls it the same."""
    cases = CASES[sides.database.dialect]
    live_type, copy_type, live, copied, expected = cases[number % len(cases)]
    for side, type_, rows in (("live", live_type, live), ("copy", copy_type, copied)):
        more = [SIZE] if type_ == "size" else []
        sides.run(side, *more, f"CREATE TABLE t (k {type_} PRIMARY KEY, v integer)")
        values = ", ".join(f"('{key}', {value})" for key, value in rows)
        sides.run(side, f"INSERT INTO t VALUES {values}")
    [found] = compared(sides, "t")
    assert {(row.key["k"], row.kind) for row in found.rows} == expected
    assert found.differing == len(expected)


@pytest.mark.covers("ZDT-9", "LEAD-1")
@pytest.mark.parametrize("has_key", [True, False])
def test_values_are_not_run_together(sides: Sides, has_key: bool) -> None:
    """Rows that are the same as one text, or that have each other's values, are other rows."""
    key = ", PRIMARY KEY (a, b)" if has_key else ""
    rows: dict[str, list[tuple[str, str, str | None]]] = {
        "live": [
            ("a,b", "c", "x"),
            ("q", '"', "(,)"),
            ("1", "2", "one"),
            ("2", "1", "two"),
            ("n", "u", None),
        ],
        "copy": [("a", "b,c", "x"), ("q", '"', "(,"), ("1", "2", "two"), ("2", "1", "one"), ("n", "u", "")],
    }
    for side, values in rows.items():
        sides.run(side, f"CREATE TABLE t (a text, b text, c text{key})")
        sides.run(side, "INSERT INTO t VALUES (?, ?, ?)", many=values)
    [found] = compared(sides, "t")
    if has_key:
        assert [(*row.key.values(), row.kind) for row in found.rows] == [
            ("1", "2", "changed"),
            ("2", "1", "changed"),
            ("a", "b,c", "surplus"),
            ("a,b", "c", "missing"),
            ("n", "u", "changed"),
            ("q", '"', "changed"),
        ]
        assert found.rows[4].columns == {"c": (None, "")}
    else:
        assert found.differing == 10


def test_tables_without_a_common_column_are_counted(sides: Sides) -> None:
    """Where all columns have another type, and there is no key, there still are as many rows, or not."""
    sides.run("live", "CREATE TABLE t (a integer)", "INSERT INTO t VALUES (1)")
    sides.run("copy", "CREATE TABLE t (a text)", "INSERT INTO t VALUES ('1'), ('2'), ('3')")
    [found] = compared(sides, "t")
    assert (found.live_rows, found.copy_rows, found.differing, found.compared) == (1, 3, 2, ())
    [part] = compared(sides, "t", copy_only=True)
    assert part.is_equal
    sides.run("copy", "DELETE FROM t WHERE a <> '2'")
    [found] = compared(sides, "t")
    assert found.is_equal
    assert "was not compared" in found.note


@pytest.mark.covers("LEAD-1")
def test_long_values_are_cut_off_where_they_are(sides: Sides) -> None:
    """Their beginning and length are told; neither they nor those that are equal are fetched."""
    is_file = sides.database.dialect == "sqlite"
    size = 2_000_000
    text, data = (
        ("replace(printf('%.*c', ?, 'x'), 'x', 'ä')", "zeroblob(?)")
        if is_file
        else ("repeat('ä', ?)", "decode(repeat('00', ?), 'hex')")
    )
    for side in ("live", "copy"):
        sides.run(
            side,
            f"CREATE TABLE t (id integer PRIMARY KEY, a text, same text, b {'blob' if is_file else 'bytea'})",
        )
        sides.run(
            side,
            f"INSERT INTO t VALUES (?, {text}, {text}, {data})",
            many=[(number, size + (side == "copy"), size, size + (side == "copy")) for number in range(10)],
        )
    tracemalloc.start()
    try:
        [found] = compared(sides, "t")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found.differing == 10
    assert found.rows[0] == RowDifference(
        {"id": 0},
        "changed",
        {
            "a": (f"{'ä' * 400}… ({size} characters)", f"{'ä' * 400}… ({size + 1} characters)"),
            "b": (f"\\x{'00' * 200}… ({size} bytes)", f"\\x{'00' * 200}… ({size + 1} bytes)"),
        },
    )
    assert peak < size


def test_a_file_knows_no_case_of_names(file_sides: FileSides) -> None:
    """``Total`` and ``total`` are one column of SQLite, and what is in it is compared."""
    file_sides.run(
        "live", "CREATE TABLE t (ID integer PRIMARY KEY, Total text)", "INSERT INTO t VALUES (1, 'x')"
    )
    file_sides.run(
        "copy", "CREATE TABLE T (id integer PRIMARY KEY, total text)", "INSERT INTO t VALUES (1, 'y')"
    )
    [found] = compared(file_sides, "t")
    assert found.rows == (RowDifference({"id": 1}, "changed", {"total": ("x", "y")}),)
    assert (found.only_live, found.only_copy) == ((), ())


def test_bytes_that_are_no_text_are_shown(file_sides: FileSides) -> None:
    """SQLite takes any bytes for a text."""
    for side, data in (("live", "61ff"), ("copy", "61fe")):
        file_sides.run(side, "CREATE TABLE t (id integer PRIMARY KEY, a text)")
        file_sides.run(side, f"INSERT INTO t VALUES (1, CAST(x'{data}' AS TEXT))")
    [found] = compared(file_sides, "t")
    assert found.rows[0].columns == {"a": ("a\\udcff", "a\\udcfe")}


def test_a_comparison_takes_its_time_and_one_statement(postgres_database: str) -> None:
    """Limits on the time of statements are for others; a second statement, which could end the moment, is refused."""
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        name = connection.info.dbname
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute(f"ALTER DATABASE {name} SET {limit} = '50ms'".encode())
    sides = SchemaSides(postgres_database)
    try:
        sides.clear()
        with sides.comparing() as comparing:
            assert comparing.read(
                "copy", "SELECT 1 WHERE 'a' LIKE 'a%' AND pg_sleep(0.2)::text = ''", most=1
            ) == [(1,)]
            with pytest.raises(psycopg.Error, match="multiple commands"):
                comparing.read("copy", "SELECT 1; SELECT 2", most=1)
            with pytest.raises(psycopg.Error, match="nowhere"):
                comparing.read("copy", "SELECT 1 FROM nowhere", most=1)
            assert comparing.read("live", "SELECT current_schema()", most=1) == [("live side",)]
    finally:
        sides.close()
