"""Failure records as the server keeps them, and back."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from penstock.position import EntryId
from penstock.streams._valkey.values import milliseconds, text
from penstock.streams.abc import FailureKey, FailureRecord, FailureState, ListenerFailure
from penstock.streams.keys import escape, unescape

__all__ = ["FACTS", "listener_facts", "member_of", "record_of", "split_member"]

FACTS: Final = ("state", "cause", "error_type", "error", "traceback", "attempts", "first", "last", "due")
"""What is kept of each listener, in the order in which it is asked for."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def listener_facts(failure: ListenerFailure) -> list[bytes | str | int]:
    """A failure as the scripts take it: listener, cause, type, error, traceback, wait in ms (-1 = none)."""
    return [
        escape(failure.listener),
        failure.cause,
        failure.error_type,
        *(part.encode("utf-8", "backslashreplace") for part in (failure.error, failure.traceback)),
        -1 if failure.due_in is None else milliseconds(failure.due_in),
    ]


def member_of(key: FailureKey) -> bytes:
    """A record's member in the indexes."""
    return f"{key.entry_id}/{escape(key.listener)}".encode()


def split_member(member: bytes) -> tuple[EntryId, str]:
    """The entry id and the listener of a member of the indexes."""
    entry_id, _, listener = member.decode().partition("/")
    return EntryId.parse(entry_id), unescape(listener)


def record_of(
    key: FailureKey, facts: Sequence[bytes | None], fields: list[bytes] | None
) -> FailureRecord | None:
    """The record with these `FACTS`; ``None`` when it is not there."""
    state, cause, error_type, error, traceback, attempts, first, last, due = (
        text(fact or b"") for fact in facts
    )
    if not state:
        return None
    return FailureRecord(
        key=key,
        state=FailureState(state),
        cause=cause,
        error_type=error_type,
        error=error,
        traceback=traceback,
        attempts=int(attempts),
        first_failed=_time(first),
        last_failed=_time(last),
        due=_time(due) if due else None,
        fields=fields,
    )


def _time(ms: str) -> datetime:
    return _EPOCH + timedelta(milliseconds=int(ms))
