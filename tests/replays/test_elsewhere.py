"""A read model in Valkey, replayed: its copy has keys of its own, and readers are led to it by one command."""

import itertools
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from penstock import App
from penstock.errors import ConfigurationError
from penstock.event import Event
from penstock.projections import Generation
from penstock.replays.elsewhere_valkey import HashReadModel
from penstock.store.migrating import apply
from penstock.streams.embedded import use_server

_NUMBERS = itertools.count()


class Paid(Event, name="paid", key="customer"):
    """Somebody paid."""

    customer: str
    cents: int


class Left(Event, name="left", key="customer"):
    """Somebody is no customer any more."""

    customer: str


@pytest.fixture(scope="module")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded server for these tests."""
    with use_server(tmp_path_factory.mktemp("valkey")) as server:
        yield server.url


def make_app(
    store: str, url: str, *, name: str = "balances", factor: int = 1, fails_at: int | None = None
) -> tuple[App, type[HashReadModel]]:
    """An app whose balances are hashes: what each customer has paid, *factor* times."""

    class Balances(HashReadModel, name=name, url=url):
        pass

    app = App("shop", streams="memory://", store=store)
    version = 1 if factor == 1 else 2
    balances = app.projection("balances", read_model=Balances, version=version, page=20)

    @balances.on(Paid)
    def paid(event: Paid, rows: Balances, generation: Generation) -> None:
        if event.cents == fails_at:
            raise ValueError("what is that?")
        rows.increment(event.customer, cents=event.cents * factor, payments=1)
        rows.put(event.customer, last=event.cents, is_replay=rows.is_replay)

    @balances.on(Left)
    def left(event: Left, rows: Balances) -> None:
        rows.delete_row(event.customer)

    return app, Balances


@pytest.fixture
def names(valkey_url: str) -> Iterator[str]:
    """The name of a read model that nobody has; its keys are gone afterwards."""
    name = f"balances-{next(_NUMBERS)}"
    yield name

    class Mine(HashReadModel, name=name, url=valkey_url):
        pass

    if keys := [*Mine.client().scan_iter(f"{{{name}}}*")]:
        Mine.client().unlink(*keys)
    Mine.close()


def payments(count: int) -> list[Paid]:
    """So many payments of three customers."""
    return [Paid(customer=f"c{number % 3}", cents=number) for number in range(count)]


def keys(model: type[HashReadModel]) -> list[str]:
    """Every key that there is of a read model."""
    return sorted(model.client().scan_iter(f"{{{model.name}}}*"))


def cents(model: type[HashReadModel]) -> dict[str, int]:
    """What readers see."""
    return {id_: int((model.get(id_) or {}).get("cents", "0")) for id_ in model.ids()}


def migrated(app: App) -> None:
    """Have the tables of the store."""
    apply(app.store().backend.database)


@pytest.mark.covers("ZDT-2", "ZDT-10", "ZDT-12", "ZDT-13")
async def test_hashes_are_built_switched_and_removed(store_url: str, valkey_url: str, names: str) -> None:
    """Readers see the old ones until the promotion, then the new, then the old again; each goes on being fed.

    Removed after a second promotion, the keys of the former generation are gone and the live ones are there.
    """
    first, live = make_app(store_url, valkey_url, name=names)
    second, _ = make_app(store_url, valkey_url, name=names, factor=10)
    migrated(first)
    async with first, second:
        await first.store().append(payments(100))
        await first.catch_up()
        once = {f"c{n}": sum(range(n, 100, 3)) for n in range(3)}
        assert cents(live) == once
        assert live.get("c1") == {
            "cents": str(once["c1"]),
            "payments": "33",
            "last": "97",
            "is_replay": "False",
        }

        await second.replays.create("ten times", ["balances"])
        await second.replays.follow("ten times")
        assert cents(live) == once, "the copy is nobody's to see"
        [finding] = [
            each for each in await second.replays.preflight("ten times") if "elsewhere" in each.message
        ]
        assert (finding.severity, finding.subject) == ("warning", "projection balances")
        await second.replays.promote("ten times", force=True, reason="a test")
        ten = {id_: 10 * number for id_, number in once.items()}
        assert cents(live) == ten

        await first.store().append([Paid(customer="c0", cents=7), Left(customer="c2")])
        await first.catch_up()
        await second.catch_up()
        assert cents(live) == {"c0": ten["c0"] + 70, "c1": ten["c1"]}
        await second.replays.rollback("ten times")
        assert cents(live) == {"c0": once["c0"] + 7, "c1": once["c1"]}

        await second.replays.promote("ten times", force=True, reason="a test")
        await second.replays.remove("ten times")
        assert cents(live) == {"c0": ten["c0"] + 70, "c1": ten["c1"]}
        assert len({key.split(":")[1].rstrip("#") for key in keys(live) if ":" in key}) == 1


@pytest.mark.covers("ZDT-2", "ZDT-4")
async def test_from_zero_the_copy_is_emptied_elsewhere_too(
    store_url: str, valkey_url: str, names: str
) -> None:
    """What is counted up would be counted twice otherwise; what is live is not touched."""
    app, live = make_app(store_url, valkey_url, name=names)
    migrated(app)
    async with app:
        await app.store().append(payments(50))
        await app.catch_up()
        before = cents(live)
        await app.replays.create("again", ["balances"])
        await app.replays.start("again")
        [copied] = {
            key.split(":")[1] for key in keys(live) if ":" in key and ":again-" in key and key[-1] != "#"
        }
        for row in ("c0", "nobody"):
            live.client().hset(f"{{{names}}}:{copied}:{row}", mapping={"cents": 1, "#": 10**9})
        live.client().sadd(f"{{{names}}}:{copied}#", "nobody")
        await app.replays.start("again", from_zero=True)
        assert cents(live) == before
        await app.replays.promote("again", force=True, reason="a test")
        assert cents(live) == before
        # Going back is to keys that were there all the time.
        await app.replays.remove("again")
        assert cents(live) == before


@pytest.mark.covers("ZDT-2")
async def test_a_page_that_is_repeated_counts_once(store_url: str, valkey_url: str, names: str) -> None:
    """The hashes were written and the checkpoint was not: the same events come again, and change nothing."""
    app, live = make_app(store_url, valkey_url, name=names)
    migrated(app)
    async with app:
        await app.store().append(payments(30))
        await app.catch_up()
        before = {id_: live.get(id_) for id_ in live.ids()}
        database = app.store().database
        connection = database.connect()
        database.begin(connection)
        database.execute(connection, "UPDATE penstock_checkpoints SET position = 3, epoch = epoch + 1")
        connection.commit()
        connection.close()
        await app.catch_up()
        assert {id_: live.get(id_) for id_ in live.ids()} == before


_KILLED = """
import asyncio, os, signal, sys
from tests.replays.test_elsewhere import make_app
from penstock.replays._elsewhere_places import Elsewhere

