"""What type checkers must refuse in a user's code: each line that ends in ``# E:``, and no other."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

from penstock import JSON, MESSAGEPACK, App, Codec, Event, Router, event, upcaster
from penstock.event import event_type
from penstock.store import Appended, EventStore

Reply = TypeVar("Reply")


class OrderPlaced(Event, name="order.placed", key="order_id", version=2):
    order_id: str
    total_cents: int
    note: str | None = None


placed = OrderPlaced(order_id="o-1", total_cents=1999)

# Fields: known, typed, by keyword, frozen.
OrderPlaced("o-1", 1999)  # E: positional arguments
OrderPlaced(order_id="o-1")  # E: a field is missing
OrderPlaced(order_id=1, total_cents=1999)  # E: a wrong type
OrderPlaced(order_id="o-1", total_cents=1999, colour="red")  # E: an unknown field
placed.order_id = "o-2"  # E: events are frozen
placed.note = None  # E: also where it has a default
number: int = placed.order_id  # E: the field is text
print(placed.colour)  # E: an unknown attribute


# Class keywords: known and typed.
class Misspelt(Event, nmae="misspelt"):  # E: an unknown keyword
    order_id: str


class NamedByNumber(Event, name=5):  # E: a name is text
    order_id: str


class VersionAsText(Event, name="a", version="2"):  # E: a version is a number
    order_id: str


class KeyAsNumber(Event, name="a", key=3):  # E: a key is a field's name or a function
    order_id: str


class CodecByName(Event, name="a", codec="msgpack"):  # E: a codec is an object
    order_id: str


class Thawed(Event, name="a", frozen=False):  # E: events are frozen
    order_id: str


class OddlyRenamed(Event, name="a", rename="snake"):  # E: msgspec knows no such spelling
    order_id: str


# Inheritance keeps the types.
class Sensor(Event):
    sensor: str


class Measured(Sensor, name="measured"):
    celsius: float


Measured(celsius=21.5)  # E: the inherited field is missing
Measured(sensor="s", celsius="warm")  # E: a wrong type
Measured(sensor="s", celsius=21.5).sensor = "t"  # E: the inherited field is frozen


class Question(Event, Generic[Reply]):
    pass


class Asked(Question[int], name="asked"):
    text: str


def answer(question: Question[Reply]) -> Reply:
    raise LookupError(question)


reply: str = answer(Asked(text="why"))  # E: the answer is a number
Asked("why")  # E: positional arguments


# The decorator: its words, and the class as it was.
@event  # E: it takes a name
class WithoutName:
    pass


@event("order.sent", kye="order_id")  # E: an unknown word
@dataclass(frozen=True)
class Mistyped:
    order_id: str


@event("order.sent", key="order_id")
@dataclass(frozen=True)
class OrderSent:
    order_id: str


OrderSent(order_id=1)  # E: a wrong type
OrderSent("o-1").order_id = "o-2"  # E: the dataclass is frozen


@event("order.sent")  # E: a function is no class
def order_sent() -> None:
    pass


# Upcasters: from a number, from payload to payload.
@upcaster(OrderPlaced, from_version="1")  # E: a version is a number
def from_text(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


@upcaster(OrderPlaced)  # E: from which version?
def from_nowhere(payload: dict[str, Any]) -> dict[str, Any]:
    return payload


@upcaster(OrderPlaced, from_version=1)  # E: it gives no payload
def to_nothing(payload: dict[str, Any]) -> None:
    payload.clear()


@upcaster(OrderPlaced, from_version=1)  # E: it takes no payload
def from_event(payload: OrderPlaced) -> dict[str, Any]:
    return {"order_id": payload.order_id}


# Codecs and declarations.
class HalfACodec:
    content_type = "application/x-half"

    def encode(self, value: object) -> bytes:
        return JSON.encode(value)


half: Codec = HalfACodec()  # E: it cannot decode
text: str = MESSAGEPACK.encode(placed)  # E: bytes
size: int = len(event_type(placed).encode(placed))  # E: an event may have no body


# The store: awaited or not by whose transaction it is, and one place or several.
async def append(store: EventStore, session: Session, async_session: AsyncSession) -> None:
    await store.append(placed, within=session)  # E: it is done, there is nothing to await
    done: Appended = store.append(placed)  # E: it has to be awaited
    done = store.append(placed, within=async_session)  # E: it has to be awaited
    done = await store.append([placed])  # E: several events have several places
    done = store.append([placed], within=session)  # E: several events have several places
    store.append([placed], within=session).position  # E: a list has no position
    await store.append(placed, within=3)  # E: a number is no transaction
    await store.append(placed, expected=3)  # E: an unknown word
    await store.append(placed, expected_version="3")  # E: a version is a number
    await store.append(placed, event_stream=17)  # E: the name of a stream is text
    store.load("order-1").version  # E: it has to be awaited
    await store.load("order-1", within=session)  # E: it is there already
    await store.load(17)  # E: the name of a stream is text
    total: str = await store.fold(0, {})  # E: a fold has the type of what it begins with


# Projections, relays, inboxes: known words of the right kind, on an app and on a router.
def declare(app: App, router: Router) -> None:
    app.projection("totals", streams="order-1", verison=2)  # E: an unknown word
    app.projection("totals", version="2")  # E: a version is a number
    router.projection("totals", on_failure="ignore")  # E: no such policy
    router.projection("totals", mode="always")  # E: no such mode
    app.relay("orders", events=OrderPlaced)  # E: a list of events
    router.relay("orders", to=5)  # E: a stream, or a function
    router.relay("orders", sink="shared")  # E: an unknown word
    app.listener(OrderPlaced, store=True)  # E: the name of a store is text
    router.listener(OrderPlaced, stroe="local")  # E: an unknown word
    app.projection("totals").on(OrderPlaced)(5)  # E: a number handles nothing
