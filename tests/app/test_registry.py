"""The registry at work: strict and open mode, everything wrong told before a start, groups over several servers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal
from uuid import uuid4

import pytest

from penstock import App, Event
from penstock.errors import InvalidSettingsError, UnregisteredGroupError, UnregisteredStreamError
from penstock.operations import Operations
from penstock.position import BEGINNING
from penstock.streams.embedded import use_server
from penstock.streams.valkey import ValkeyBroker


class Paid(Event, name="paid"):
    """An order was paid."""

    order: int


class Sent(Event, name="sent"):
    """An order was sent."""

    order: int


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Two servers."""
    with (
        use_server(tmp_path_factory.mktemp("near")) as near,
        use_server(tmp_path_factory.mktemp("far")) as far,
    ):
        yield near.url, far.url


@pytest.fixture(autouse=True)
def _settings_from_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def two_pools(
    servers: tuple[str, str], mode: Literal["parallel", "exclusive", "keyed"]
) -> tuple[App, list[str]]:
    """An app with one group over a stream on each server, and what it handled."""
    handled: list[str] = []
    app = App("shop", streams=servers[0], namespace=uuid4().hex, pools={"far": {"url": servers[1]}})
    app.stream("paid", groups=["ledger"])
    app.stream("sent", pool="far", groups=["ledger"])
    ledger = app.group("ledger", mode=mode)

    @ledger.on(Paid)
    async def book_paid(event: Paid) -> None:
        handled.append(f"paid {event.order}")

    @ledger.on(Sent)
    async def book_sent(event: Sent) -> None:
        handled.append(f"sent {event.order}")

    return app, handled


@pytest.mark.covers("CONF-8", "CONF-1")
@pytest.mark.parametrize("mode", ["parallel", "exclusive", "keyed"])
async def test_a_group_over_two_servers_is_one_group_on_each(
    servers: tuple[str, str], mode: Literal["parallel", "exclusive", "keyed"]
) -> None:
    """Every event is handled once, each server is asked for its own streams, and the group of each has caught up."""
    app, handled = two_pools(servers, mode)
    async with app:
        await app.emit_many([Paid(order=1), Sent(order=2), Paid(order=3)])
        await app.run(until_idle=True)
        assert sorted(handled) == ["paid 1", "paid 3", "sent 2"]
        groups = {
            (each.pool, each.stream, each.name, each.lag_entries) for each in await Operations(app).groups()
        }
        assert groups == {("default", "paid", "ledger", 0), ("far", "sent", "ledger", 0)}
        namespace = app.settings.namespace
    for url, own, other in ((servers[0], "paid", "sent"), (servers[1], "sent", "paid")):
        broker = ValkeyBroker(url, namespace=namespace)
        await broker.open()
        assert await broker.streams() == [own]
        assert await broker.length(other) == 0
        await broker.close()


@pytest.mark.covers("CONF-4")
async def test_strict_mode_tells_every_stream_and_group_that_is_not_registered_at_once() -> None:
    """Names, nearest ones, and a remedy for each; nothing was started, and nothing is there."""
    app = App("shop", streams="memory://", strict=True)
    app.stream("payed", groups=["ledgr"])
    app.stream("sent", groups=["ledgr"])

    @app.listener(Paid, Sent, group="ledger")
    async def book(event: Paid | Sent) -> None:
        raise AssertionError(event)

    async with app:
        with pytest.raises(InvalidSettingsError) as caught:
            await app.run(until_idle=True)
        assert caught.value.problems == (
            "stream 'paid' is not registered (did you mean 'payed'?); declare it, or switch strict mode off",
            "consumer group 'ledger' is not registered for stream 'sent' (did you mean 'ledgr'?); "
            "add it to the stream's groups, or declare the stream without a list of groups",
        )
        [broker] = (await app.brokers()).values()
        assert await broker.streams() == []


@pytest.mark.covers("CONF-4")
async def test_a_single_thing_that_is_not_registered_has_an_error_of_its_own() -> None:
    """By its type a caller knows what to declare; a reader and a broadcast listener are held to it like a group."""
    app = App("shop", streams="memory://", strict=True)
    app.stream("sent", groups=["ledger"])

    @app.listener(Paid, broadcast=True)
    async def look(event: Paid) -> None:
        raise AssertionError(event)

    async with app:
        with pytest.raises(UnregisteredStreamError) as stream:
            await app.run(until_idle=True)
        assert stream.value.stream == "paid"
        with pytest.raises(UnregisteredStreamError):
            await app.reader("paid", start=BEGINNING)
        with pytest.raises(UnregisteredStreamError):
            await app.emit_many([Sent(order=1), Paid(order=2)])
        [broker] = (await app.brokers()).values()
        assert await broker.streams() == []

    app = App("shop", streams="memory://")
    app.stream("sent", groups=["ledger"])
    app.group("mail", streams=["sent"]).on(Sent)(look)
    async with app:
        with pytest.raises(UnregisteredGroupError) as group:
            await app.run(until_idle=True)
        assert (group.value.group, group.value.stream) == ("mail", "sent")


@pytest.mark.covers("CONF-4")
async def test_in_open_mode_the_stream_of_an_event_is_its_name_whatever_is_registered() -> None:
    """Registering one stream does not close the door to others."""
    app = App("shop", streams="memory://")
    app.stream("sent", groups=["ledger"])
    async with app:
        assert (await app.emit(Paid(order=1))).stream == "paid"
        assert {each.name: each.length for each in await Operations(app).streams()} == {"paid": 1, "sent": 0}


@pytest.mark.covers("CONF-3")
def test_streams_declared_in_code_are_checked_with_all_the_rest(tmp_path: Path) -> None:
    """What code, file and the two together get wrong is told in one error."""
    (tmp_path / "penstock.toml").write_text('[stream.paid]\ngroups = []\n[pools.far]\nurl = "nowhere"\n')
    app = App("shop", streams="memory://")
    app.stream("sent", pool="farr", groups=["ledger"], max_entris=5)
    app.stream("packed", layout="laravel")
    with pytest.raises(InvalidSettingsError) as caught:
        _ = app.settings
    found = [each.removeprefix(f"{tmp_path}/") for each in caught.value.problems]
    assert [each.partition("; ")[0] for each in found] == [
        "code: stream.sent.max_entris: there is no such setting",
        "penstock.toml, line 2: stream.paid.groups: the list is empty",
        "penstock.toml, line 4: pools.far.url: 'nowhere' is no URL of a server",
        "code: stream.sent.pool: stream 'sent' is in pool 'farr', which is declared nowhere",
        "code: stream.packed.layout: there is no layout 'laravel'",
    ]


@pytest.mark.covers("CONF-5", "CONF-3")
def test_what_a_file_says_of_a_stream_goes_before_code(tmp_path: Path) -> None:
    """Key by key, as everywhere."""
    (tmp_path / "penstock.toml").write_text('[stream.paid]\nlayout = "beeorm"\n')
    app = App("shop", streams="memory://")
    app.stream("paid", groups=["ledger"], layout="laravel-streamer")
    declared = app.settings.stream_settings["paid"]
    assert (declared.layout, declared.groups) == ("beeorm", ("ledger",))
