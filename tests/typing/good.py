"""What users write with events and codecs, as mypy and pyright should accept it, both strict.

``assert_type`` holds what they infer. `bad.py` holds what they should refuse.
"""

import sqlite3
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, NotRequired, TypedDict, TypeVar, assert_type
from uuid import UUID

import aiosqlite
import attrs
import msgspec
import psycopg
from pydantic import BaseModel
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.orm import Session, scoped_session

from penstock import (
    BYTES,
    JSON,
    MESSAGEPACK,
    TEXT,
    App,
    Codec,
    Event,
    Published,
    Retry,
    Router,
    Scheduled,
    event,
    on,
    upcaster,
)
from penstock.codec import codec_for
from penstock.event import EventType, event_type, is_event
from penstock.projections import Derived, Generation, PayloadMapper, Rows
from penstock.store import NO_STREAM, Appended, EventStore, Loaded, StoredEvent

Reply = TypeVar("Reply")


# -- our own class ------------------------------------------------------------------------------------------------


class Line(msgspec.Struct):
    """A plain struct inside an event."""

    sku: str
    quantity: int = 1


class OrderPlaced(Event, name="order.placed", key="order_id", version=2):
    """The usual declaration."""

    order_id: str
    total_cents: int
    placed_at: datetime | None = None
    lines: list[Line] = msgspec.field(default_factory=list[Line])

    @property
    def total(self) -> float:
        """Events may have methods and properties."""
        return self.total_cents / 100


placed = OrderPlaced(order_id="o-1", total_cents=1999)
OrderPlaced(total_cents=1999, order_id="o-1", placed_at=None, lines=[Line("a")])
assert_type(placed.order_id, str)
assert_type(placed.placed_at, datetime | None)
assert_type(placed.lines, list[Line])
assert_type(placed.total, float)


def describe(each: Event) -> str:
    """Events are matched by class and keyword."""
    match each:
        case OrderPlaced(order_id=order_id, total_cents=0):
            return assert_type(order_id, str)
        case OrderPlaced():
            return each.order_id
        case _:
            return ""


class Everything(
    Event,
    name="every.thing",
    key=lambda each: each.id,
    version=1,
    kind="command",
    category="every",
    stream="{eu}:every",
    codec=MESSAGEPACK,
    rename="camel",
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
):
    """All that can be said; fields may bear the names of the class keywords."""

    id: UUID
    name: str
    key: int
    version: str = ""


assert_type(Everything(id=UUID(int=1), name="n", key=1).key, int)


class Sensor(Event):
    """A base without a name."""

    sensor: str


class Measured(Sensor, name="measured", key="sensor"):
    """An event with an inherited field."""

    celsius: float = 0.0


assert_type(Measured(sensor="s").sensor, str)


class Closed(Event, name="shop.closed"):
    """An event without fields."""


assert_type(Closed(), Closed)
in_a_set: set[Event] = {Closed(), Measured(sensor="s")}


class Question(Event, Generic[Reply]):
    """A generic base."""


class Asked(Question[int], name="asked"):
    """An event that knows the type of its answer."""

    text: str


def answer(question: Question[Reply]) -> Reply:
    """Something that gives what a question asks for."""
    raise LookupError(question)


def ask() -> None:
    """The answer's type is inferred from the event."""
    assert_type(answer(Asked(text="why")), int)


# -- other classes ------------------------------------------------------------------------------------------------


@event("order.sent", key="order_id")
@dataclass(frozen=True, slots=True)
class AsDataclass:
    """A dataclass."""

    order_id: str
    tags: list[str] = field(default_factory=list[str])


@event(
    "order.sent",
    key=lambda each: each.order_id,
    version=2,
    kind="notification",
    category="order",
    stream="sent",
)
@attrs.frozen
class AsAttrs:
    """An attrs class."""

    order_id: str


@event("order.sent", key="order_id", codec=MESSAGEPACK)
class AsModel(BaseModel):
    """A pydantic model."""

    order_id: str


