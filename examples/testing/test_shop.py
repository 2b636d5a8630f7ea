"""A shop and its tests, in one file; a project of yours has the shop in a module of its own."""

from typing import Protocol

import pytest

from penstock import App, Event, GiveUp, Retry
from penstock.testing import AppTester

app = App("shop")
billing = app.group("billing", retry=Retry(attempts=3, initial="1 min"))


class OrderPlaced(Event, name="order.placed", key="order_id"):
    order_id: str
    card: str
    cents: int


class OrderPaid(Event, name="order.paid", key="order_id"):
    order_id: str


class Gateway(Protocol):
    async def charge(self, card: str, cents: int) -> None:
        """Take so many cents from a card. Raises `TimeoutError` when the bank does not answer."""
        ...


@app.provide(Gateway)
def real_gateway() -> Gateway:
    raise RuntimeError("the real payment gateway is not part of this example")


@billing.on(OrderPlaced)
async def charge(order: OrderPlaced, gateway: Gateway) -> None:
    if order.cents <= 0:
        raise GiveUp(f"order {order.order_id} costs nothing")
    await gateway.charge(order.card, order.cents)
    await app.emit(OrderPaid(order_id=order.order_id))


@pytest.fixture
def penstock_app() -> App:
    return app


class FakeGateway:
    def __init__(self, *, failures: int = 0) -> None:
        self.failures = failures
        self.charges: list[tuple[str, int]] = []

    async def charge(self, card: str, cents: int) -> None:
        """Note the charge, or fail as often as was asked for."""
        if self.failures:
            self.failures -= 1
            raise TimeoutError("the bank does not answer")
        self.charges.append((card, cents))


async def test_a_placed_order_is_charged_and_paid(penstock: AppTester) -> None:
    gateway = penstock.provide(Gateway, FakeGateway())
    await penstock.emit(OrderPlaced(order_id="1", card="visa", cents=500))
    await penstock.until_idle()
    assert gateway.charges == [("visa", 500)]
    [paid] = await penstock.messages("order.paid")
    assert paid.decode(OrderPaid).order_id == "1"
    assert await penstock.failed() == []


async def test_a_bank_that_does_not_answer_is_asked_again_a_minute_later(penstock: AppTester) -> None:
    gateway = penstock.provide(Gateway, FakeGateway(failures=1))
    await penstock.emit(OrderPlaced(order_id="2", card="visa", cents=500))
    await penstock.until_idle()
    assert gateway.charges == []
    await penstock.advance("90s")  # the clock belongs to the test: nobody waits
    await penstock.until_idle()
    assert gateway.charges == [("visa", 500)]


async def test_an_order_that_costs_nothing_is_given_up_at_once(penstock: AppTester) -> None:
    penstock.provide(Gateway, FakeGateway())
    await penstock.emit(OrderPlaced(order_id="3", card="visa", cents=0))
    await penstock.until_idle()
    [failure] = await penstock.failed()
    assert (failure.key.listener, failure.attempts) == ("charge", 1)
