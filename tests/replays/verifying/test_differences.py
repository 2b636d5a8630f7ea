"""What is not the same in two tables is found, and nothing else."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.replays.abc import RowDifference
from penstock.replays.verifying import _in_postgres
from penstock.replays.verifying.differences import Only
from tests.replays.verifying.sides import Sides, compared

TYPES = {
    "sqlite": {"number": "INTEGER", "real": "REAL", "text": "TEXT", "data": "BLOB", "json": "JSON"},
    "postgresql": {
        "number": "bigint",
        "real": "double precision",
        "text": "text",
        "data": "bytea",
        "json": "jsonb",
    },
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    # Values by which a weak hash would be deceived are among them.
    "number": st.one_of(
        st.sampled_from([-1, 0, 1, 2**32 - 1, 2**32, -(2**31)]), st.integers(-(2**63), 2**63 - 1)
    ),
    "real": st.floats(allow_nan=False, allow_infinity=False),
    "text": st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6),
    "data": st.binary(max_size=4),
    "json": st.sampled_from(['{"a": 1, "b": [true, null]}', '{"a": 2, "b": []}', '"x"', "[1.5]"]),
}


@dataclass
class Case:
    """A table, and what is changed in its copy."""

    key: tuple[str, ...]
    """Kinds."""
    columns: tuple[str, ...]
    live: dict[tuple[Any, ...], tuple[Any, ...]]
    copied: dict[tuple[Any, ...], tuple[Any, ...]]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Two tables of one shape that have most rows in common."""
    key = tuple(draw(st.lists(st.sampled_from(["number", "text"]), min_size=1, max_size=2)))
    columns = tuple(draw(st.lists(st.sampled_from(sorted(VALUES)), max_size=3)))
    row = st.tuples(*(st.one_of(st.none(), VALUES[each]) for each in columns))
    live = draw(st.dictionaries(st.tuples(*(VALUES[each] for each in key)), row, max_size=25))
    copied = dict(live)
    for place in draw(st.lists(st.sampled_from(sorted(live)), max_size=3)) if live else []:
        match draw(st.sampled_from(["drop", "change", "move"])):
            case "drop":
                copied.pop(place, None)
            case "change":
                copied[place] = draw(row)
            case _:
                # Two rows that have each other's values have the same sum of hashes by column.
                other = draw(st.sampled_from(sorted(live)))
                copied[place], copied[other] = live[other], live[place]
    copied |= draw(st.dictionaries(st.tuples(*(VALUES[each] for each in key)), row, max_size=2))
    return Case(key, columns, live, copied)


def is_same(kind: str, one: Any, other: Any) -> bool:
    """Whether two values are one, as people see it."""
    return bool(one == other)


def make(sides: Sides, case: Case) -> None:
    """Both tables."""
    types = TYPES[sides.database.dialect]
    keys = [f"k{number}" for number in range(len(case.key))]
    parts = [f'"{name}" {types[kind]} NOT NULL' for name, kind in zip(keys, case.key, strict=True)]
    parts += [f'"c {number}" {types[kind]}' for number, kind in enumerate(case.columns)]
    for side, rows in (("live", case.live), ("copy", case.copied)):
        # In another order, as another run may have it.
        order = sorted(rows, reverse=side == "copy")
        sides.run(side, f"CREATE TABLE things ({', '.join(parts)}, PRIMARY KEY ({', '.join(keys)}))")
        if order:
            # The server remembers a statement with the types of the table that it was first for.
            is_server = sides.database.dialect == "postgresql"
            marks = ", ".join(
                f"CAST(? AS {types[kind]})" if is_server else "?" for kind in (*case.key, *case.columns)
            )
            sides.run(
                side, f"INSERT INTO things VALUES ({marks})", many=[(*place, *rows[place]) for place in order]
            )