def die(self):
    os.kill(os.getpid(), signal.SIGKILL)

async def promote(store, url, name):
    app, _ = make_app(store, url, name=name, factor=10)
    async with app:
        Elsewhere.promote = die
        await app.replays.promote("k", force=True, reason="a test")

asyncio.run(promote(*sys.argv[1:]))
"""


@pytest.mark.covers("ZDT-2", "ZDT-10")
async def test_a_promotion_killed_before_readers_were_led_on_is_repeated(
    store_url: str, valkey_url: str, names: str
) -> None:
    """kill -9 between the commit and the pointer: readers see what they saw, until the live generation runs next."""
    first, live = make_app(store_url, valkey_url, name=names)
    second, _ = make_app(store_url, valkey_url, name=names, factor=10)
    migrated(first)
    async with first, second:
        await first.store().append(payments(60))
        await first.catch_up()
        before = cents(live)
        await second.replays.create("k", ["balances"])
        await second.replays.start("k")
        killed = subprocess.run(
            [sys.executable, "-c", _KILLED, store_url, valkey_url, names], check=False, capture_output=True
        )
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        replay = await second.replays.get("k")
        assert replay is not None
        assert replay.state == "promoted"
        assert cents(live) == before
        await second.catch_up()
        assert cents(live) == {id_: 10 * number for id_, number in before.items()}


@pytest.mark.covers("ZDT-2", "ZDT-13")
async def test_what_a_process_without_the_read_model_left_is_not_taken_for_a_copy(
    store_url: str, valkey_url: str, names: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It says what it cannot remove; a later replay of that key removes it, and begins with nothing."""
    app, live = make_app(store_url, valkey_url, name=names)
    migrated(app)
    async with app, App("shop", streams="memory://", store=store_url) as other:
        await app.store().append(payments(30))
        await app.catch_up()
        before = cents(live)
        await app.replays.create("again", ["balances"])
        await app.replays.start("again")
        await other.replays.remove("again")
        assert "the copy of projection 'balances' at 'again-" in caplog.text
        left = {key.split(":")[1].rstrip("#") for key in keys(live) if ":again-" in key}
        await app.replays.create("again", ["balances"])
        await app.replays.start("again")
        copied = {key.split(":")[1].rstrip("#") for key in keys(live) if ":again-" in key}
        assert (len(left), len(copied), left & copied) == (1, 1, set())
        await app.replays.promote("again", force=True, reason="a test")
        assert cents(live) == before
        await app.replays.remove("again")


