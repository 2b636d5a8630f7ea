"""What users know about a read model: invariants that must hold in the copy, and queries that must answer the same."""

import contextlib
import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias, cast

import msgspec

from penstock.replays.abc import Comparing
from penstock.replays.verifying._postgres import undone
from penstock.replays.verifying._subject import shown

__all__ = ["Check", "run_checks", "run_samples"]

Check: TypeAlias = str | Callable[[Comparing], object]
"""SQL in which plain table names mean the copy's and that must give no rows; or a function of the two sides, which says
what is wrong: by a text or texts, by ``False``, or by raising. It reads one row or many, and writes nothing."""

_SHOWN_ROWS: Final = 3
_MOST_ROWS: Final = 100_000
_LONGEST_LABEL: Final = 120
_READ_ONLY: Final = "25006"
"""The SQLSTATE of a statement that writes in a transaction which only reads (appendix A of PostgreSQL's manual)."""


def run_checks(comparing: Comparing, checks: Sequence[Check]) -> tuple[list[str], list[str]]:
    """What failed, in words, and the names of what passed."""
    return _run(comparing, [(_label(check), check) for check in checks], _checked)


def run_samples(comparing: Comparing, samples: Sequence[str]) -> tuple[list[str], list[str]]:
    """Queries whose answers are not the same, in words, and those whose answers are."""
    return _run(comparing, [(f"sample {_label(sample)}", sample) for sample in samples], _sampled)


def _label(check: Check) -> str:
    if not isinstance(check, str):
        return getattr(check, "__name__", None) or type(check).__name__
    text = " ".join(check.split())
    return text if len(text) <= _LONGEST_LABEL else f"{text[:_LONGEST_LABEL]}…"


def _run(
    comparing: Comparing,
    wanted: Sequence[tuple[str, Any]],
    act: Callable[[Comparing, Any], Iterable[str]],
) -> tuple[list[str], list[str]]:
    failed, passed = list[str](), list[str]()
    for label, each in wanted:
        with _apart(comparing):
            try:
                found = [*act(comparing, each)]
            except Exception as failure:  # noqa: BLE001  whatever a user's check raises is what it found
                found = [_explained(failure)]
        failed += [f"{label}: {text}" for text in found]
        if not found:
            passed.append(label)
    return failed, passed


def _explained(failure: Exception) -> str:
    cause: Any = failure.__cause__ or failure
    if getattr(cause, "sqlstate", None) == _READ_ONLY or (
        getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY
    ):
        return "it writes; what is compared can only be read"
    return f"{type(failure).__name__}: {failure}" if str(failure) else type(failure).__name__


def _apart(comparing: Comparing) -> contextlib.AbstractContextManager[None]:
    """A block that leaves the transaction as it was, also if a statement failed in it (PostgreSQL)."""
    is_sqlite = comparing.database.dialect == "sqlite"
    return contextlib.nullcontext() if is_sqlite else undone(comparing.database, comparing.connection)


def _checked(comparing: Comparing, check: Check) -> Iterator[str]:
    if isinstance(check, str):
        if found := comparing.read("copy", check, most=_SHOWN_ROWS + 1):
            several = "more than " if len(found) > _SHOWN_ROWS else ""
            count = min(len(found), _SHOWN_ROWS)
            first = ", ".join(_written(row) for row in found[:_SHOWN_ROWS])
            yield f"{several}{count} {'row' if count == 1 else 'rows'} that should not be there: {first}"
        return
    answer = check(comparing)
    match answer:
        case None | True | "":
            return
        case False:
            yield "it does not hold"
        case str(text):
            yield text
        case Iterable():
            yield from (str(each) for each in cast("Iterable[object]", answer))
        case _:
            yield f"it answers {answer!r}; a check says what is wrong by a text, by texts, or by False"


def _sampled(comparing: Comparing, sql: str) -> Iterator[str]:
    live, copied = (comparing.read(side, sql, most=_MOST_ROWS + 1) for side in ("live", "copy"))
    if max(len(live), len(copied)) > _MOST_ROWS:
        yield f"it gives more than {_MOST_ROWS:,} rows; ask for fewer"
        return
    there, here = Counter(map(_value, live)), Counter(map(_value, copied))
    if there == here and ("order by" not in sql.lower() or [*map(_value, live)] == [*map(_value, copied)]):
        return
    gone = [row for row in live if _is_more(there, here, row)]
    come = [row for row in copied if _is_more(here, there, row)]
    if not gone and not come:
        yield "the same rows in another order"
        return
    parts = [
        f"{side} {', '.join(_written(row) for row in rows[:_SHOWN_ROWS])}"
        + (f" and {len(rows) - _SHOWN_ROWS} more" if len(rows) > _SHOWN_ROWS else "")
        for side, rows in (("only live:", gone), ("only in the copy:", come))
        if rows
    ]
    yield "; ".join(parts)


def _is_more(one: Counter[Any], other: Counter[Any], row: Any) -> bool:
    value = _value(row)
    if one[value] <= other[value]:
        return False
    one[value] -= 1
    return True


def _value(value: Any) -> Any:
    """A value by which equal ones are found in a dictionary: numbers by size, JSON in any order."""
    match value:
        case tuple() | list():
            return tuple(_value(each) for each in cast("Sequence[Any]", value))
        case dict():
            items = cast("Mapping[str, Any]", value).items()
            return frozenset((name, _value(each)) for name, each in items)
        case float() | Decimal() if math.isnan(value):
            return "NaN", ()
        case bool():
            return "bool", value
        case bytearray() | memoryview():
            return bytes(cast("bytes", value))
        case _:
            return value


def _written(row: Any) -> str:
    """A row for people."""
    values = [shown(each) for each in row]
    return f"({msgspec.json.encode(values, enc_hook=str).decode()[1:-1]})"
