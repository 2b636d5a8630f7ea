"""Names that were meant: an unknown stream or group is answered with the nearest there is."""

import difflib
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from penstock.cli._errors import Refusal, WrongUsage
from penstock.errors import UnknownEventStreamError, UnknownGroupError, UnknownStreamError
from penstock.operations import Operations

__all__ = ["hint_for_new", "nearest", "one_of", "suggesting", "suggesting_streams"]

C = TypeVar("C", bound=str)


def nearest(name: str, known: Iterable[str]) -> list[str]:
    """Up to three of *known* that look like *name*."""
    return difflib.get_close_matches(name, sorted(set(known)), n=3)


def one_of(option: str, value: str | None, choices: Sequence[C]) -> C | None:
    """What an option says, which is one of *choices*. Raises `WrongUsage`."""
    if value is None:
        return None
    for choice in choices:
        if choice == value:
            return choice
    raise WrongUsage(
        f"{option} is {value!r}",
        remedy=f"choose one of {', '.join(choices)}",
        did_you_mean=nearest(value, choices),
    )


async def hint_for_new(operations: Operations, stream: str) -> str | None:
    """What to say before a stream is made that looks like one there is; ``None`` where nothing is odd."""
    known = await operations.stream_names()
    close = [] if stream in known else nearest(stream, known)
    return f"stream {stream!r} is new; did you mean {close[0]!r}?" if close else None


@asynccontextmanager
async def suggesting(operations: Operations) -> AsyncIterator[None]:
    """Within the block an unknown stream or group becomes a refusal that proposes others."""
    try:
        yield
    except UnknownStreamError as failure:
        streams = [stream.name for stream in await operations.streams()]
        raise Refusal(
            f"stream {failure.stream!r} does not exist",
            remedy=_there_are("streams", streams),
            did_you_mean=nearest(failure.stream, streams),
            stream=failure.stream,
        ) from failure
    except UnknownGroupError as failure:
        groups = [group.name for group in await operations.groups(failure.stream)]
        raise Refusal(
            f"stream {failure.stream!r} has no consumer group {failure.group!r}",
            remedy=_there_are("groups", groups),
            did_you_mean=nearest(failure.group, groups),
            stream=failure.stream,
            group=failure.group,
        ) from failure


@asynccontextmanager
async def suggesting_streams(operations: Operations, store: str) -> AsyncIterator[None]:
    """Within the block an unknown event stream becomes a refusal that proposes others."""
    try:
        yield
    except UnknownEventStreamError as failure:
        page = await operations.stores.streams(store, limit=1000)
        known = [stream.name for stream in page.items]
        raise Refusal(
            f"store {store!r} has no event stream {failure.stream!r}",
            remedy=_there_are("event streams", known),
            did_you_mean=nearest(failure.stream, known),
            stream=failure.stream,
            store=store,
        ) from failure


def _there_are(what: str, names: list[str]) -> str:
    if not names:
        return f"there are no {what} yet"
    few = ", ".join(sorted(set(names))[:10])
    return f"{what}: {few}" + (" ..." if len(set(names)) > 10 else "")
