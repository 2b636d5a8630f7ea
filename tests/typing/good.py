"""What users write with events and codecs, as mypy and pyright should accept it, both strict.

``assert_type`` holds what they infer. `bad.py` holds what they should refuse.
"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, NotRequired, TypedDict, TypeVar, assert_type
from uuid import UUID

import attrs
import msgspec
from pydantic import BaseModel

from penstock import BYTES, JSON, MESSAGEPACK, TEXT, App, Codec, Event, Published, Scheduled, event, upcaster
from penstock.codec import codec_for
from penstock.event import EventType, event_type, is_event

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