@pytest.mark.covers("ZDT-9", "LEAD-1")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases(), ranges=st.sampled_from([1, 1024]))
def test_exactly_what_was_changed_is_found(sides: Sides, case: Case, ranges: int) -> None:
    """Rows by key and columns by name: all that differ, and none that does not, however many share a digest."""
    sides.clear()
    make(sides, case)
    expected: dict[tuple[Any, ...], tuple[str, set[str]]] = {}
    for place in {*case.live, *case.copied}:
        if place not in case.copied:
            expected[place] = ("missing", set())
        elif place not in case.live:
            expected[place] = ("surplus", set())
        else:
            differing = {
                f"c {number}"
                for number, kind in enumerate(case.columns)
                if not is_same(kind, case.live[place][number], case.copied[place][number])
            }
            if differing:
                expected[place] = ("changed", differing)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_in_postgres, "_RANGES", ranges)
        [found] = compared(sides, "things", rows=1000)
    assert {
        tuple(row.key[f"k{number}"] for number in range(len(case.key))): (row.kind, set(row.columns))
        for row in found.rows
    } == expected
    assert found.differing == len(expected) == len(found.rows)
    assert (found.live_rows, found.copy_rows) == (len(case.live), len(case.copied))
    assert found.is_equal == (not expected)


@pytest.mark.covers("ZDT-9", "LEAD-1")
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    live=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["x", "y", None])), max_size=12),
    copied=st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["x", "y", None])), max_size=12),
)
def test_rows_without_a_key_are_counted(
    sides: Sides, live: list[tuple[int, str | None]], copied: list[tuple[int, str | None]]
) -> None:
    """How often each row is on either side is compared; their order is not."""
    sides.clear()
    for side, rows in (("live", live), ("copy", copied)):
        sides.run(side, "CREATE TABLE log (n integer, t text)")
        if rows:
            sides.run(side, "INSERT INTO log VALUES (?, ?)", many=rows)
    counts = {each: live.count(each) - copied.count(each) for each in {*live, *copied}}
    [found] = compared(sides, "log", rows=100)
    assert {(row.key["n"], row.key["t"]): row.kind for row in found.rows} == {
        each: "missing" if count > 0 else "surplus" for each, count in counts.items() if count
    }
    assert found.differing == sum(map(abs, counts.values()))
    assert "no key" in found.note


SAME = {
    "sqlite": [
        ("REAL", "0.0", "-0.0"),
        ("NUMERIC", "1.50", "1.5"),
        ("JSON", """'{"a": 1, "b": 2}'""", """'{"b":2,"a":1.0}'"""),
        ("JSON", "'[1e400]'", "'[1e400]'"),
        ("REAL", "1", "1.0"),
        ("TEXT", "NULL", "NULL"),
    ],
    "postgresql": [
        ("double precision", "'0'", "'-0'"),
        ("real", "'0.1'", "0.1"),
        ("double precision", "'NaN'", "'NaN'"),
        ("numeric", "1.50", "1.5"),
        ("numeric", "'NaN'", "'NaN'"),
        ("json", """'{"a": 1, "b": 2}'""", """'{"b":2,"a":1}'"""),
        ("jsonb", """'{"a": 1.0}'""", """'{"a": 1.00}'"""),
        ("json", r"""'"\u0000"'""", r"""'"\u0000"'"""),
        ("json", r"""'"\ud800"'""", r"""'"\ud800"'"""),
        ("json", r"""'{"a": "\ud83d\ude00", "b": 1e100}'""", r"""'{"b": 1e100, "a": "\uD83D\uDE00"}'"""),
        ("timestamptz", "'2024-01-01 00:00Z'", "'2024-01-01 01:00+01'"),
        ("date", "'infinity'", "'infinity'"),
        ("point", "'(1,2)'", "'(1.0,2)'"),
        ("tsvector", "'a b'", "'b a'"),
        ("int[]", "'{1,2}'", "'{1,2}'"),
        ("text", "NULL", "NULL"),
    ],
}
OTHER = {
    "sqlite": [
        ("TEXT", "NULL", "''"),
        ("TEXT COLLATE NOCASE", "'a'", "'A'"),
        ("BLOB", "x'6161'", "'aa'"),
        ("INTEGER", "-1", "4294967295"),
        ("REAL", "0.1", "0.10000000000000002"),
        ("JSON", "'[1, 2]'", "'[2, 1]'"),
        ("JSON", "'[true]'", "'[1]'"),
        ("JSON", "'[1e400]'", "'[1e500]'"),
        ("JSON", f"'{'[' * 100_000}'", f"'{'[' * 100_000} '"),
        ("TEXT", "CAST(x'ff' AS TEXT)", "CAST(x'fe' AS TEXT)"),
        ("TEXT", "'a '", "'a'"),
        ("INTEGER", "NULL", "0"),
    ],
    "postgresql": [
        ("text", "NULL", "''"),
        ("text", "'a'", "'A'"),
        ("bytea", r"'\x00'", r"'\x0000'"),
        ("bigint", "-1", "4294967295"),
        ("timestamp", "'-infinity'", "'2024-01-01'"),
        ("double precision", "0.1", "0.10000000000000002"),
        ("json", "'[1, 2]'", "'[2, 1]'"),
        ("json", r"""'"\u0000"'""", "'1'"),
        ("json", r"""'"\ud800"'""", r"""'"\udfff"'"""),
        ("json", r"""'"\\ud83d\ude00"'""", r"""'"\\ud83d\ude01"'"""),
        ("json", "'1e999999'", "'1e999998'"),
        ("jsonb", "'null'", "NULL"),
        ("interval", "'1 day'", "'24 hours'"),
        ("point", "'(1,2)'", "'(2,1)'"),
        ("tsvector", "'a b'", "'a c'"),
        ("jsonb", "'1'", "'1.1'"),
        ("text[]", "'{a,b}'", "'{\"a,b\"}'"),
        ("date", "'0044-03-15 BC'", "'0044-03-15'"),
    ],
}


