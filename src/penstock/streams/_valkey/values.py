"""Small translations between our values and what goes over the wire."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from penstock.position import EntryId, Start, StartPoint

__all__ = ["as_map", "entry_id", "milliseconds", "pages", "start_position", "text"]

T = TypeVar("T")


def milliseconds(duration: timedelta) -> int:
    """Whole milliseconds, rounded up, so that nothing above zero becomes zero."""
    return -(-duration // timedelta(milliseconds=1))


def text(raw: bytes) -> str:
    """A name as the server keeps it; bytes that are no UTF-8 are shown escaped."""
    return raw.decode("utf-8", "backslashreplace")


def entry_id(raw: bytes | None) -> EntryId | None:
    """An entry id, if there is one."""
    return None if raw is None else EntryId.parse(raw)


def as_map(flat: Sequence[Any]) -> dict[str, Any]:
    """Names and values that came one after the other."""
    return {text(name): value for name, value in zip(flat[::2], flat[1::2], strict=True)}


def pages(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """*items* in pieces of at most *size*."""
    return (items[first : first + size] for first in range(0, len(items), size))


def start_position(start: Start) -> bytes:
    """The position after which reading begins, as ``XGROUP CREATE`` takes it."""
    match start:
        case StartPoint.NEW:
            return b"$"
        case StartPoint.BEGINNING:
            return b"0-0"
        case datetime():
            return bytes(EntryId.at(start).previous())
        case EntryId():
            return bytes(start)
