"""`ValueStoreContract`: texts, counters and hashes by key, with lives, kept apart by space."""

from datetime import timedelta

import pytest

from penstock.errors import UsageError
from penstock.streams.abc import StreamBroker
from penstock.testing.contracts._common import AGES, MOMENT, NAMES, Contract, PassTime

__all__ = ["ValueStoreContract"]


class ValueStoreContract(Contract):
    """What every `ValueStore` guarantees. Inherit it and supply the ``broker`` fixture, as for the broker's."""

    @pytest.mark.covers("READ-7")
    async def test_a_text_is_kept_as_it_is(self, broker: StreamBroker) -> None:
        """Empty and binary ones too; nothing is ``None``."""
        for value in (b"one", b"", b"\x00\xff", "日本".encode()):
            assert await broker.values.set("carts", "k", value)
            assert await broker.values.get("carts", "k") == value
        assert await broker.values.get("carts", "other") is None

    @pytest.mark.parametrize("name", NAMES)
    async def test_spaces_and_keys_have_any_name(self, broker: StreamBroker, name: str) -> None:
        """And do not meet one another, nor a stream of that name."""
        await broker.values.set(name, name, b"1")
        await broker.values.set(name, "k", b"2")
        await broker.values.set("k", name, b"3")
        assert await broker.values.get(name, name) == b"1"
        assert await broker.values.get("k", name) == b"3"
        assert await broker.streams() == []

    async def test_what_is_there_is_not_set_again_if_absent_is_asked_for(self, broker: StreamBroker) -> None:
        """The first one wins."""
        assert await broker.values.set("carts", "k", b"first", if_absent=True)
        assert not await broker.values.set("carts", "k", b"second", if_absent=True)
        assert await broker.values.get("carts", "k") == b"first"
        await broker.values.hash_set("carts", "h", {"f": b"1"})
        assert not await broker.values.set("carts", "h", b"text", if_absent=True)

    @pytest.mark.covers("READ-7")
    async def test_a_counter_begins_at_0_and_goes_both_ways(self, broker: StreamBroker) -> None:
        """Within 64 bits, and not beyond."""
        assert [await broker.values.incr("c", "k", by) for by in (1, 41, -50)] == [1, 42, -8]
        assert await broker.values.get("c", "k") == b"-8"
        await broker.values.set("c", "big", b"9223372036854775807")
        with pytest.raises(UsageError, match="64 bits"):
            await broker.values.incr("c", "big", 1)
        assert await broker.values.get("c", "big") == b"9223372036854775807"

    @pytest.mark.parametrize("value", [b"x", b"", b"1.5", b" 1", b"01", b"9223372036854775808"])
    async def test_what_is_no_number_is_not_counted(self, broker: StreamBroker, value: bytes) -> None:
        """It stays as it was."""
        await broker.values.set("c", "k", value)
        with pytest.raises(UsageError):
            await broker.values.incr("c", "k", 1)
        assert await broker.values.get("c", "k") == value

    @pytest.mark.covers("READ-7")
    async def test_a_hash_has_fields(self, broker: StreamBroker) -> None:
        """Set together, read together or one by one, counted, removed; the last one takes the key along."""
        values = broker.values
        assert await values.hash_all("carts", "h") == {}
        assert await values.hash_set("carts", "h", {"a": b"1", "ключ": b"\xff"}) == 2
        assert await values.hash_set("carts", "h", {"a": b"2", "b": b""}) == 1
        assert await values.hash_set("carts", "h", {}) == 0
        assert await values.hash_get("carts", "h", ["b", "x", "a"]) == [b"", None, b"2"]
        assert await values.hash_incr("carts", "h", "a", -5) == -3
        assert await values.hash_incr("carts", "h", "n", 7) == 7
        assert await values.hash_all("carts", "h") == {"a": b"-3", "ключ": b"\xff", "b": b"", "n": b"7"}
        with pytest.raises(UsageError):
            await values.hash_incr("carts", "h", "ключ", 1)
        assert await values.hash_delete("carts", "h", ["a", "b", "x", "n"]) == 3
        assert await values.hash_delete("carts", "h", ["ключ"]) == 1
        assert await values.delete("carts", ["h"]) == 0

    async def test_a_key_is_one_kind_at_a_time(self, broker: StreamBroker) -> None:
        """Used as the other it is refused; deleted, it may become it; setting a text replaces anything."""
        values = broker.values
        await values.set("carts", "k", b"1")
        for wrong in (values.hash_all("carts", "k"), values.hash_set("carts", "k", {"f": b"1"})):
            with pytest.raises(UsageError, match="another kind"):
                await wrong
        await values.hash_set("carts", "h", {"f": b"1"})
        for counting in (values.get("carts", "h"), values.incr("carts", "h", 1)):
            with pytest.raises(UsageError, match="another kind"):
                await counting
        assert await values.set("carts", "h", b"text")
        assert await values.delete("carts", ["k", "h", "x"]) == 2
        assert await values.delete("carts", []) == 0

    @pytest.mark.covers("READ-7")
    async def test_a_life_ends(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """What had one is gone, and what is set or counted afterwards begins anew."""
        values = broker.values
        await values.set("carts", "k", b"5", life=MOMENT)
        await values.hash_set("carts", "h", {"f": b"1"})
        assert await values.expire("carts", "h", MOMENT)
        await values.set("carts", "kept", b"1", life=MOMENT)
        assert await values.expire("carts", "kept", None)
        await values.set("carts", "anew", b"1", life=MOMENT)
        await values.set("carts", "anew", b"2")
        await pass_time(2 * MOMENT)
        assert await values.get("carts", "k") is None
        assert await values.hash_all("carts", "h") == {}
        assert await values.get("carts", "kept") == b"1"
        assert await values.get("carts", "anew") == b"2"
        assert await values.incr("carts", "k", 1) == 1
        assert not await values.expire("carts", "h", AGES)
        assert not await values.expire("carts", "h", None)

    async def test_counting_keeps_the_life(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """A counter for a while ends when it was to end."""
        await broker.values.set("carts", "k", b"5", life=MOMENT)
        await broker.values.incr("carts", "k", 1)
        await pass_time(2 * MOMENT)
        assert await broker.values.get("carts", "k") is None

    async def test_a_space_without_a_name_is_refused(self, broker: StreamBroker) -> None:
        """So is text that cannot be written."""
        with pytest.raises(UsageError):
            await broker.values.get("", "k")
        with pytest.raises(UsageError):
            await broker.values.set("carts", "\ud800", b"", life=timedelta(seconds=1))