@pytest.mark.parametrize("has_key", [True, False])
def test_values_are_compared_and_not_how_they_are_written(sides: Sides, has_key: bool) -> None:
    """The same number, moment or JSON is no difference; null is a value, and case counts in any collation."""
    dialect = sides.database.dialect
    key = " PRIMARY KEY" if has_key else ""
    cases = [(*each, True) for each in SAME[dialect]] + [(*each, False) for each in OTHER[dialect]]
    for number, (type_, one, other, _) in enumerate(cases):
        for side, value in (("live", one), ("copy", other)):
            sides.run(
                side,
                f"CREATE TABLE t{number} (id integer{key}, v {type_})",
                f"INSERT INTO t{number} VALUES (1, {value})",
            )
    found = compared(sides, *(f"t{number}" for number in range(len(cases))))
    wrong = [(case, each.rows) for case, each in zip(cases, found, strict=True) if each.is_equal != case[3]]
    assert wrong == []


def test_columns_of_one_side_are_said_and_not_compared(sides: Sides) -> None:
    """A new column, one that is gone, and one of another type are no differences of rows."""
    sides.run("live", "CREATE TABLE t (id integer PRIMARY KEY, a text, gone text, n integer)")
    sides.run("copy", "CREATE TABLE t (n text, id integer PRIMARY KEY, a text, added text)")
    sides.run("live", "INSERT INTO t VALUES (1, 'x', 'y', 5), (2, 'x', 'y', 6)")
    sides.run("copy", "INSERT INTO t (id, a, n, added) VALUES (1, 'x', '5', 'z'), (2, 'w', '6', 'z')")
    [found] = compared(sides, "t")
    assert (found.compared, found.only_live, found.only_copy) == (("id", "a"), ("gone",), ("added",))
    assert found.rows == (RowDifference({"id": 2}, "changed", {"a": ("x", "w")}),)
    assert "'n' is integer in the live table and text in the copy" in found.note


def test_a_key_of_another_type_still_tells_rows_apart(sides: Sides) -> None:
    """An id that became larger is compared by what it says."""
    sides.run("live", "CREATE TABLE t (id smallint PRIMARY KEY, a text)")
    sides.run("copy", "CREATE TABLE t (id bigint PRIMARY KEY, a text)")
    sides.run("live", "INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z')")
    sides.run("copy", "INSERT INTO t VALUES (1, 'x'), (2, 'w')")
    [found] = compared(sides, "t")
    assert [(str(row.key["id"]), row.kind) for row in found.rows] == [("2", "changed"), ("3", "missing")]


