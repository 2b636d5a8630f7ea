"""Derived streams: events that a projection appends to the store, in the transaction of its page.

Their ids are computed from the projection, the event they come from and their number, so that a page which runs again
adds nothing. A derived stream belongs to its projection: others cannot append to it.
"""

import hashlib
import uuid
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from penstock.errors import ProtectedStreamError, UsageError
from penstock.event import event_type, is_event
from penstock.message import Meta
from penstock.store._outcomes import accepted
from penstock.store._steps import run_steps
from penstock.store.abc import Append, Appended, AppendSteps, NewEvent, StoredEvent

if TYPE_CHECKING:
    from penstock.store.database import Connection, Database

__all__ = ["DERIVED_BY", "LINK", "Derived", "remove_derived"]

LINK = "penstock-link"
"""The header in which a linked event names the id of the one it stands for."""


DERIVED_BY = "penstock-derived-by"
"""The header in which a derived event names its projection, which passes over it should it come to read it."""


class Derived:
    """Appends to event streams that belong to the projection; a handler asks for it by type.

    What is appended is there when the page is committed, and is appended once, however often its event is handled. The
    projection itself passes over what it has derived, also where it follows the whole store.
    """

    def __init__(
        self,
        projection: str,
        *,
        steps: Callable[[Append], AppendSteps],
        database: "Database",
        connection: "Connection",
        source: str | None = None,
    ) -> None:
        self._projection = projection
        self._steps = steps
        self._database = database
        self._connection = connection
        self._source = source
        self._pending: list[NewEvent] = []
        self._owned: set[str] = set()
        self._event: StoredEvent | None = None
        self._number = 0

    def about(self, event: StoredEvent) -> None:
        """What comes now is derived from *event*."""
        self._event = event
        self._number = 0

    def emit(
        self,
        event: object,
        *,
        event_stream: str | None = None,
        name: str | None = None,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Append an event to a derived stream; its id. The stream is named like the projection unless it is given.

        Raises:
            UsageError: It is no declared event, or the stream cannot be named so.
        """
        if not is_event(type(event)):
            raise UsageError(f"{event!r} is no event; declare its class (Event, or @event)")
        declared = event_type(type(event))
        cause = self._handled()
        meta = Meta(
            time=cause.meta.time,
            source=self._source or cause.source,
            key=key if key is not None else declared.key_of(event),
            version=declared.version,
            kind=declared.kind,
            content_type=declared.content_type,
            headers={**(headers or {}), DERIVED_BY: self._projection},
            correlation=cause.meta.correlation or cause.id,
            causation=cause.id,
        )
        return self._add(
            event_stream or self._projection, name or declared.name, meta, declared.encode(event)
        )

    def link_to(self, stream: str, event: StoredEvent | None = None) -> str:
        """Have an event (the one being handled, unless another is given) in *stream*, too; the id of the link.

        The link is an event of its own with the same name, time and body; the header ``penstock-link`` says whose.
        """
        cause = self._handled()
        linked = event or cause
        meta = msgspec.structs.replace(
            linked.meta,
            headers={**linked.headers, LINK: linked.id, DERIVED_BY: self._projection},
            correlation=linked.meta.correlation or linked.id,
            causation=cause.id,
        )
        return self._add(stream, linked.name, meta, linked.data)

    def flush(self) -> list[Appended]:
        """Append what waits, inside the transaction.

        Raises:
            ProtectedStreamError: A stream belongs to another projection.
            DeletedStreamError: A stream was deleted for good.
            UsageError: A stream has events of others.
        """
        if not self._pending:
            return []
        pending, self._pending = self._pending, []
        for stream in dict.fromkeys(each.stream for each in pending):
            self._own(stream)
        append = Append(tuple(pending), owner=self._projection)
        return accepted(append, run_steps(self._database, self._connection, self._steps(append)))

    def _handled(self) -> StoredEvent:
        if self._event is None:
            raise UsageError("derived events come from an event that is being handled; there is none")
        return self._event

    def _add(self, stream: str, name: str, meta: Meta, data: bytes | None) -> str:
        for what, text in (("stream", stream), ("name", name), ("key", meta.key or "-")):
            if not text or "\0" in text:
                raise UsageError(f"{text!r} cannot be the {what} of an event; use visible characters")
        event_id = _derived_id(self._projection, self._handled().id, stream, self._number)
        self._number += 1
        self._pending.append(NewEvent(stream, event_id, name, meta, data))
        return event_id

    def _own(self, stream: str) -> None:
        if stream in self._owned:
            return
        row = self._fetch("SELECT owner FROM penstock_streams WHERE name = ?", stream)
        owner = row[0] if row is not None else None
        if owner is None:
            if self._fetch("SELECT 1 FROM penstock_events WHERE stream = ? LIMIT 1", stream) is not None:
                raise UsageError(
                    f"projection {self._projection!r} would derive into event stream {stream!r}, which has events of "
                    "others; give it another stream"
                )
            self._database.execute(
                self._connection,
                "INSERT INTO penstock_streams (name, owner) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET owner = coalesce(penstock_streams.owner, excluded.owner)",
                (stream, self._projection),
            )
        elif owner != self._projection:
            raise ProtectedStreamError(stream, owner)
        self._owned.add(stream)

    def _fetch(self, sql: str, *parameters: object) -> Any:
        rows = self._database.execute(self._connection, sql, parameters).fetchall()
        return rows[0] if rows else None


def remove_derived(database: "Database", connection: "Connection", projection: str, *, forget: bool) -> int:
    """Remove the events of every stream that a projection derived; how many streams that were.

    *forget*: the streams belong to nobody afterwards, and are as if they had never been. Else versions go on.
    """
    found = database.execute(
        connection, "SELECT name FROM penstock_streams WHERE owner = ?", (projection,)
    ).fetchall()
    for (stream,) in found:
        if not forget:
            database.execute(
                connection,
                "UPDATE penstock_streams SET version = "
                "coalesce((SELECT max(version) FROM penstock_events WHERE stream = ?), version) WHERE name = ?",
                (stream, stream),
            )
        database.execute(connection, "DELETE FROM penstock_events WHERE stream = ?", (stream,))
        if forget:
            database.execute(connection, "DELETE FROM penstock_streams WHERE name = ?", (stream,))
    return len(found)


def _derived_id(projection: str, event_id: str, stream: str, number: int) -> str:
    """An id of version 8 (RFC 9562 section 5.8): the first bits of SHA-256 over where the event comes from."""
    digest = hashlib.sha256()
    for part in (projection, event_id, stream, str(number)):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(encoded))
        digest.update(encoded)
    bits = int.from_bytes(digest.digest()[:16], "big")
    bits = bits & ~(0xF << 76) | 0x8 << 76
    bits = bits & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=bits))
