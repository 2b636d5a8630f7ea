"""Failed messages by what they failed with: a thousand records of one mistake are one line.

Messages of errors differ in the numbers, ids and names they mention; those are replaced by what they are, so that what
is left is the mistake. However many records there are, only so many groups are held.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from penstock.operations._failures import FailedWhich, records
from penstock.operations._scope import Scope
from penstock.operations._workbench_values import ErrorGroup, ErrorGroups
from penstock.position import EntryId

__all__ = ["by_error", "normalised"]

_MOST_GROUPS: Final = 500
_MOST_READ: Final = 2000
_MOST_SHOWN: Final = 200
_VARIABLE: Final = re.compile(
    r"""
    (?P<text> (?<!\w)'[^'\n]*' | "[^"\n]*" | `[^`\n]*` )
  | (?P<id> \b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b )
  | (?P<n> (?<![\w.-])[-+]?\d+(?:[.,]\d+)*(?![\w-]) )
  | (?P<mixed> [\w-]*\d[\w-]* )
    """,
    re.VERBOSE | re.IGNORECASE,
)


@dataclass
class _Sum:
    """What was counted of one group so far."""

    count: int
    first: datetime
    last: datetime
    example: EntryId


_Kind = tuple[str, str, str, str, str, str]


async def by_error(scope: Scope, which: FailedWhich) -> ErrorGroups:
    """What matches, by place and error, the most frequent first; beyond so many groups only counted."""
    sums: dict[_Kind, _Sum] = {}
    beyond = 0
    async for found in records(scope, which):
        record, key = found.record, found.record.key
        kind = (
            found.place.pool,
            key.stream,
            key.group,
            key.listener,
            record.error_type,
            normalised(record.error),
        )
        known = sums.get(kind)
        if known is not None:
            known.count += 1
            known.first = min(known.first, record.first_failed)
            known.last = max(known.last, record.last_failed)
            known.example = key.entry_id
        elif len(sums) < _MOST_GROUPS:
            sums[kind] = _Sum(1, record.first_failed, record.last_failed, key.entry_id)
        else:
            beyond += 1
    ordered = sorted(sums.items(), key=lambda item: (-item[1].count, item[0]))
    groups = tuple(
        ErrorGroup(*kind, each.count, each.first, each.last, each.example) for kind, each in ordered
    )
    return ErrorGroups(groups, beyond)


def normalised(message: str) -> str:
    """The first line of an error's message without what differs from case to case.

    ``order 17 of 'Ann' (a1b2)`` becomes ``order <n> of <text> (<id>)``.
    """
    line = (message.strip().splitlines() or [""])[0][:_MOST_READ]
    return _VARIABLE.sub(_kind_of, line)[:_MOST_SHOWN]


def _kind_of(found: re.Match[str]) -> str:
    return f"<{'id' if found.lastgroup == 'mixed' else found.lastgroup}>"
