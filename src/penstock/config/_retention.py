"""How the retention of a stream is read: a word, a duration, a number, or a table of them."""

from collections.abc import Mapping
from typing import Any, cast

from penstock.clock import format_duration
from penstock.config._readers import Reader, count, duration, flag
from penstock.config._saying import nearest, shown
from penstock.errors import UsageError
from penstock.streams.collector import Retention

__all__ = ["retention", "written_retention"]

_HANDLED = "handled"
_KEYS: Mapping[str, Reader] = {"handled": flag, "age": duration, "entries": count}
_EXAMPLES = "'handled', a duration as in '7 days', a number of entries as in 100_000, or a table of these"


def retention(value: object, loose: bool) -> Retention:
    """``"handled"``, ``"7 days"``, ``100_000``, or ``{handled = true, age = "7 days", entries = 100_000}``."""
    if isinstance(value, Retention):
        return value
    if isinstance(value, Mapping):
        return _of_table(cast("Mapping[object, object]", value), loose)
    if isinstance(value, str) and value.strip().lower() == _HANDLED:
        return Retention(handled=True)
    if (isinstance(value, int) and not isinstance(value, bool)) or (
        loose and isinstance(value, str) and value.strip().isdecimal()
    ):
        return Retention(entries=count(value, loose))
    try:
        return Retention(age=duration(value, loose))
    except UsageError:
        raise UsageError(f"{shown(value)} is no retention; write {_EXAMPLES}") from None


def _of_table(table: Mapping[object, object], loose: bool) -> Retention:
    said: dict[str, Any] = {}
    for key, value in table.items():
        reader = _KEYS.get(key) if isinstance(key, str) else None
        if reader is None:
            raise UsageError(f"{shown(key)} is nothing a retention has; {nearest(shown(key), _KEYS)}")
        try:
            said[str(key)] = reader(value, loose)
        except UsageError as error:
            raise UsageError(f"{key}: {error}") from None
    return Retention(**said)


def written_retention(value: Retention) -> object:
    """A retention as a settings file would say it, in the shortest form."""
    age = None if value.age is None else format_duration(value.age)
    said = {"handled": value.handled or None, "age": age, "entries": value.entries}
    said = {key: each for key, each in said.items() if each is not None}
    match said:
        case {"handled": True, **others} if not others:
            return _HANDLED
        case {"age": _, **others} | {"entries": _, **others} if not others:
            return next(iter(said.values()))
        case _:
            return said
