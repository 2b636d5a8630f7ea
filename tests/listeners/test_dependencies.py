"""What a handler asks for by type: made for it, cleaned up behind it, shared, and refused at start if nobody has it."""

import asyncio
import dataclasses
from collections.abc import Iterator
from typing import cast

import pytest

from penstock.errors import UnknownDependencyError
from penstock.listeners import Delivery, on
from penstock.message import Message
from penstock.streams.abc import NewEntry
from tests.listeners.shop import OrderPlaced, OrderShipped, Shop


class Gateway:
    """Something that a handler needs."""

    def __init__(self, label: str = "real") -> None:
        self.label = label


async def test_a_handler_gets_what_it_asks_for_by_type(shop: Shop) -> None:
    """Event, message, delivery and provided things, in any order of parameters."""
    got: dict[str, object] = {}
    shop.dependencies.provide(Gateway, Gateway, shared=False)

    @shop.router.listener(OrderPlaced)
    async def charge(message: Message, gateway: Gateway, order: OrderPlaced, delivery: Delivery) -> None:
        got.update(
            name=message.name, gateway=gateway.label, order=order.order_id, same=delivery.message is message
        )

    await shop.place("1")
    await shop.until_idle()
    assert got == {"name": "order.placed", "gateway": "real", "order": "1", "same": True}


async def test_an_unknown_dependency_is_an_error_at_start(shop: Shop) -> None:
    """Nothing is delivered, let alone acknowledged, for a handler that could not be called."""

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, gateway: Gateway) -> None: ...

    await shop.place("1")
    with pytest.raises(UnknownDependencyError, match="parameter 'gateway' of type Gateway"):
        await shop.until_idle()


async def test_factories_are_filled_cleaned_up_and_overridden(shop: Shop) -> None:
    """A generator factory cleans up after each message; factories have dependencies; tests replace them."""
    events: list[str] = []

    @dataclasses.dataclass
    class Session:
        gateway: Gateway

    def open_session(gateway: Gateway) -> Iterator[Session]:
        events.append(f"open with {gateway.label}")
        yield Session(gateway)
        events.append("close")

    shop.dependencies.provide(Gateway, Gateway, shared=True)
    shop.dependencies.provide(Session, open_session, shared=False)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, session: Session) -> None:
        events.append(f"charge {order.order_id}")

    await shop.place("1")
    await shop.until_idle()
    with shop.dependencies.override(Gateway, lambda: Gateway("fake")):
        await shop.place("2")
        await shop.until_idle()
    assert events == [
        "open with real",
        "charge 1",
        "close",
        "open with fake",
        "charge 2",
        "close",
    ]


async def test_a_shared_dependency_is_made_once_also_when_many_ask_at_the_same_time(shop: Shop) -> None:
    """Ten handlers that start together share one thing."""
    made = 0

    async def make() -> Gateway:
        nonlocal made
        made += 1
        await asyncio.sleep(0)
        return Gateway()

    seen: set[int] = set()
    shop.dependencies.provide(Gateway, make, shared=True)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, gateway: Gateway) -> None:
        await asyncio.sleep(0)
        seen.add(id(gateway))

    await shop.place(*map(str, range(10)))
    await shop.until_idle()
    assert (made, len(seen)) == (1, 1)


@pytest.mark.covers("LISTEN-3")
async def test_a_handler_class_that_cannot_be_made_fails_as_its_listener(shop: Shop) -> None:
    """The instance is made for each message; a raising constructor is that listener's failure, the others run."""
    seen: list[str] = []

    class Charging:
        def __init__(self, gateway: Gateway) -> None:
            raise RuntimeError("no licence")

        @on(OrderPlaced)
        async def charge(self, order: OrderPlaced) -> None: ...

    shop.dependencies.provide(Gateway, Gateway, shared=False)
    shop.router.group("shop", handlers=Charging)

    @shop.router.listener(OrderPlaced)
    async def thank(order: OrderPlaced) -> None:
        seen.append(order.order_id)

    await shop.place("1")
    await shop.until_idle()
    [record] = await shop.failures()
    assert (record.key.listener, record.error) == ("Charging.charge", "no licence")
    assert seen == ["1"]


@pytest.mark.covers("LISTEN-3")
async def test_methods_of_a_class_listen_with_their_dependencies(shop: Shop) -> None:
    """A class with marked methods handles several events, each with an instance of its own."""
    seen: list[tuple[str, str]] = []

    class Charging:
        def __init__(self, gateway: Gateway) -> None:
            self.gateway = gateway

        @on(OrderPlaced)
        async def charge(self, order: OrderPlaced) -> None:
            seen.append((self.gateway.label, order.order_id))

        @on(OrderShipped, name="settle")
        def settle(self, order: OrderShipped, message: Message) -> None:
            seen.append((message.name, order.order_id))

    shop.dependencies.provide(Gateway, Gateway, shared=False)
    group = shop.router.group("shop", handlers=Charging)
    await shop.place("1")
    await shop.broker.append(
        NewEntry("order.shipped", [b"name", b"order.shipped", b"data", b'{"order_id": "2"}'])
    )
    await shop.until_idle()
    assert sorted(seen) == [("order.shipped", "2"), ("real", "1")]
    assert [listener.name for listener in group.listeners] == ["Charging.charge", "settle"]


async def test_untyped_handlers_get_plain_values(shop: Shop) -> None:
    """By name and without annotations a handler gets the payload; annotated with a class, an instance of it."""
    seen: list[object] = []

    @dataclasses.dataclass
    class Order:
        order_id: str

    @shop.router.listener("order.placed")
    async def plain(payload):  # type: ignore[no-untyped-def]  # without annotations, on purpose
        seen.append(cast("object", payload))

    globals()["Order"] = Order

    @shop.router.listener("order.placed")
    async def typed(order: Order) -> None:
        seen.append(order)

    await shop.place("1")
    await shop.until_idle()
    assert seen == [{"order_id": "1"}, Order("1")]
