"""Declaring groups and listeners: their shapes, what is refused, and what may change while a group is worked."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from penstock.errors import ConfigurationError, UsageError
from penstock.listeners import Call, GroupSettings, Router
from penstock.message import Message
from penstock.retry import Retry
from penstock.streams.abc import NewEntry
from tests.listeners.shop import OrderPlaced, OrderShipped, Shop, ids


@pytest.mark.covers("LISTEN-1")
async def test_a_decorated_function_stays_what_it_was(shop: Shop) -> None:
    """A listener can be called in a test without penstock."""

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> str:
        return order.order_id

    assert await charge(OrderPlaced(order_id="1")) == "1"


@pytest.mark.covers("LISTEN-1")
async def test_one_event_may_have_many_listeners_and_one_listener_many_events(shop: Shop) -> None:
    """Listeners run in the order of their declaration, whatever the number of events each is for."""
    seen: list[str] = []

    @shop.router.listener(OrderPlaced, OrderShipped)
    async def both(order: OrderPlaced | OrderShipped) -> None:
        seen.append(f"both {type(order).__name__}")

    @shop.router.listener(OrderPlaced)
    async def placed(order: OrderPlaced) -> None:
        seen.append("placed")

    await shop.place("1")
    await shop.publisher.publish_many([])
    await shop.broker.append(
        NewEntry("order.shipped", [b"name", b"order.shipped", b"data", b'{"order_id": "1"}'])
    )
    await shop.until_idle()
    assert sorted(seen) == ["both OrderPlaced", "both OrderShipped", "placed"]
    assert seen.index("both OrderPlaced") < seen.index("placed")


@pytest.mark.covers("LISTEN-1")
def test_the_same_listener_twice_is_refused() -> None:
    """A second listener of the same name for the same event would run everything twice."""
    router = Router(default_group="shop")

    @router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None: ...

    with pytest.raises(ConfigurationError, match="already has a listener 'charge'"):
        router.listener(OrderPlaced)(charge)


@pytest.mark.covers("LISTEN-5")
@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (OrderPlaced, "decorate a function"),
        (42, "decorate a function"),
        ("charge", "decorate a function"),
    ],
)
def test_what_cannot_be_called_cannot_listen(wrong: Any, reason: str) -> None:
    """A wrong listener is refused when it is declared, long before a message could be acknowledged for nothing."""
    with pytest.raises(ConfigurationError, match=reason):
        Router(default_group="shop").listener(OrderPlaced)(wrong)


@pytest.mark.covers("LISTEN-5")
def test_a_class_without_marked_methods_is_refused() -> None:
    """A handler class that would handle nothing is an error that names it."""

    class Nothing:
        async def charge(self, order: OrderPlaced) -> None: ...

    with pytest.raises(ConfigurationError, match="Nothing"):
        Router().group("shop", handlers=Nothing)


def test_a_generator_cannot_listen() -> None:
    """A function that yields is refused: its body would never run."""
    with pytest.raises(ConfigurationError, match="yields"):

        @Router(default_group="shop").listener(OrderPlaced)
        async def charge(order: OrderPlaced) -> AsyncIterator[int]:
            yield 1


@pytest.mark.parametrize("wrong", [int, 7, None, dict])
def test_only_events_and_names_can_be_listened_to(wrong: object) -> None:
    """Listening to something that is no event names the remedy."""
    with pytest.raises(ConfigurationError, match="is no event"):
        Router(default_group="shop").listener(wrong)(_listener)


def test_listening_to_nothing_is_refused() -> None:
    """`.on()` without an event is an error."""
    with pytest.raises(ConfigurationError, match="listens to nothing"):
        Router(default_group="shop").listener()(_listener)


def test_everything_needs_named_streams() -> None:
    """A listener of Any cannot know which streams it means."""
    with pytest.raises(ConfigurationError, match="names no streams"):
        Router(default_group="shop").listener(Any)(_listener)


async def test_a_listener_of_any_sees_every_event_of_the_groups_streams(shop: Shop) -> None:
    """A group with streams and a listener of Any is an audit of them."""
    names: list[str] = []
    audit = shop.router.group("audit", streams=["order.placed", "order.shipped"])

    @audit.on(Any)
    async def note(message: Message) -> None:
        names.append(message.name)

    await shop.place("1")
    await shop.broker.append(NewEntry("order.shipped", [b"name", b"parcel.lost"]))
    await shop.until_idle("audit")
    assert sorted(names) == ["order.placed", "parcel.lost"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"concurrency": 0}, "concurrency is 0"),
        ({"min_idle": "60"}, "60s"),
        ({"min_idle": "0s"}, "min_idle"),
        ({"on_failure": "explode"}, "choose one of retry"),
        ({"mode": "sideways"}, "parallel"),
        ({"concurency": 2}, "no setting 'concurency'"),
    ],
)
def test_wrong_group_settings_are_refused_by_name(settings: dict[str, Any], reason: str) -> None:
    """A wrong value or name of a setting is an error at declaration that says what would be right."""
    with pytest.raises((ConfigurationError, UsageError), match=reason):
        Router().group("shop", **settings)


def test_a_group_declared_twice_with_settings_is_refused() -> None:
    """Two places that configure one group would contradict each other in silence."""
    router = Router()
    router.group("shop", concurrency=2).on(OrderPlaced)(_listener)
    with pytest.raises(ConfigurationError, match="declared twice"):
        router.group("shop", concurrency=3)


async def test_a_router_brings_its_listeners_and_middleware(shop: Shop) -> None:
    """Including a router takes over what it declares."""
    seen: list[str] = []
    router = Router()

    @router.listener(OrderPlaced, group="shop")
    async def charge(order: OrderPlaced) -> None:
        seen.append("charged")

    @router.middleware
    async def around(call: Call, proceed: Callable[[], Awaitable[None]]) -> None:
        seen.append(f"before {call.listener.name} of {call.group}")
        await proceed()
        seen.append("after")

    shop.router.registry.include(router)
    await shop.place("1")
    await shop.until_idle()
    assert seen == ["before charge of shop", "charged", "after"]


def test_a_routers_listener_needs_a_group() -> None:
    """Only an app has a group of its own."""
    with pytest.raises(ConfigurationError, match="needs group="):
        Router().listener(OrderPlaced)(_listener)


async def test_a_middleware_that_raises_makes_the_listener_fail(shop: Shop) -> None:
    """What wraps a handler counts as the handler: its error is recorded under the listener's name."""

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None: ...

    @shop.router.middleware
    async def deny(call: Call, proceed: Callable[[], Awaitable[None]]) -> None:
        raise PermissionError("no")

    await shop.place("1")
    await shop.until_idle()
    assert ids(await shop.failures()) == [("charge", "error")]


@pytest.mark.covers("LISTEN-11")
async def test_listeners_come_and_go_while_the_group_is_worked(shop: Shop) -> None:
    """A handler switched while running: the next message uses the new one."""
    seen: list[str] = []

    async def old(order: OrderPlaced) -> None:
        seen.append(f"old {order.order_id}")

    async def new(order: OrderPlaced) -> None:
        seen.append(f"new {order.order_id}")

    group = shop.router.group("shop")
    group.on(OrderPlaced, name="charge")(old)
    worker = shop.worker()
    running = asyncio.create_task(worker.run())
    await worker.life.wait_ready()
    await shop.place("1")
    await _until(lambda: len(seen) == 1)
    assert group.remove("charge") == 1
    group.on(OrderPlaced, name="charge")(new)
    await shop.place("2")
    await _until(lambda: len(seen) == 2)
    worker.stop()
    await running
    assert seen == ["old 1", "new 2"]


def test_group_settings_are_safe_as_they_come() -> None:
    """Retries, takeover after a minute, three deliveries alone, no order: the documented defaults."""
    assert GroupSettings().retry == Retry(attempts=5)
    assert GroupSettings().min_idle.total_seconds() == 60


async def _listener(order: OrderPlaced) -> None: ...


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)