@event("order.sent", key="order_id")
class AsDict(TypedDict):
    """A typed dict."""

    order_id: str
    note: NotRequired[str]


@event("order.sent", key="order_id")
class AsStruct(msgspec.Struct):
    """A struct."""

    order_id: str


assert_type(AsDataclass("o-1").order_id, str)
assert_type(AsAttrs("o-1").order_id, str)
assert_type(AsModel(order_id="o-1").order_id, str)
assert_type(AsDict(order_id="o-1")["order_id"], str)
assert_type(AsStruct("o-1").order_id, str)


# -- upcasters and declarations -----------------------------------------------------------------------------------


@upcaster(OrderPlaced, from_version=1)
def to_cents(payload: dict[str, Any]) -> dict[str, Any]:
    """It stays an ordinary function."""
    return {**payload, "total_cents": payload["total"] * 100}


assert_type(to_cents({"total": 1}), dict[str, Any])
assert_type(event_type(OrderPlaced), EventType)
assert_type(event_type(placed).key_of(placed), str | None)
assert_type(event_type(placed).encode(placed), bytes | None)
assert_type(is_event(placed), bool)


# -- codecs -------------------------------------------------------------------------------------------------------


class Reversed:
    """A codec of the user's own."""

    content_type = "application/x-reversed"

    def encode(self, value: object) -> bytes:
        """Write it backwards."""
        return JSON.encode(value)[::-1]

    def decode(self, data: bytes, type_: Any = Any) -> Any:
        """Read it forwards."""
        return JSON.decode(data[::-1], type_)


class Mirrored(Event, name="mirrored", codec=Reversed()):
    """An event by that codec."""

    text: str


every_codec: list[Codec] = [JSON, MESSAGEPACK, TEXT, BYTES, Reversed(), codec_for("text/plain")]
assert_type(JSON.encode(placed), bytes)


# -- later, and before --------------------------------------------------------------------------------------------


async def later_and_before(app: App) -> None:
    """An event at once has a place, one that comes later a time; a fold has the type of what it begins with."""
    assert_type(await app.emit(placed), Published)
    assert_type(await app.emit(placed, after="1 day", headers={"a": "b"}), Scheduled)
    assert_type(await app.emit(placed, at=datetime.fromisoformat("2026-01-01T00:00Z")), Scheduled)
    assert_type(app.sync.emit(placed, after="1 day"), Scheduled)

    history = app.history([OrderPlaced, "order.paid"], UUID(int=1))
    assert_type(await history.state(), dict[str, Any])
    assert_type(await history.state(fold=lambda total, message: total + len(message.id), initial=0), int)

    @app.every("5 min", name="again")
    def again() -> OrderPlaced:
        return placed

    assert_type(again(), OrderPlaced)
    app.cron("0 6 * * *", placed, timezone="Europe/Berlin", missed="skip")


# -- an event store -----------------------------------------------------------------------------------------------


async def append(store: EventStore) -> None:
    """One event has one place, a list of them a list; without a transaction of the caller's it is awaited."""
    assert_type(store.append(placed), Awaitable[Appended])
    assert_type(await store.append(placed, expected_version=NO_STREAM), Appended)
    assert_type(await store.append(AsDataclass("o-1"), expected_version=3, headers={"a": "b"}), Appended)
    assert_type(await store.append({"total": 1}, name="order.priced", key="o-1", kind="command"), Appended)
    assert_type(await store.append([placed, Closed()], event_stream="order-1"), list[Appended])
    assert_type(await store.append((placed, placed), event_id=None), list[Appended])
    place = await store.append(placed)
    assert_type(place.position, int)
    assert_type(place.is_new, bool)


