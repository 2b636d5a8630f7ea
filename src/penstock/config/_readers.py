"""How one value is read: what a file, a variable or code may give for it, and what comes of it.

A reader is given the value, and whether it is *loose*: text of a variable or an option, which has no types of its own,
so that ``"4"`` is a number there but a mistake in a file. It answers with the value in its final type, which it also
accepts itself, or raises `UsageError` with what is wrong and what to write instead.
"""

import contextlib
import math
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit

from penstock.clock import parse_duration
from penstock.config._saying import mask, shown
from penstock.errors import UsageError
from penstock.position import EntryId, Start, StartPoint, parse_start
from penstock.streams.keys import Keys
from penstock.streams.partitions import check_count

__all__ = [
    "Reader",
    "any_text",
    "count",
    "count_or_zero",
    "duration",
    "flag",
    "namespace",
    "number",
    "one_of",
    "or_none",
    "path",
    "reference",
    "size",
    "start",
    "text",
    "url",
]

Reader: TypeAlias = Callable[[object, bool], object]

_OF_SEVERAL = tuple(
    f"{plain}+{kind}"
    for plain in ("redis", "rediss", "valkey", "valkeys")
    for kind in ("cluster", "sentinel")
)
_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix", "memory", *_OF_SEVERAL)
_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_UNITS = {
    **dict.fromkeys(("", "b", "byte", "bytes"), 1),
    **{f"{letter}ib": 1024**power for power, letter in enumerate("kmgt", start=1)},
    **{f"{letter}b": 1000**power for power, letter in enumerate("kmgt", start=1)},
}
_DOTTED = r"[^\W\d]\w*(?:\.[^\W\d]\w*)*"


def any_text(value: object, loose: bool) -> str:
    """Text, which may be empty."""
    if not isinstance(value, str):
        raise UsageError(f"{shown(value)} is no text; put it in quotes")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{shown(value)} cannot be written as UTF-8; write it anew") from None
    return value


def _bare(example: str, loose: bool) -> str:
    return example if loose else f"{example}, without quotes"


def text(value: object, loose: bool) -> str:
    """Text with something in it."""
    if not (found := any_text(value, loose)).strip():
        raise UsageError("it is empty; leave it out, or give it a value")
    return found


def flag(value: object, loose: bool) -> bool:
    """``true`` or ``false``."""
    if isinstance(value, bool):
        return value
    if loose and isinstance(value, str) and value.strip().lower() in _YES + _NO:
        return value.strip().lower() in _YES
    raise UsageError(f"{shown(value)} is neither true nor false; write {_bare('true or false', loose)}")


def count(value: object, loose: bool) -> int:
    """A whole number of at least 1."""
    return _whole(value, loose, least=1)


def partitions(value: object, loose: bool) -> int:
    """A number of partitions."""
    return check_count(_whole(value, loose, least=1))


def count_or_zero(value: object, loose: bool) -> int:
    """A whole number of at least 0."""
    return _whole(value, loose, least=0)


def _whole(value: object, loose: bool, *, least: int) -> int:
    found: int | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        found = value
    elif loose and isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,18}", value.strip()):
        found = int(value)
    if found is None:
        raise UsageError(f"{shown(value)} is no whole number; write digits, as in {_bare('4', loose)}")
    if not least <= found < 2**63:
        raise UsageError(f"{shown(found)} is out of range; it is a whole number of at least {least}")
    return found


def number(value: object, loose: bool) -> float:
    """A finite number."""
    found = math.nan
    if (isinstance(value, (int, float)) and not isinstance(value, bool)) or (
        loose and isinstance(value, str)
    ):
        with contextlib.suppress(ValueError, OverflowError):
            found = float(value)
    if not math.isfinite(found):
        raise UsageError(f"{shown(value)} is no number; write digits, as in {_bare('1.5', loose)}")
    return found


def size(value: object, loose: bool) -> int:
    """A number of bytes: ``65536``, ``"64 KiB"``, ``"1 MiB"``; ``kB`` and ``MB`` count in thousands."""
    if isinstance(value, str):
        match = re.fullmatch(r"([0-9]{1,18})\s*([a-z]*)", value.strip().lower())
        unit = _UNITS.get(match[2]) if match else None
        if match is None or unit is None:
            raise UsageError(f"{shown(value)} is no size; write bytes, as in 65536, or '64 KiB', '1 MiB'")
        value = int(match[1]) * unit
    return _whole(value, loose, least=1)


