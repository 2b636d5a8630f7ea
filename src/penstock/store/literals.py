"""Many values as PostgreSQL reads them in one text: arrays (section 8.15 of its manual) and rows for ``COPY``.

The driver writes them element by element in Python; of pages of thousands that costs more than the statement.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

__all__ = ["array_literal", "copy_text", "text_array"]

_ESCAPED: Final = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def text_array(values: Sequence[str | None]) -> str:
    """An array of texts."""
    if None not in values:
        joined = '","'.join(cast("Sequence[str]", values))
        if "\\" not in joined and joined.count('"') == 2 * (len(values) - 1):
            return f'{{"{joined}"}}'
    return f"{{{','.join(map(_element, values))}}}"


def array_literal(values: Sequence[object]) -> str:
    """An array of numbers, booleans, or ids, whose text needs no quotes."""
    return f"{{{','.join(['NULL' if each is None else str(each) for each in values])}}}"


def copy_text(columns: Iterable[Sequence[Any]]) -> str:
    """Rows in the text format of ``COPY``, from their columns: texts, numbers, booleans, ids, or nothing."""
    return "\n".join(map("\t".join, zip(*map(_fields, columns), strict=True))) + "\n"


def _element(value: str | None) -> str:
    if value is None:
        return "NULL"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _fields(values: Sequence[Any]) -> list[str]:
    return ["\\N" if each is None else str(each).translate(_ESCAPED) for each in values]
