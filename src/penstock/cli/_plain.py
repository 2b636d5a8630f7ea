"""Values as JSON knows them: names, units and times as in the Python API."""

import base64
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any, cast

import msgspec

from penstock.position import EntryId

__all__ = ["json_text", "plain"]

_UNSEEN = re.compile("[\x7f-\x9f\u2028\u2029]")


def plain(value: object) -> Any:
    """*value* in the types of JSON: times in RFC 3339 (UTC, microseconds), durations in ISO 8601, places as text."""
    match value:
        case None | bool() | str() | int() | float():
            return value
        case EntryId() | Path():
            return str(value)
        case Enum():
            return plain(value.value)
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        case timedelta():
            return msgspec.to_builtins(value)
        case bytes() | bytearray():
            return base64.b64encode(value).decode()
        case Mapping():
            items = cast("Mapping[object, object]", value).items()
            return {_name(name): plain(item) for name, item in items}
        case list() | tuple() | set() | frozenset():
            return [plain(item) for item in cast("list[object]", value)]
        case BaseException():
            return f"{type(value).__name__}: {value}"
        case _ if is_dataclass(value):
            return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
        case _:
            return str(value)


def _name(name: object) -> str:
    shown = plain(name)
    return shown if isinstance(shown, str) else json_text(shown)


def json_text(value: object, *, indent: int = 0) -> str:
    """*value* as JSON, on one line unless an indent is given; nothing in it moves a terminal or ends a line early."""
    encoded = msgspec.json.encode(plain(value))
    text = (msgspec.json.format(encoded, indent=indent) if indent else encoded).decode()
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
