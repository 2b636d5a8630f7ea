"""Small values of an app: texts in, texts out, apart by name, shard and pool."""

from datetime import timedelta
from typing import Any

import pytest

from penstock import App
from penstock.errors import ConfigurationError, UsageError
from penstock.streams.memory import MemoryBroker
from penstock.testing import AppTester, ManualClock


@pytest.mark.covers("READ-7")
async def test_values_are_texts_counters_and_hashes(shop: AppTester) -> None:
    """Numbers are kept as digits, unicode as it is."""
    values = shop.app.values("carts")
    assert await values.set("k", "日本")
    assert await values.get("k") == "日本"
    assert not await values.set("k", 1, if_absent=True)
    assert await values.incr("n", 5) == 5
    assert await values.decr("n") == 4
    assert await values.get("n") == "4"
    assert await values.hash_set("h", {"a": 1, "b": "x"}) == 2
    assert await values.hash_incr("h", "a", 2) == 3
    assert (await values.hash_get("h", "a"), await values.hash_get("h", "c")) == ("3", None)
    assert await values.hash_all("h") == {"a": "3", "b": "x"}
    assert await values.hash_delete("h", "a", "c") == 1
    assert await values.delete("k", "n", "x") == 2


async def test_values_end_with_their_life(app: App) -> None:
    """By the clock of the server."""
    clock = ManualClock()
    shop = AppTester(app, MemoryBroker(clock=clock), clock)
    async with shop:
        await _live_and_end(shop, clock)


async def _live_and_end(shop: AppTester, clock: ManualClock) -> None:
    values = shop.app.values("carts")
    await values.set("k", "1", life="1 minute")
    await values.set("j", "1")
    await values.expire("j", timedelta(minutes=2))
    await clock.advance(timedelta(minutes=1))
    assert (await values.get("k"), await values.get("j")) == (None, "1")


async def test_names_and_shards_keep_values_apart(shop: AppTester) -> None:
    """The same key in three places is three values."""
    places = [shop.app.values("carts"), shop.app.values("carts", shard="eu"), shop.app.values("stock")]
    for number, values in enumerate(places):
        await values.set("k", number)
    assert [await values.get("k") for values in places] == ["0", "1", "2"]


@pytest.mark.parametrize("value", [None, 1.5, True, b"bytes", ["list"]])
async def test_other_values_are_refused(shop: AppTester, value: Any) -> None:
    """The error says what to keep instead; nothing is set."""
    values = shop.app.values("carts")
    with pytest.raises(UsageError, match="JSON text"):
        await values.set("k", value)
    with pytest.raises(UsageError, match="JSON text"):
        await values.hash_set("h", {"f": value})
    assert await values.get("k") is None


async def test_what_cannot_be_is_refused(app: App) -> None:
    """No name, no life, no such pool."""
    with pytest.raises(UsageError):
        app.values("")
    with pytest.raises(UsageError):
        app.values("carts", shard="")
    async with app:
        with pytest.raises(UsageError, match="life"):
            await app.values("carts").set("k", "1", life=timedelta(0))
        with pytest.raises(ConfigurationError, match="no pool 'x'"):
            await app.values("carts", pool="x").get("k")


def test_synchronous_code_has_the_same_values(app: App) -> None:
    """Every method is there, and means the same."""
    with app.sync:
        values = app.sync.values("carts", shard="eu")
        assert values.set("k", "v", if_absent=True)
        assert (values.get("k"), values.incr("n", 3), values.decr("n")) == ("v", 3, 2)
        assert values.expire("n", "1 hour")
        assert values.hash_set("h", {"a": 1}) == 1
        assert (values.hash_incr("h", "a"), values.hash_get("h", "a")) == (2, "2")
        assert values.hash_all("h") == {"a": "2"}
        assert (values.hash_delete("h", "a"), values.delete("k", "n")) == (1, 2)
