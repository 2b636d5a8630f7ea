"""A router declares whatever an app does, and the app takes it over."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from penstock import App, Event, Router
from penstock.errors import ConfigurationError
from penstock.streams.memory import MemoryBroker
from penstock.testing import AppTester, ManualClock


class Placed(Event, name="routed.placed", key="number"):
    """An order came in."""

    number: str


class Tidied(Event, name="routed.tidied"):
    """Somebody cleaned up."""


@pytest.fixture
async def tester() -> AsyncIterator[AppTester]:
    """An app that declares nothing by itself, under test."""
    clock = ManualClock()
    async with AppTester(App("shop"), MemoryBroker(clock=clock), clock) as tester:
        yield tester


@pytest.mark.covers("GROUP-1", "PROJ-1", "EMIT-6")
async def test_an_app_takes_over_everything_that_a_router_declares(tester: AppTester) -> None:
    """Listeners, middleware, projections with their state, relays, and what recurs run as if the app had them."""
    router, done = Router(), list[str]()
    counted = router.projection("counted", state=0)
    router.relay("orders", events=[Placed])
    router.every("1h", Tidied())

    @router.middleware
    async def around(call: Any, proceed: Any) -> None:
        done.append("around")
        await proceed()

    @router.listener(Placed, Tidied, group="billing")
    async def charge(placed: Placed | Tidied) -> None:
        done.append(type(placed).__name__)

    tester.app.include(router)

    @counted.on(Placed)
    def count(state: int, order: Placed) -> int:
        return state + 1

    await tester.append(Placed(number="1"))
    await tester.until_idle()
    await tester.advance("61m")
    await tester.until_idle()
    assert done == ["around", "Placed", "around", "Tidied"]
    assert await counted.state() == 1
    assert [*tester.app.projections, *tester.app.relays] == ["counted", "orders"]


async def test_a_router_includes_other_routers(tester: AppTester) -> None:
    """A package of the user's gathers those of its modules."""
    inner, outer = Router(), Router()
    counted = inner.projection("counted", state=0)
    counted.on(Placed)(lambda state, event: state + 1)
    outer.include(inner)
    tester.app.include(outer)
    await tester.append(Placed(number="1"))
    await tester.until_idle()
    assert await counted.state() == 1


@pytest.mark.parametrize(
    ("what", "declare"),
    [
        ("projection 'same'", lambda to: to.projection("same")),
        ("relay 'same'", lambda to: to.relay("same")),
        ("recurring 'same'", lambda to: to.every("1h", Tidied(), name="same")),
    ],
    ids=["projection", "relay", "recurring"],
)
def test_a_name_that_is_declared_twice_is_refused(what: str, declare: Any) -> None:
    """In one router, in two, in router and app, by the same router again; nothing is taken over."""
    app, one, other = App("shop"), Router(), Router()
    declare(one)
    with pytest.raises(ConfigurationError, match=r"'same' (is declared twice|already)"):
        declare(one)
    declare(other)

    @other.listener(Placed, group="billing")
    def charge(order: Placed) -> None: ...

    app.include(one)
    for again in (other, one):
        with pytest.raises(ConfigurationError, match=f"{what} is declared in two places"):
            app.include(again)
    assert list(app.registry) == []
    with pytest.raises(ConfigurationError, match="same"):
        declare(app)


@pytest.mark.parametrize(
    ("first", "second"), [("projection", "relay"), ("relay", "projection")], ids=["relay", "projection"]
)
def test_a_projection_and_a_relay_of_one_name_are_refused(first: str, second: str) -> None:
    """Their positions are kept under their names, in one table."""
    app, router = App("shop"), Router()
    getattr(app, first)("same")
    getattr(router, second)("same")
    with pytest.raises(ConfigurationError, match="projection and a relay are both called 'same'"):
        getattr(app, second)("same")
    with pytest.raises(ConfigurationError, match="projection and a relay are both called 'same'"):
        app.include(router)


async def test_a_projection_of_a_router_belongs_to_no_app_before_it_is_included() -> None:
    """Its state is nowhere, and the error says what is missing."""
    counted = Router().projection("counted", state=0)
    with pytest.raises(Exception, match="belongs to no app yet"):
        await counted.state()