def append_within(
    store: EventStore,
    session: Session,
    scoped: scoped_session[Session],
    connection: Connection,
    plain: sqlite3.Connection,
    server: psycopg.Connection[Any],
) -> None:
    """In a synchronous transaction it is done when it returns."""
    assert_type(store.append(placed, within=session), Appended)
    assert_type(store.append([placed], within=session, event_stream="order-1"), list[Appended])
    assert_type(store.append(placed, within=scoped), Appended)
    assert_type(store.append(placed, within=connection), Appended)
    assert_type(store.append(placed, within=plain, expected_version=1), Appended)
    assert_type(store.append([placed, placed], within=server), list[Appended])
    assert_type(store.append(placed, within="default"), Appended)
    assert_type(store.load("order-1", within=session), Loaded)
    assert_type(store.load("order-1", within=plain).version, int)


async def append_within_async(
    store: EventStore,
    session: AsyncSession,
    connection: AsyncConnection,
    server: psycopg.AsyncConnection[Any],
    plain: aiosqlite.Connection,
) -> None:
    """In one of asyncio it is awaited."""
    assert_type(store.append(placed, within=session), Awaitable[Appended])
    assert_type(await store.append([placed], within=session), list[Appended])
    assert_type(await store.append(placed, within=connection), Appended)
    assert_type(await store.append([placed], within=server), list[Appended])
    assert_type(await store.append(placed, within=plain, key="o-1"), Appended)
    assert_type(await store.load("order-1", within=session), Loaded)


async def read(store: EventStore) -> None:
    """What is loaded and read decodes to the class that is asked for; a fold has the type of what it begins with."""
    loaded = await store.load("order-1", after=3)
    assert_type(loaded, Loaded)
    assert_type([each.decode(OrderPlaced).total_cents for each in loaded.events], list[int])
    async for each in store.read(
        "order-1", categories=["customer"], names=[OrderPlaced, "order.paid"], page=10
    ):
        assert_type(each, StoredEvent)
        assert_type(each.decode(AsModel).order_id, str)

    def add(total: int, order: OrderPlaced) -> int:
        return total + order.total_cents

    assert_type(await store.fold(0, {OrderPlaced: add, "order.paid": lambda total, _: total}, "order-1"), int)


def without_asyncio(app: App, session: Session) -> None:
    """The same for synchronous code, with nothing to await."""
    store = app.sync.store()
    assert_type(store.append(placed), Appended)
    assert_type(store.append([placed], within=session), list[Appended])
    assert_type(store.load("order-1"), Loaded)
    assert_type([each.position for each in store.read(categories=["order"])], list[int])


# -- projections, relays, inboxes ---------------------------------------------------------------------------------


def declare(to: App | Router) -> None:
    """An app and a router take the same; decorated functions stay what they were."""
    totals = to.projection(
        "totals",
        version=2,
        categories=["order"],
        tables=["totals"],
        on_failure="park",
        retry=Retry(attempts=3),
    )

    @totals.on(OrderPlaced)
    def add(order: OrderPlaced, session: Session, generation: Generation) -> None:
        session.flush()

    @totals.on(AsDataclass, "order.paid", name="noted")
    async def note(event: StoredEvent, mapper: PayloadMapper, rows: Rows, derived: Derived) -> str:
        rows.increment("totals", {"customer": mapper.get("customer")}, orders=1)
        return event.id

    @totals.on(Any)
    def anything(event: StoredEvent, connection: sqlite3.Connection) -> None: ...

    assert_type(note.__name__, str)

    class Handlers:
        @on(OrderPlaced, name="placed")
        def placed(self, order: OrderPlaced) -> None: ...

    to.projection("by_class", handlers=Handlers, mode="on_demand", page_time="50ms")
    to.projection("folded", state=0, store="shared", into="local")
    to.relay("orders", events=[OrderPlaced, "order.paid"], keep="30 days")
    to.relay("share", target="shared", where=lambda event: event.key is not None, rename={"a": "b"})

    @to.listener(OrderPlaced, group="billing", store="local")
    def charge(order: OrderPlaced, session: Session) -> int:
        return order.total_cents

    assert_type(charge(placed, Session()), int)
