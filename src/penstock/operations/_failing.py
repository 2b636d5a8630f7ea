"""Failed messages of consumer groups and failures of projections in one list, in the order of their last failure."""

import base64
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime

import msgspec

from penstock.errors import UnknownStreamError, UsageError
from penstock.operations import _failures
from penstock.operations._failures import FailedWhich
from penstock.operations._failures_of_projections import KeptFailure, ProjectionFailures
from penstock.operations._noting import Person
from penstock.operations._scope import Scope
from penstock.operations._values import FailedMessage, FailedPage, RetryResult

__all__ = ["both_retried", "merged_page"]

_END = "-"
"""In place of the streams' part of a token: nothing of theirs is left."""


async def merged_page(
    scope: Scope,
    projections: ProjectionFailures | None,
    which: FailedWhich,
    *,
    after: str | None,
    limit: int,
) -> FailedPage:
    """One page of both. Raises `UsageError` for an *after* that no page gave."""
    kept, problems = await projections.matching(which) if projections is not None else ([], ())
    page = await _merged(scope, kept, which, after=after, limit=limit)
    return replace(page, problems=problems)


async def _merged(
    scope: Scope, kept: list[KeptFailure], which: FailedWhich, *, after: str | None, limit: int
) -> FailedPage:
    if not kept and (after is None or "." not in after):
        if which.projection is not None:
            return FailedPage((), None)
        return await _failures.failed_page(scope, which, after=after, limit=limit)
    stream_after, mark = _read(after)
    kept = [each for each in kept if mark is None or _mark(each) > mark]
    page = await _of_streams(scope, which, stream_after, limit, is_named=bool(kept))
    taken = _first(page.items, kept, limit)
    of_streams = sum(each.projection is None for each in taken)
    of_projections = len(taken) - of_streams
    all_streams = of_streams == len(page.items) and page.next is None
    if all_streams and of_projections == len(kept):
        return FailedPage(tuple(taken), None)
    if all_streams:
        stream_next = _END
    elif of_streams == 0:
        stream_next = stream_after or ""
    else:
        shorter = await _of_streams(scope, which, stream_after, of_streams, is_named=True)
        stream_next = shorter.next or _END
    last = _mark(kept[of_projections - 1]) if of_projections else mark
    return FailedPage(tuple(taken), _write(stream_next, last))


async def both_retried(
    of_streams: AsyncGenerator[RetryResult, None],
    projections: ProjectionFailures | None,
    which: FailedWhich,
    *,
    by: Person | None,
) -> AsyncGenerator[RetryResult, None]:
    """What became of the messages of groups, then of the failures of projections."""
    async with aclosing(of_streams):
        if which.projection is None:
            async for result in of_streams:
                yield result
    if projections is not None:
        tried = projections.retry(which, by=by)
        async with aclosing(tried):
            async for result in tried:
                yield result


async def _of_streams(
    scope: Scope, which: FailedWhich, after: str | None, limit: int, *, is_named: bool
) -> FailedPage:
    if which.projection is not None or after == _END:
        return FailedPage((), None)
    try:
        return await _failures.failed_page(scope, which, after=after, limit=limit)
    except UnknownStreamError:
        if is_named:  # it is an event stream of a store
            return FailedPage((), None)
        raise


def _first(
    of_streams: Sequence[FailedMessage], kept: Sequence[KeptFailure], limit: int
) -> list[FailedMessage]:
    """The first *limit* of both, each in its own order."""
    merged: list[FailedMessage] = []
    streams, others = list(of_streams), [each.shown for each in kept]
    while len(merged) < limit and (streams or others):
        from_streams = streams and (not others or streams[0].last_failed <= others[0].last_failed)
        merged.append((streams if from_streams else others).pop(0))
    return merged


_Mark = tuple[datetime, str]


def _mark(kept: KeptFailure) -> _Mark:
    return kept.failure.last_at, kept.failure.id


def _write(stream_next: str, last: _Mark | None) -> str:
    return f"{stream_next}.{base64.urlsafe_b64encode(msgspec.json.encode(last)).decode().rstrip('=')}"


def _read(token: str | None) -> tuple[str | None, _Mark | None]:
    if token is None or "." not in token:
        return token, None
    stream_next, _, mark = token.partition(".")
    try:
        text = base64.urlsafe_b64decode(mark + "=" * (-len(mark) % 4))
        return stream_next or None, msgspec.json.decode(text, type=_Mark | None)
    except (ValueError, msgspec.MsgspecError):
        raise UsageError(f"{token!r} is not where a page ended; take `next` of the page") from None
