"""Placeholders of statements: ours are ``?``, a driver has its own (PEP 249, ``paramstyle``)."""

import re
from functools import lru_cache
from itertools import count
from typing import Final, Literal, TypeAlias

__all__ = ["Style", "translated"]

Style: TypeAlias = Literal["qmark", "format", "numeric"]
"""``?``; ``%s``, with every other percent sign doubled; ``$1``, ``$2``."""

_QUOTED_OR_PLACE: Final = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\?")


@lru_cache(maxsize=256)
def translated(sql: str, style: Style) -> str:
    """*sql*, written with ``?`` for its parameters, as a driver of this style takes it. What is quoted stays."""
    if style == "qmark":
        return sql
    if style == "format":
        return _QUOTED_OR_PLACE.sub(
            lambda found: "%s" if found[0] == "?" else found[0], sql.replace("%", "%%")
        )
    numbers = count(1)
    return _QUOTED_OR_PLACE.sub(lambda found: f"${next(numbers)}" if found[0] == "?" else found[0], sql)
