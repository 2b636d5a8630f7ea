"""What is compared of a table and what was found, in words that both dialects share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

import msgspec

from penstock.replays.abc import Column, RowDifference
from penstock.store._quoting import quoted

__all__ = ["LONGEST", "Found", "Only", "Subject", "counted", "quoted", "row_difference", "shown"]

LONGEST: Final = 400
"""Characters of a value that are kept in a report."""
_NOTED: Final = 40
"""What the note of a length takes at most; what was cut off by a database is not cut again."""


@dataclass(frozen=True, slots=True)
class Only:
    """Which rows of a table are compared: those that belong to a partial replay."""

    column: str
    values: tuple[str, ...]
    """As text."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One table on both sides, with what can be compared."""

    live: str
    """As it is written in SQL."""
    copy: str
    key: tuple[str, ...]
    """Empty: its rows are compared as a bag, in which the same row may be more than once."""
    columns: tuple[Column, ...]
    """Those of the same type on both sides."""
    text_keys: frozenset[str] = frozenset()
    """Columns of the key whose types are not the same, so that they are compared as text."""
    only: Only | None = None
    copy_only: bool = False
    """Compare the rows that the copy has, whatever else is live."""

    @property
    def values(self) -> tuple[Column, ...]:
        """The columns that are no part of the key."""
        return tuple(each for each in self.columns if each.name not in self.key)


@dataclass(frozen=True, slots=True)
class Found:
    """What a comparison of one table found."""

    live_rows: int
    copy_rows: int
    differing: int = 0
    rows: tuple[RowDifference, ...] = field(default=())


def counted(subject: Subject, live_rows: int, copy_rows: int) -> Found:
    """What is found where there is no column to compare: as many rows, or not."""
    if subject.copy_only:
        return Found(copy_rows, copy_rows)
    return Found(live_rows, copy_rows, abs(live_rows - copy_rows))


def row_difference(
    subject: Subject,
    kind: Literal["missing", "surplus", "changed"],
    key: Sequence[Any],
    differing: Sequence[tuple[str, Any, Any]] = (),
) -> RowDifference:
    """One row with its key (of a bag: all of it) and the columns that are not the same."""
    names = subject.key or tuple(each.name for each in subject.columns)
    return RowDifference(
        {name: shown(value) for name, value in zip(names, key, strict=True)},
        kind,
        {name: (shown(live), shown(copied)) for name, live, copied in differing},
    )


def shown(value: Any) -> Any:
    """A value as a report keeps it: plain JSON, long ones cut off with their length."""
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if value - value == 0 else str(value)
        case bytes() | bytearray() | memoryview():
            data = bytes(cast("bytes", value))
            beginning = "\\x" + data[: LONGEST // 2].hex()
            return beginning if len(data) <= LONGEST // 2 else _noted(beginning, len(data), "bytes")
        case str():
            # Half a character, or half of its bytes, is no text that can be kept.
            text = value.encode("utf-8", "backslashreplace").decode()
            return text if len(text) <= LONGEST + _NOTED else _noted(text[:LONGEST], len(text), "characters")
        case _:
            text = msgspec.json.encode(value, enc_hook=str).decode()
            return value if len(text) <= LONGEST else _noted(text[:LONGEST], len(text), "characters")


def _noted(text: str, length: int, unit: str) -> str:
    return f"{text}… ({length} {unit})"
