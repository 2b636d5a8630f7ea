"""What type checkers must refuse in a user's code: each line that ends in ``# E:``, and no other."""

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from penstock import JSON, MESSAGEPACK, Codec, Event, event, upcaster
from penstock.event import event_type

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