def duration(value: object, loose: bool) -> timedelta:
    """A duration of the one grammar. A bare number is refused, since its unit would be a guess."""
    if isinstance(value, timedelta) or (isinstance(value, str) and mask(value) == value):
        return parse_duration(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise UsageError(
            f"{shown(value)} has no unit; write '{shown(value)}s' for seconds, or '500ms', '5 min'"
        )
    raise UsageError(f"{shown(value)} is no duration; write '500ms', '60 min', '5 days' or 'PT5M'")


def start(value: object, loose: bool) -> Start:
    """Where reading starts: ``new``, ``beginning``, an entry id, a time."""
    if isinstance(value, (StartPoint, EntryId)):
        return value
    if isinstance(value, datetime):
        value = value.isoformat()
    written = text(value, loose).strip()
    if mask(written) != written:
        raise UsageError(
            f"{shown(written)} is no place to start; write 'new', 'beginning', an entry id or a time"
        )
    return parse_start(written)


def path(value: object, loose: bool) -> Path:
    """A path, as it was written."""
    written = str(value) if isinstance(value, Path) else text(value, loose)
    if "\0" in written:
        raise UsageError(f"{shown(written)} is no path; it has a NUL in it")
    return Path(written)


def url(value: object, loose: bool) -> str:
    """A server's URL."""
    found = text(value, loose).strip()
    scheme, _, rest = found.partition("://")
    remedy = "write redis://HOST:6379, rediss://HOST:6379, unix:///PATH or memory://"
    if scheme not in _SCHEMES or (scheme == "memory" and rest):
        raise UsageError(f"{shown(found)} is no URL of a server; {remedy}")
    # What the parser found is not quoted: behind an unescaped '/' or '#' it is a piece of the password.
    try:
        parts = urlsplit(found)
        for host in parts.netloc.rpartition("@")[2].split(",") if scheme in _OF_SEVERAL else [parts.netloc]:
            _ = urlsplit(f"//{host}").port
        readable = not parts.fragment
    except ValueError:
        parts, readable = urlsplit(""), False
    if not readable:
        encode = "percent-encode what is special in a password"
        raise UsageError(f"{shown(found)} has no readable host and port; {remedy}, and {encode}")
    if scheme == "unix" and not parts.path:
        raise UsageError(f"{shown(found)} names no socket; write unix:///run/valkey.sock")
    database = parts.path.strip("/")
    if scheme in ("redis", "rediss", "valkey", "valkeys") and database and not database.isdecimal():
        raise UsageError(f"{shown(found)} has a database that is no number; write {scheme}://HOST:6379/0")
    return found


def namespace(value: object, loose: bool) -> str:
    """What stands in front of every key; may be empty."""
    return Keys(any_text(value, loose)).namespace


def one_of(*words: str) -> Reader:
    """One of these words, in any case."""

    def read(value: object, loose: bool) -> str:
        if isinstance(value, str) and value.strip().lower() in words:
            return value.strip().lower()
        raise UsageError(f"{shown(value)} is not known here; choose one of {', '.join(map(repr, words))}")

    return read


def reference(form: str, *, attribute: bool) -> Reader:
    """A place in code, as in *form*; with *attribute*, the part after the colon is needed."""
    pattern = re.compile(f"{_DOTTED}:{_DOTTED}" if attribute else f"{_DOTTED}(?::{_DOTTED})?")

    def read(value: object, loose: bool) -> str:
        if isinstance(value, str) and pattern.fullmatch(value.strip()):
            return value.strip()
        raise UsageError(f"{shown(value)} names no place in code; write {form}")

    return read


def or_none(word: str, of: Reader) -> Reader:
    """What *of* reads, or *word*, which stands for ``None``: a file cannot say ``None``."""

    def read(value: object, loose: bool) -> object:
        if value is None or (isinstance(value, str) and value.strip().lower() == word):
            return None
        return of(value, loose)

    return read
