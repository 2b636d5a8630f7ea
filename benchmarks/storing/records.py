"""What the hand-written sides keep of an order: the same columns as ours, encoded in the same way."""

import time
from typing import Any, Final

import msgspec

from benchmarks.orders import OrderPlaced, decode
from benchmarks.storing.keeper import Attributes
from penstock.message import new_event_ids

__all__ = ["Record", "decode", "fold", "record_of", "records_of"]

Record = tuple[str, int, str, str, str, str, str]
"""stream, version, id, name, key, data, meta."""

_encode: Final = msgspec.json.Encoder().encode


class _Meta(msgspec.Struct, gc=False):
    time: int
    source: str
    key: str


def record_of(order: Attributes) -> Record:
    """One order as a row."""
    return records_of([order])[0]


def records_of(orders: Any) -> list[Record]:
    """Orders as rows, the time taken once."""
    now = time.time_ns() // 1000
    ids = new_event_ids(len(orders), now)
    return [
        (
            f"order-{order['order_id']}",
            1,
            event_id,
            "order.placed",
            order["order_id"],
            _encode(OrderPlaced(**order)).decode(),
            _encode(_Meta(now, "bench", order["order_id"])).decode(),
        )
        for order, event_id in zip(orders, ids, strict=True)
    ]


def fold(bodies: Any) -> dict[str, int]:
    """What each customer spent."""
    spent: dict[str, int] = {}
    for body in bodies:
        order = decode(body)
        spent[order.customer] = spent.get(order.customer, 0) + order.total_cents
    return spent