def test_a_table_of_one_side_is_said(sides: Sides) -> None:
    """A new table has nothing to be compared with; one that the copy lacks is a difference."""
    sides.run("copy", "CREATE TABLE fresh (id integer PRIMARY KEY)", "INSERT INTO fresh VALUES (1)")
    sides.run("live", "CREATE TABLE lost (id integer PRIMARY KEY)", "INSERT INTO lost VALUES (1)")
    fresh, lost = compared(sides, "fresh", "lost")
    assert (fresh.is_equal, fresh.is_new, fresh.copy_rows) == (True, True, 1)
    assert (lost.is_equal, lost.live_rows, lost.copy_rows, lost.differing) == (False, 1, 0, 1)


def test_only_the_rows_of_a_part_are_compared(sides: Sides) -> None:
    """Rows of other customers may differ: they are none of the partial replay's."""
    for side in ("live", "copy"):
        sides.run(side, "CREATE TABLE t (id integer PRIMARY KEY, customer text, a text)")
    sides.run(
        "live", "INSERT INTO t VALUES (1, 'ann', 'x'), (2, 'bob', 'x'), (3, 'ann', 'x'), (4, 'ann', 'x')"
    )
    sides.run(
        "copy", "INSERT INTO t VALUES (1, 'ann', 'x'), (3, 'ann', 'y'), (5, 'ann', 'x'), (9, 'bob', 'z')"
    )
    [found] = compared(sides, "t", only={"t": Only("customer", ("ann",))})
    assert (found.live_rows, found.copy_rows, found.differing) == (3, 3, 3)
    assert [(row.key["id"], row.kind) for row in found.rows] == [
        (3, "changed"),
        (4, "missing"),
        (5, "surplus"),
    ]


@pytest.mark.parametrize("key", [" PRIMARY KEY", ""])
def test_without_a_column_that_says_it_the_rows_of_the_copy_are_the_part(sides: Sides, key: str) -> None:
    """What the copy has not is not missed."""
    for side in ("live", "copy"):
        sides.run(side, f"CREATE TABLE t (id integer{key}, a text)")
    sides.run("live", "INSERT INTO t VALUES (1, 'x'), (2, 'x'), (3, 'x')")
    sides.run("copy", "INSERT INTO t VALUES (2, 'x'), (3, 'x')")
    [found] = compared(sides, "t", copy_only=True)
    assert found.is_equal
    sides.run("copy", "UPDATE t SET a = 'y' WHERE id = 2", "INSERT INTO t VALUES (7, 'x')")
    [found] = compared(sides, "t", copy_only=True)
    assert [row.key["id"] for row in found.rows] == [2, 7]


def test_any_key_that_both_have_will_do(sides: Sides) -> None:
    """A unique index is as good as a primary key, if nothing in it is null; quoted and long names are names."""
    name = 'Größe "x" ' + "y" * 40
    quoted = '"' + name.replace('"', '""') + '"'
    for side in ("live", "copy"):
        sides.run(
            side,
            f"CREATE TABLE {quoted} (id integer, {quoted} text NOT NULL, a integer NOT NULL, v text)",
            f"CREATE UNIQUE INDEX u{side} ON {quoted} (a, {quoted})",
            f"INSERT INTO {quoted} VALUES (1, 'x', 1, 'same'), (2, 'x', 2, '{side}')",
        )
    [found] = compared(sides, name)
    assert found.rows[0].key == {"a": 2, name: "x"}
    assert found.rows[0].columns == {"v": ("live", "copy")}


def test_nulls_in_what_is_called_a_key_hide_nothing(sides: Sides) -> None:
    """SQLite takes nulls into a primary key; such rows are compared as wholes."""
    if sides.database.dialect == "postgresql":
        key = "CREATE TABLE t (k text UNIQUE, v text)"
    else:
        key = "CREATE TABLE t (k text PRIMARY KEY, v text)"
    for side in ("live", "copy"):
        sides.run(side, key, "INSERT INTO t VALUES (NULL, 'a'), (NULL, 'b')")
    sides.run("copy", "UPDATE t SET v = 'c' WHERE v = 'b'")
    [found] = compared(sides, "t")
    assert sorted((row.key["v"], row.kind) for row in found.rows) == [("b", "missing"), ("c", "surplus")]
