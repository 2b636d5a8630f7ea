"""Giving a failed message another body: the envelope stays, the original is kept, and what does not fit is refused."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from penstock.codec import JSON, MESSAGEPACK, Codec, codec_for
from penstock.errors import CodecError, UndecodableEntryError, UsageError
from penstock.message import Message
from penstock.operations._declared import declared_event
from penstock.operations._failures import FailedWhich, Found, records, shown
from penstock.operations._noting import Noting, Person
from penstock.operations._scope import Place, Scope
from penstock.operations._views import view_of_message
from penstock.operations._workbench_values import EditOutcome, EditResult
from penstock.streams.abc import Edited, FailureKey, StreamBroker
from penstock.streams.layouts import NATIVE, Layout

__all__ = ["edit"]

_OUTCOMES: Final = {
    Edited.DONE: EditOutcome.EDITED,
    Edited.GONE: EditOutcome.GONE,
    Edited.EMPTY: EditOutcome.EMPTY,
    Edited.BUSY: EditOutcome.BUSY,
}
_MOST_LISTENERS: Final = 1000


@dataclass(frozen=True, slots=True)
class _Target:
    """The one message that is meant, with all of its records."""

    place: Place
    broker: StreamBroker
    keys: tuple[FailureKey, ...]
    result: EditResult


async def edit(
    scope: Scope,
    which: FailedWhich,
    *,
    changes: Mapping[str, object] | None,
    body: bytes | None,
    by: Person,
    dry_run: bool,
) -> EditResult:
    """Edit the one message that matches. Raises as `Operations.failed_edit`."""
    if (changes is None) == (body is None):
        raise UsageError("an edit takes either changes or a whole body")
    target = await _target(scope, which)
    if target is None:
        return EditResult(EditOutcome.GONE)
    record = await target.broker.failures.get(target.keys[0])
    if record is None:
        return EditResult(EditOutcome.GONE, target.result.failed)
    if record.fields is None:
        return EditResult(EditOutcome.EMPTY, target.result.failed)
    pool, stream, raw_id = target.place.pool, target.place.stream, bytes(record.key.entry_id)
    layout = _layout(scope, stream, record.fields)
    try:
        message = layout.read(stream, raw_id, record.fields)
    except UndecodableEntryError as failure:
        raise UsageError(
            f"entry {record.key.entry_id} cannot be edited, it is no message: {failure.reason}"
        ) from failure
    data = _changed(message, changes) if changes is not None else _given(message, body or b"")
    fields = layout.pack(message.id, message.name, message.meta, data)
    edited = layout.read(stream, raw_id, fields)
    if (edited.id, edited.name) != (message.id, message.name):
        raise UsageError(f"layout {layout.name!r} cannot keep the envelope of entry {record.key.entry_id}")
    _check(scope, edited)
    before, after = view_of_message(pool, message), view_of_message(pool, edited)
    result = EditResult(EditOutcome.PLANNED, target.result.failed, before, after)
    if data == message.data:
        return _ended(result, EditOutcome.UNCHANGED)
    if dry_run:
        return result
    answer = await target.broker.failures.edit(record.key, fields, who=by.who, why=by.why)
    if answer is Edited.DONE:
        noting = Noting(scope, "edit", which, by)
        noting.count(target.place)
        await noting.write()
    return _ended(result, _OUTCOMES[answer])


def _ended(result: EditResult, outcome: EditOutcome) -> EditResult:
    return EditResult(outcome, result.failed, result.before, result.after)


async def _target(scope: Scope, which: FailedWhich) -> _Target | None:
    """The message that matches, with the records of all its listeners. Raises `UsageError` when several do."""
    first: Found | None = None
    async for found in records(scope, which, size=2):
        if first is None:
            first = found
        elif _message_of(found) != _message_of(first):
            here, there = _described(first), _described(found)
            raise UsageError(
                f"one message is edited at a time, and {here} matches as {there} does; narrow it down"
            )
    if first is None:
        return None
    key = first.record.key
    all_of_it = await first.broker.failures.find(
        key.stream, key.group, entry_id=key.entry_id, count=_MOST_LISTENERS
    )
    failed = tuple(shown(first.place.pool, record) for record in all_of_it)
    keys = tuple(record.key for record in all_of_it) or (key,)
    return _Target(first.place, first.broker, keys, EditResult(EditOutcome.PLANNED, failed))


def _message_of(found: Found) -> tuple[object, ...]:
    key = found.record.key
    return found.place, key.group, key.entry_id


def _described(found: Found) -> str:
    key = found.record.key
    return f"{key.entry_id} of stream {key.stream!r} in group {key.group!r}"


def _layout(scope: Scope, stream: str, fields: list[bytes]) -> Layout:
    """The stream's layout; an entry of ours in a stream that has another one keeps ours."""
    if scope.app is None or [*fields[0:5:2]] == [b"id", b"name", b"meta"]:
        return NATIVE
    return scope.app.layouts.of(stream)


# -- bodies ---------------------------------------------------------------------------------------------------------


def _given(message: Message, body: bytes) -> bytes:
    """A whole body as a person writes it: JSON where a body is JSON or MessagePack, else the bytes as they are."""
    codec = codec_for(message.content_type)
    if codec is MESSAGEPACK:
        return codec.encode(JSON.decode(body))
    codec.decode(body)
    return body


def _changed(message: Message, changes: Mapping[str, object]) -> bytes:
    codec: Codec = codec_for(message.content_type)
    try:
        value: Any = {} if message.data is None else copy.deepcopy(message.payload)
    except CodecError as failure:
        raise UsageError(
            f"the body of entry {message.entry_id} cannot be read, {failure}; give a whole body instead"
        ) from failure
    for path, new in changes.items():
        value = _set(value, path, new)
    return codec.encode(value)


def _set(value: Any, path: str, new: object) -> Any:
    """*value* with *new* at a dotted path; digits index lists, and maps that are missing are made."""
    at: object = value
    *way, last = path.split(".")
    for part in way:
        if isinstance(at, dict):
            at = cast("dict[str, object]", at).setdefault(part, {})
        else:
            at = _items(at, part, path)[int(part)]
    if isinstance(at, dict):
        cast("dict[str, object]", at)[last] = new
    else:
        _items(at, last, path)[int(last)] = new
    return value


def _items(at: object, part: str, path: str) -> list[object]:
    if not isinstance(at, list):
        raise UsageError(f"{path!r} is not in the body: {part!r} would be inside of a {type(at).__name__}")
    items = cast("list[object]", at)
    if part.isascii() and part.isdecimal() and int(part) < len(items):
        return items
    raise UsageError(f"{path!r} is not in the body: a list of {len(items)} has no place {part!r}")


def _check(scope: Scope, message: Message) -> None:
    """Raises `CodecError` for a body that the app's event class, if it has one, does not read."""
    declared = None if scope.app is None else declared_event(scope.app, message.name)
    if declared is not None:
        declared.decode(message.data, version=message.version, content_type=message.content_type)
