"""Failure records as the server keeps them, and back."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from penstock.position import EntryId
from penstock.streams._valkey.values import milliseconds, text
from penstock.streams.abc import Edit, FailureKey, FailureRecord, FailureState, ListenerFailure
from penstock.streams.keys import Keys, escape, unescape

__all__ = [
    "FACTS",
    "edit_text",
    "facts_wanted",
    "listener_facts",
    "member_of",
    "pack_fields",
    "parking_keys",
    "record_keys",
    "record_of",
    "split_member",
    "unpack_fields",
]

FACTS: Final = ("state", "cause", "error_type", "error", "traceback", "attempts", "first", "last", "due")
"""What is kept of each listener, in the order in which it is asked for."""

pack_fields: Final = msgspec.msgpack.Encoder().encode
"""An entry's fields as the server keeps them."""
unpack_fields: Final = msgspec.msgpack.Decoder(list[bytes]).decode
"""What `pack_fields` was given."""

_encode_edit: Final = msgspec.json.Encoder().encode
_decode_edit: Final = msgspec.json.Decoder(tuple[str, str]).decode
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def record_keys(keys: Keys, stream: str, group: str, entry_id: str) -> tuple[bytes, ...]:
    """The keys of the records of a message, as ``shared/record.lua`` takes them."""
    return (
        keys.beside(stream, "failed", group, entry_id),
        keys.beside(stream, "failures", group),
        keys.beside(stream, "due", group),
        keys.beside(stream, "groups"),
    )


def parking_keys(keys: Keys, stream: str, group: str, key: str) -> tuple[bytes, ...]:
    """The keys of what waits under a key of a group, as ``shared/parked.lua`` takes them."""
    return (
        keys.beside(stream, "parked", group, key),
        keys.beside(stream, "parked", group),
        keys.beside(stream, "parked_since", group),
        keys.beside(stream, "unparking", group),
        keys.beside(stream, "parked_records", group),
    )


def facts_wanted(listener: str) -> tuple[str, ...]:
    """The names of what `record_of` takes, in a message's hash."""
    return (*(f"{escape(listener)}/{fact}" for fact in FACTS), "parked", "edits")


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


def edit_text(who: str, why: str) -> bytes:
    """An edit as the server keeps it behind its time: one line."""
    return _encode_edit((who, why))


def record_of(
    key: FailureKey,
    facts: Sequence[bytes | None],
    fields: list[bytes] | None,
    original: list[bytes] | None = None,
) -> FailureRecord | None:
    """The record with what `facts_wanted` names; ``None`` when it is not there."""
    state, cause, error_type, error, traceback, attempts, first, last, due, parked_key, edits = (
        text(fact or b"") for fact in facts
    )
    if not state:
        return None
    is_parked = FailureState(state) is FailureState.PARKED
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
        parked_key=parked_key if is_parked else None,
        fields=fields,
        original=original,
        edits=tuple(_edit(line) for line in edits.splitlines()),
    )


def _edit(line: str) -> Edit:
    ms, _, written = line.partition(" ")
    who, why = _decode_edit(written)
    return Edit(who, why, _time(ms))


def _time(ms: str) -> datetime:
    return _EPOCH + timedelta(milliseconds=int(ms))
