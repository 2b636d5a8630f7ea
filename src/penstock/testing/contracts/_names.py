"""Consumer names: held by one process at a time, for a while."""

import asyncio

import pytest

from penstock.streams.abc import Holder, StreamBroker
from penstock.testing.contracts._common import AGES, MOMENT, NAMES, Contract, PassTime

__all__ = ["NamesContract"]


class NamesContract(Contract):
    """A name has one holder, until it is given back or its life ends."""

    @staticmethod
    async def _hold(broker: StreamBroker, token: str, **more: str) -> Holder:
        return await broker.hold_name(
            "billing", "ann", token=token, description=f"host {token}", life=AGES, **more
        )

    @pytest.mark.covers("GROUP-3")
    async def test_a_free_name_is_taken(self, broker: StreamBroker) -> None:
        """The answer is who holds it now: us."""
        assert await self._hold(broker, "t1") == Holder("t1", "host t1")

    @pytest.mark.covers("GROUP-3")
    async def test_a_held_name_is_not_taken(self, broker: StreamBroker) -> None:
        """Whoever comes second is told who has it."""
        await self._hold(broker, "t1")

        assert await self._hold(broker, "t2") == Holder("t1", "host t1")
        assert await self._hold(broker, "t1") == Holder("t1", "host t1")

    @pytest.mark.parametrize("name", NAMES)
    async def test_names_do_not_mix(self, broker: StreamBroker, name: str) -> None:
        """Each group's each consumer is a name of its own."""
        pairs = [(name, "x"), ("x", name), (name, name), (f"{name}:x", "y"), (name, "x:y")]
        for number, (group, consumer) in enumerate(pairs):
            holder = await broker.hold_name(group, consumer, token=f"t{number}", description=name, life=AGES)
            assert holder == Holder(f"t{number}", name)

    async def test_one_of_many_gets_the_name(self, broker: StreamBroker) -> None:
        """Twenty processes start at once: all are told the same holder."""
        holders = await asyncio.gather(*(self._hold(broker, f"t{number}") for number in range(20)))

        assert len(set(holders)) == 1

    async def test_a_name_is_free_again_after_its_life(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """A holder that is gone holds it no longer than that."""
        await broker.hold_name("billing", "ann", token="t1", description="old", life=MOMENT)
        await pass_time(2 * MOMENT)

        assert await self._hold(broker, "t2") == Holder("t2", "host t2")
        assert await broker.free_name("billing", "ann", token="t1") is False

    async def test_holding_again_prolongs_the_life(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """Renewing counts from now."""
        await broker.hold_name("billing", "ann", token="t1", description="host t1", life=10 * MOMENT)
        await self._hold(broker, "t1")
        await pass_time(11 * MOMENT)

        assert await self._hold(broker, "t2") == Holder("t1", "host t1")

    @pytest.mark.covers("GROUP-3")
    async def test_a_name_given_back_is_free_at_once(self, broker: StreamBroker) -> None:
        """Only the token that holds it can give it back."""
        await self._hold(broker, "t1")

        assert await broker.free_name("billing", "ann", token="t2") is False
        assert await self._hold(broker, "t2") == Holder("t1", "host t1")
        assert await broker.free_name("billing", "ann", token="t1") is True
        assert await broker.free_name("billing", "ann", token="t1") is False
        assert await self._hold(broker, "t2") == Holder("t2", "host t2")

    async def test_a_dead_holder_is_replaced(self, broker: StreamBroker) -> None:
        """Whoever knows that one holder is dead takes the name from it, and from nobody else."""
        await self._hold(broker, "t1")

        assert await self._hold(broker, "t2", replace="t0") == Holder("t1", "host t1")
        assert await self._hold(broker, "t2", replace="t1") == Holder("t2", "host t2")
        assert await self._hold(broker, "t3", replace="t1") == Holder("t2", "host t2")

    async def test_a_free_name_needs_nobody_replaced(self, broker: StreamBroker) -> None:
        """When the dead holder's time was over anyhow, the name is simply taken."""
        assert await self._hold(broker, "t2", replace="t1") == Holder("t2", "host t2")
