"""Throw-away copies for people: what two versions make of the same events, and read models as they were."""

from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path

import msgspec

from penstock.app import App
from penstock.errors import UsageError
from penstock.replays._managing import Say, silent
from penstock.replays.at import Moment, PastTable, ReadModelAt, read_model_at
from penstock.replays.diffing import (
    COMMAND,
    Answer,
    Chosen,
    Comparison,
    Difference,
    Request,
    build_side,
    diff,
)

__all__ = [
    "BUILD_SIDE",
    "Chosen",
    "Comparison",
    "Difference",
    "Moment",
    "PastTable",
    "ReadModelAt",
    "compare_versions",
    "parse_time",
    "past_read_model",
    "read_request",
    "serve_request",
    "write_failure",
]

BUILD_SIDE = COMMAND
"""The command by which a comparison has a side built in a process of its own."""


async def compare_versions(app: App, comparison: Comparison, *, say: Say = silent) -> Difference:
    """What two versions make of the same events; see `ReplayManager.diff`. *say* is told what is being done."""
    return await diff(app, comparison, say=say)


def past_read_model(app: App, moment: Moment) -> AbstractAsyncContextManager[ReadModelAt]:
    """A throw-away copy of read models as they were; see `ReplayManager.at`."""
    return read_model_at(app, moment)


def parse_time(text: str) -> datetime:
    """A moment out of ISO 8601, with its zone. Raises `UsageError`."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise UsageError(
            f"{text!r} is no moment; write date, time and zone, as in 2026-05-03T10:00:00+02:00, or Z for UTC"
        )
    return found


def read_request(text: bytes) -> Request:
    """What somebody who compares wants to have built. Raises `UsageError`."""
    try:
        return msgspec.json.decode(text, type=Request)
    except (msgspec.MsgspecError, ValueError) as failure:
        raise UsageError(
            f"that is no request to build a side: {failure}; `penstock replays diff` makes them"
        ) from failure


async def serve_request(app: App, request: Request) -> None:
    """Build what is asked for with *app*, and write the answer where that is looked for."""
    _write(request, await build_side(app, request))


def write_failure(request: Request, message: str) -> None:
    """Answer that there is no app to build with."""
    _write(request, Answer(message))


def _write(request: Request, answer: Answer) -> None:
    Path(request.answer).write_bytes(msgspec.json.encode(answer))
