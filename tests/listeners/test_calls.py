"""Calling handlers: dependencies that fail or hide errors, threads, plain functions around coroutines, observers."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from penstock.errors import ConfigurationError
from penstock.listeners import Delivery, Router
from penstock.retry import GiveUp, Release
from penstock.streams.abc import FailureState
from penstock.telemetry import Observer
from tests.listeners.shop import OrderPlaced, Shop, ids


class Session:
    """A dependency with a life of one message."""


class Gateway:
    """A dependency with a life of the app."""


class Bank:
    """A dependency made with another."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway


async def test_a_commit_that_fails_after_the_handler_fails_the_listener(shop: Shop) -> None:
    """What a dependency raises while it is cleaned up is recorded: its part of the work was not done."""

    async def session() -> AsyncIterator[Session]:
        yield Session()
        raise ConnectionError("commit failed")

    shop.dependencies.provide(Session, session, shared=False)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, session: Session) -> None: ...

    await shop.place("1")
    await shop.until_idle()
    assert [(each.key.listener, each.error) for each in await shop.failures()] == [
        ("charge", "commit failed")
    ]


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_a_dependency_cannot_hide_that_a_handler_failed(shop: Shop, kind: str) -> None:
    """One that rolls back and forgets to raise again does not have the message acknowledged."""
    rolled_back: list[str] = []

    def plain() -> Iterator[Session]:
        try:
            yield Session()
        except ValueError:
            rolled_back.append("sync")

    async def coroutine() -> AsyncIterator[Session]:
        try:
            yield Session()
        except ValueError:
            rolled_back.append("async")

    shop.dependencies.provide(Session, plain if kind == "sync" else coroutine, shared=False)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, session: Session) -> None:
        raise ValueError("no card")

    await shop.place("1")
    await shop.until_idle()
    assert rolled_back == [kind]
    assert [each.error for each in await shop.failures()] == ["no card"]


async def test_a_plain_function_around_a_coroutine_function_is_awaited(shop: Shop) -> None:
    """A decorator that forgot about coroutines does not have messages acknowledged unhandled."""
    seen: list[str] = []

    async def handle(order: OrderPlaced) -> None:
        await asyncio.sleep(0)
        seen.append(order.order_id)

    def charge(order: OrderPlaced) -> Any:
        return handle(order)

    shop.router.listener(OrderPlaced)(charge)
    await shop.place("1")
    await shop.until_idle()
    assert seen == ["1"]


@pytest.mark.parametrize("name", [None, "charge"])
def test_what_is_no_function_is_refused_as_a_listener(shop: Shop, name: str | None) -> None:
    """A partial or a callable object has neither a name nor annotations of its own."""
    with pytest.raises(ConfigurationError, match="decorate a function"):
        shop.router.listener(OrderPlaced, name=name)(functools.partial(print))


async def test_a_synchronous_handler_may_run_out_of_an_iterator(shop: Shop) -> None:
    """StopIteration, which no future can carry, is a failure like any other."""

    @shop.router.listener(OrderPlaced)
    def charge(order: OrderPlaced) -> None:
        next(iter(()))

    await shop.place("1")
    async with asyncio.timeout(5):
        await shop.until_idle()
    assert [each.error_type for each in await shop.failures()] == ["RuntimeError"]


async def test_synchronous_handlers_have_the_same_words(shop: Shop) -> None:
    """GiveUp and Release mean on a thread what they mean in a coroutine, also from a batch."""

    @shop.router.listener(OrderPlaced)
    def charge(order: OrderPlaced) -> None:
        raise (GiveUp("never") if order.order_id == "1" else Release)

    await shop.place("1", "2")
    await shop.until_idle()
    [record] = await shop.failures()
    assert (record.state, await shop.pending()) == (FailureState.FAILED, 1)


async def test_overriding_a_dependency_reaches_what_was_made_with_it(shop: Shop) -> None:
    """A shared thing built on the real one is made anew within the block, and is the old one again after it."""
    seen: list[Gateway] = []
    shop.dependencies.provide(Gateway, Gateway, shared=True)
    shop.dependencies.provide(Bank, Bank, shared=True)

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced, bank: Bank) -> None:
        seen.append(bank.gateway)

    async def one() -> Gateway:
        await shop.place("1")
        await shop.until_idle()
        return seen.pop()

    real, fake = await one(), Gateway()
    with shop.dependencies.override(Gateway, lambda: fake):
        assert await one() is fake
    assert await one() is real


async def test_a_listener_that_acknowledges_by_itself_is_alone_in_its_group(shop: Shop) -> None:
    """Its acknowledgement settles the entry for the group, so another listener's failure could not be recorded."""

    @shop.router.listener(OrderPlaced, acknowledge="manual")
    async def charge(order: OrderPlaced, delivery: Delivery) -> None: ...

    with pytest.raises(ConfigurationError, match="give them a group each"):

        @shop.router.listener("order.placed")
        async def thank(order: object) -> None: ...

    @shop.router.listener("something.else")
    async def other(order: object) -> None: ...


async def test_an_error_after_acknowledging_by_hand_is_told(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """It cannot be recorded any more, and is not passed over in silence."""
    told: list[str] = []

    class Watching(Observer):
        def failed(self, group: str, stream: str, listener: str, error: BaseException, attempt: int) -> None:
            told.append(listener)

    @shop.router.listener(OrderPlaced, acknowledge="manual")
    async def charge(order: OrderPlaced, delivery: Delivery) -> None:
        await delivery.acknowledge()
        raise ValueError("too late")

    await shop.place("1")
    await shop.until_idle(observer=Watching())
    assert (await shop.pending(), await shop.failures(), told) == (0, [], ["charge"])
    assert "too late" in caplog.text


@pytest.mark.covers("OPS-4")
async def test_an_observer_that_raises_is_told_of_once_and_changes_nothing(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever hook it is: every event is handled, recorded and settled as if nobody watched."""

    class Broken(Observer):
        def delivered(self, group: str, stream: str, count: int) -> None:
            raise RuntimeError("delivered")

        def acknowledged(self, group: str, stream: str, count: int) -> None:
            raise RuntimeError("acknowledged")

        def failed(self, group: str, stream: str, listener: str, error: BaseException, attempt: int) -> None:
            raise RuntimeError("failed")

        def unhandled(self, group: str, stream: str, name: str) -> None:
            raise RuntimeError("unhandled")

    @shop.router.listener(OrderPlaced)
    async def charge(order: OrderPlaced) -> None:
        if order.order_id == "1":
            raise GiveUp("no")

    for _ in range(3):
        await shop.place("1", "2")
    await shop.until_idle(observer=Broken())
    assert await shop.pending() == 0
    assert set(ids(await shop.failures())) == {("charge", "error")}
    said = [
        each.message
        for each in caplog.records
        if each.levelno == logging.ERROR and "observer" in each.message
    ]
    assert len(said) == len(set(said)) == 3


# -- routers --------------------------------------------------------------------------------------------------------


async def test_including_a_router_keeps_what_either_says_of_a_group() -> None:
    """Settings of one side and the streams of both; only two different settings are a contradiction."""
    app, router, contrary = Router(default_group="app"), Router(), Router()

    @app.listener(OrderPlaced, group="billing")
    async def charge(order: OrderPlaced) -> None: ...

    router.group("billing", streams=["legacy"], concurrency=3)
    contrary.group("billing", concurrency=4)
    app.registry.include(router)
    billing = app.group("billing")
    assert (billing.settings.concurrency, billing.streams) == (3, ("legacy", "order.placed"))
    with pytest.raises(ConfigurationError, match="in two places"):
        app.registry.include(contrary)
