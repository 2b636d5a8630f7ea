"""The fixture ``penstock`` as a user's project has it: in memory with a manual clock, and on a real server."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SHOP = """
from penstock import App, Event, Retry

app = App("shop")
billing = app.group("billing", retry=Retry(attempts=3, initial="2s", jitter=0))

class OrderPlaced(Event, name="order.placed", key="order_id"):
    order_id: str

class Gateway:
    def charge(self, order_id: str) -> None:
        raise RuntimeError("the real bank")

app.provide(Gateway, Gateway)

@billing.on(OrderPlaced)
async def charge(order: OrderPlaced, gateway: Gateway) -> None:
    gateway.charge(order.order_id)

class OrderSettled(Event, name="order.settled", key="order_id"):
    order_id: str

settled = app.projection("settled", state=0)
app.relay("settled-orders", events=[OrderSettled])

@settled.on(OrderSettled)
def count(state: int, order: OrderSettled) -> int:
    return state + 1
"""

TESTS = """
import pytest
import shop

class FakeGateway(shop.Gateway):
    def __init__(self, fail: int = 0) -> None:
        self.charged: list[str] = []
        self.fail = fail

    def charge(self, order_id: str) -> None:
        if self.fail:
            self.fail -= 1
            raise ConnectionError("bank away")
        self.charged.append(order_id)

@pytest.fixture
def penstock_app():
    return shop.app

async def test_a_placed_order_is_charged(penstock):
    gateway = penstock.provide(shop.Gateway, FakeGateway())
    await penstock.emit(shop.OrderPlaced(order_id="1"))
    await penstock.until_idle()
    assert gateway.charged == ["1"]
    assert await penstock.failed() == []
    assert await penstock.pending("order.placed", "billing") == 0

async def test_a_failing_charge_is_tried_again(penstock):
    gateway = penstock.provide(shop.Gateway, FakeGateway(fail=1))
    await penstock.emit(shop.OrderPlaced(order_id="2"))
    await penstock.until_idle()
    [failure] = await penstock.failed(listener="charge")
    assert failure.error == "bank away"
    await penstock.advance("2s")
    await penstock.until_idle()
    assert gateway.charged == ["2"]

async def test_nothing_is_left_of_other_tests(penstock):
    assert await penstock.messages("order.placed") == []
    await penstock.emit_many([shop.OrderPlaced(order_id="3")])
    [message] = await penstock.messages("order.placed")
    assert message.key == "3"

async def test_without_a_fake_the_real_thing_is_used(penstock):
    await penstock.emit(shop.OrderPlaced(order_id="4"))
    await penstock.until_idle()
    [failure] = await penstock.failed()
    assert failure.error == "the real bank"

@pytest.mark.parametrize("number", ["5", "6"])
async def test_what_is_stored_is_projected_and_relayed(penstock, number):
    await penstock.append(shop.OrderSettled(order_id=number))
    await penstock.until_idle()
    assert await shop.settled.state() == 1
    assert [event.key for event in await penstock.events()] == [number]
    assert [message.key for message in await penstock.messages("order.settled")] == [number]
"""


SETTINGS = ["-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"]


def _run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    plugin = [] if _is_installed() else ["-p", "penstock.testing.plugin"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-W", "error", *SETTINGS, *plugin, *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(Path(__file__).parents[2] / "src")},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def _is_installed() -> bool:
    from importlib.metadata import entry_points

    return bool(entry_points(group="pytest11", name="penstock"))


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's project with an app and tests of it."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "test_shop.py").write_text(TESTS)
    return tmp_path


@pytest.mark.parametrize("arguments", [(), ("--penstock-real",)], ids=["memory", "real"])
def test_an_apps_tests_pass_in_memory_and_on_a_real_server(project: Path, arguments: tuple[str, ...]) -> None:
    """The same tests, unchanged: handlers run, dependencies are replaced, time passes, failures are seen.

    Every test has an event store of its own, and nothing is left open or lying about.
    """
    run = _run(project, *arguments)
    assert "6 passed" in run.stdout, run.stdout + run.stderr
    assert not (project / ".penstock" / "events.db").exists()


def test_a_project_that_does_not_name_its_app_is_told_how(tmp_path: Path) -> None:
    """The error shows the fixture to write."""
    (tmp_path / "test_shop.py").write_text("async def test_x(penstock): ...\n")
    run = _run(tmp_path)
    assert "def penstock_app()" in run.stdout
    assert "1 error" in run.stdout
