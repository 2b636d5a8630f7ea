"""Statements written with ``?`` for their parameters, as each driver wants them."""

import re
from functools import lru_cache
from itertools import count
from typing import Final, Literal

__all__ = ["translated"]

_PARTS: Final = re.compile(
    r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$(\w*)\$.*?\$\1\$|(?P<mark>\?)|(?P<percent>%)""",
    re.DOTALL,
)


@lru_cache(maxsize=1024)
def translated(sql: str, style: Literal["format", "numbered"]) -> str:
    """*sql* with ``%s`` (psycopg, SQLAlchemy's driver, Django) or ``$1`` (asyncpg, libpq) for ``?``.

    What stands in quotes or comments stays as it is, save that ``%`` is doubled everywhere for ``format``.
    """
    numbers = count(1)

    def replace(found: re.Match[str]) -> str:
        if found["mark"]:
            return "%s" if style == "format" else f"${next(numbers)}"
        return found[0].replace("%", "%%") if style == "format" else found[0]

    return _PARTS.sub(replace, sql)
