"""The events and the handler of the fault tests: an order's id says what becomes of it."""

import os
import signal

from penstock.event import Event
from penstock.streams.abc import NewEntry, StreamBroker

__all__ = ["Ordered", "behave"]


class Ordered(Event, name="ordered", key="order_id"):
    """An order came in."""

    order_id: str


async def behave(broker: StreamBroker, order: Ordered, attempt: int) -> None:
    """``bad``: always raise; ``shy``: raise the first time; ``killer``: kill the process; else: note it as done."""
    kind = order.order_id.partition("-")[0]
    if kind == "killer":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "bad" or (kind == "shy" and attempt == 1):
        raise ValueError(f"{kind} order")
    await broker.append(NewEntry("done", [b"order_id", order.order_id.encode()]))
