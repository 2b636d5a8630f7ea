"""The event every contender publishes and handles, and the entry that the hand-written loops make of it.

An order is 150 bytes of JSON with seven attributes. The hand-written loops put it into Penstock's own four fields
(``id``, ``name``, ``meta``, ``data``), so that the server does the same work for them as for us; frameworks write
whatever envelope they have.
"""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeAlias, cast

import hiredis
import msgspec

__all__ = [
    "FIRST_NUMBER",
    "Fields",
    "Order",
    "OrderPlaced",
    "attributes",
    "decode",
    "fields_of",
    "fields_of_many",
    "pack",
]

FIRST_NUMBER: Final = 100_000
"""Numbers begin here, so that every order has the same length."""

Fields: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes]
"""Names and values of one entry, in the order the server keeps them: the body is the last."""


class Order(Protocol):
    """What the harness reads from an order, whichever class a contender declares it as."""

    @property
    def number(self) -> int: ...
    @property
    def placed_ns(self) -> int: ...


class OrderPlaced(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An order as a msgspec struct, for every contender that leaves the choice to its user."""

    number: int
    order_id: str
    customer: str
    sku: str
    quantity: int
    total_cents: int
    placed_ns: int


class _Meta(msgspec.Struct, gc=False):
    time: int
    source: str
    key: str


def attributes(index: int, placed_ns: int = 10**15) -> dict[str, Any]:
    """The seven attributes of the order with *index*, counted from 0; *placed_ns* is read from the monotonic clock."""
    return {
        "number": FIRST_NUMBER + index,
        "order_id": f"order-{index:08d}",
        "customer": f"cust-{index % 9973:05d}",
        "sku": f"PUMP-{index % 89:04d}",
        "quantity": index % 7 + 1,
        "total_cents": 100_000 + index % 899_999,
        "placed_ns": placed_ns,
    }


# The stub knows commands of one argument only.
pack: Final = cast("Callable[[tuple[bytes | str | int, ...]], bytes]", hiredis.pack_command)
"""A command as the bytes to send."""

_encode: Final = msgspec.json.Encoder().encode

decode: Final = msgspec.json.Decoder(OrderPlaced).decode
"""The order in the ``data`` field of an entry."""


def fields_of(order: OrderPlaced) -> Fields:
    """One order as the fields of an entry, with an id (UUIDv7) and the present time."""
    time_us = time.time_ns() // 1000
    return _fields(order, _id_head(time_us) + _next_tail(), time_us)


def fields_of_many(orders: Sequence[OrderPlaced]) -> Iterator[Fields]:
    """The same for many orders: the time is taken once, the cheapest way there is."""
    time_us = time.time_ns() // 1000
    head = _id_head(time_us)
    for order, tail in zip(orders, _id_tails(len(orders)), strict=True):
        yield _fields(order, head + tail, time_us)


def _fields(order: OrderPlaced, event_id: bytes, time_us: int) -> Fields:
    meta = _encode(_Meta(time_us, "shop", order.order_id))
    return (b"id", event_id, b"name", b"order.placed", b"meta", meta, b"data", _encode(order))


def _id_head(time_us: int) -> bytes:
    head = b"%012x" % (time_us // 1000)
    return head[:8] + b"-" + head[8:] + b"-7"


def _id_tails(count: int) -> list[bytes]:
    noise = os.urandom(9 * count).hex().encode()
    return [
        noise[at : at + 3] + b"-a" + noise[at + 3 : at + 6] + b"-" + noise[at + 6 : at + 18]
        for at in range(0, 18 * count, 18)
    ]


_tails: Final[list[bytes]] = []


def _next_tail() -> bytes:
    # Random bytes by the hundred: one system call an id would cost more than everything else here.
    if not _tails:
        _tails.extend(_id_tails(256))
    return _tails.pop()