def test_what_cannot_be_added_to_is_named_and_changes_nothing(valkey_url: str, names: str) -> None:
    """Else it would be left out when the page is tried again, or be counted twice."""

    class Mine(HashReadModel, name=names, url=valkey_url):
        pass

    work: Any = None

    def page(*texts: str) -> None:
        model = Mine(work)
        model.position = 7
        model.increment("ann", cents=5)
        for text in texts:
            model.put("ann", note=text)
        model.increment("ann", note=1)
        model.persist()

    for _ in range(2):
        with pytest.raises(redis.ResponseError, match="row ann: field note is what, no whole number"):
            page("what")
        assert Mine.get("ann") is None
    page("what", "3")
    assert Mine.get("ann") == {"cents": "5", "note": "4"}
    page("what", "3")
    assert Mine.get("ann") == {"cents": "5", "note": "4"}


async def test_a_late_pointer_does_not_lead_back(valkey_url: str, names: str) -> None:
    """One that was told of a switch before the last does nothing."""

    class Mine(HashReadModel, name=names, url=valkey_url):
        pass

    def promoted(place: str, switches: int) -> None:
        work: Any = None
        model = Mine(work).use_connection(place)
        model.switches = switches
        model.promote()

    promoted("second", 2)
    promoted("first", 1)
    assert Mine.client().hget(f"{{{names}}}", "place") == "second"


async def test_a_generation_without_a_place_is_refused(store_url: str, valkey_url: str, names: str) -> None:
    """A copy that no replay has made would be written over what is live; so nothing is written."""
    app, live = make_app(store_url, valkey_url, name=names)
    migrated(app)
    async with app:
        [supervised] = await app.supervised_projections(["balances"])
        database = app.store().database
        connection = database.connect()
        await app.store().append(payments(1))
        [event] = [each async for each in app.store().read()]
        page = supervised.handlers.begin(connection, state=None, generation="nowhere")
        try:
            with pytest.raises(ConfigurationError, match="'nowhere' has no place"):
                page.handle(event)
        finally:
            page.discard()
            connection.close()
        assert keys(live) == []


def test_names_that_would_mean_other_keys_are_refused() -> None:
    """Braces in the name, none at all, and the field that is ours."""
    with pytest.raises(ConfigurationError, match="braces"):
        type("Bad", (HashReadModel,), {}, name="a{b")
    work: Any = None
    with pytest.raises(ConfigurationError, match="has no name"):
        type("Nameless", (HashReadModel,), {})(work)
    with pytest.raises(ConfigurationError, match="its own"):
        type("Named", (HashReadModel,), {}, name="a")(work).put("row", **{"#": 1})
