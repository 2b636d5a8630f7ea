"""`LeaseStoreContract`, `MemberStoreContract`: one holder at a time, fences that only grow, and who is there."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from penstock.errors import UsageError
from penstock.streams.abc import Lease, LeaseInfo, Member, StreamBroker
from penstock.testing.contracts._common import AGES, MOMENT, NAMES, Contract, PassTime, add

__all__ = ["LeaseStoreContract", "MemberStoreContract", "take"]

_MS = timedelta(milliseconds=1)
_US = timedelta(microseconds=1)


async def take(
    broker: StreamBroker,
    name: str = "housekeeping",
    *,
    token: str = "ann",
    life: timedelta = AGES,
    stream: str | None = None,
) -> Lease:
    """A lease that is free."""
    taken = await broker.leases.acquire(name, token=token, description=f"{token}'s", life=life, stream=stream)
    assert isinstance(taken, Lease), f"{name} is held: {taken}"
    return taken


class LeaseStoreContract(Contract):
    """What every `LeaseStore` guarantees. Inherit it and supply the ``broker`` fixture, as for the broker's."""

    @pytest.fixture(params=[None, "orders"], ids=["free", "of a stream"])
    def stream(self, request: pytest.FixtureRequest) -> str | None:
        """A lease belongs to a stream, or to none."""
        name: str | None = request.param
        return name

    # -- one holder -----------------------------------------------------------------------------------------------

    @pytest.mark.covers("GROUP-5")
    async def test_a_held_lease_is_refused_to_others(self, broker: StreamBroker, stream: str | None) -> None:
        """Who comes second learns who is first, under which fence, and for how long."""
        first = await take(broker, stream=stream)
        second = await broker.leases.acquire(
            "housekeeping", token="bob", description="bob's", life=AGES, stream=stream
        )

        assert isinstance(second, LeaseInfo)
        assert (second.name, second.stream, second.token) == ("housekeeping", stream, "ann")
        assert (second.description, second.fence) == ("ann's", first.fence)
        assert AGES - timedelta(minutes=1) < second.remaining <= AGES
        held = await broker.leases.look("housekeeping", stream=stream)
        assert held is not None
        assert replace(held, remaining=second.remaining) == second

    async def test_of_many_that_come_at_once_one_has_it(
        self, broker: StreamBroker, stream: str | None
    ) -> None:
        """Twenty ask at the same time; nineteen learn of the one."""
        answers = await asyncio.gather(
            *(
                broker.leases.acquire("one", token=str(number), description="", life=AGES, stream=stream)
                for number in range(20)
            )
        )

        [taken] = [answer for answer in answers if isinstance(answer, Lease)]
        assert {answer.token for answer in answers} == {taken.token}

    async def test_asking_again_is_safe(self, broker: StreamBroker, stream: str | None) -> None:
        """After an unknown outcome the same token gets the lease that it has, for a new life."""
        first = await take(broker, life=timedelta(seconds=20), stream=stream)
        again = await take(broker, life=AGES, stream=stream)

        assert again == first
        held = await broker.leases.look("housekeeping", stream=stream)
        assert held is not None
        assert held.remaining > timedelta(minutes=1)

    async def test_names_are_apart(self, broker: StreamBroker) -> None:
        """A name without a stream, and the same name of two streams, are three leases."""
        taken = [await take(broker, stream=stream) for stream in (None, "orders", "invoices")]

        assert [lease.stream for lease in taken] == [None, "orders", "invoices"]
        assert await broker.leases.release(taken[1])
        assert await broker.leases.look("housekeeping", stream="orders") is None
        assert await broker.leases.look("housekeeping", stream="invoices") is not None
        assert await broker.leases.look("housekeeping") is not None

    @pytest.mark.parametrize("name", NAMES)
    async def test_names_of_any_kind(self, broker: StreamBroker, name: str) -> None:
        """Leases, their streams, tokens and descriptions are named as one likes."""
        taken = await broker.leases.acquire(name, token=name, description=name, life=AGES, stream=name)
        free = await broker.leases.acquire(name, token=name, description=name, life=AGES)

        assert isinstance(taken, Lease)
        assert isinstance(free, Lease)
        [listed] = await broker.leases.leases(name)
        assert (listed.name, listed.stream, listed.token, listed.description) == (name, name, name, name)
        assert await broker.leases.renew(free, life=AGES)
        assert await broker.leases.release(free)
        assert await broker.leases.release(taken)

    # -- running out ----------------------------------------------------------------------------------------------

    @pytest.mark.covers("GROUP-5")
    async def test_a_lease_that_ran_out_is_free_and_its_owner_holds_nothing(
        self, broker: StreamBroker, pass_time: PassTime, stream: str | None
    ) -> None:
        """Whether or not somebody has taken it since, the former owner can neither renew nor release it."""
        former = await take(broker, life=MOMENT, stream=stream)
        await pass_time(MOMENT)

        assert await broker.leases.look("housekeeping", stream=stream) is None
        assert not await broker.leases.renew(former, life=AGES)
        assert not await broker.leases.release(former)
        present = await take(broker, token="bob", stream=stream)
        assert not await broker.leases.renew(former, life=AGES)
        assert not await broker.leases.release(former)
        held = await broker.leases.look("housekeeping", stream=stream)
        assert held is not None
        assert (held.token, held.fence) == ("bob", present.fence)

    async def test_renewing_keeps_it(
        self, broker: StreamBroker, pass_time: PassTime, stream: str | None
    ) -> None:
        """A lease renewed in time outlives its first life many times over, under one fence."""
        lease = await take(broker, life=10 * MOMENT, stream=stream)
        for _ in range(8):
            await pass_time(2 * MOMENT)
            assert await broker.leases.renew(lease, life=10 * MOMENT)

        held = await broker.leases.look("housekeeping", stream=stream)
        assert held is not None
        assert held.fence == lease.fence

    async def test_a_renewal_may_shorten_a_life(
        self, broker: StreamBroker, pass_time: PassTime, stream: str | None
    ) -> None:
        """The life counts from the renewal, whatever was left."""
        lease = await take(broker, stream=stream)
        assert await broker.leases.renew(lease, life=MOMENT)
        await pass_time(MOMENT)

        assert await broker.leases.look("housekeeping", stream=stream) is None

    # -- giving up, taking away -----------------------------------------------------------------------------------

    @pytest.mark.covers("GROUP-17")
    async def test_only_the_owner_releases(self, broker: StreamBroker, stream: str | None) -> None:
        """Another token, or the right token under another fence, releases nothing."""
        lease = await take(broker, stream=stream)

        assert not await broker.leases.release(Lease(lease.name, "bob", lease.fence, stream))
        assert not await broker.leases.release(Lease(lease.name, lease.token, lease.fence - 1, stream))
        assert not await broker.leases.renew(
            Lease(lease.name, lease.token, lease.fence + 1, stream), life=AGES
        )
        assert await broker.leases.look("housekeeping", stream=stream) is not None
        assert await broker.leases.release(lease)
        assert await broker.leases.look("housekeeping", stream=stream) is None
        assert not await broker.leases.release(lease)

    async def test_a_revoked_lease_is_lost(self, broker: StreamBroker, stream: str | None) -> None:
        """A person takes it away: its owner holds nothing from then on, and another may have it at once."""
        lease = await take(broker, stream=stream)

        assert await broker.leases.revoke("housekeeping", stream=stream)
        assert not await broker.leases.revoke("housekeeping", stream=stream)
        assert not await broker.leases.renew(lease, life=AGES)
        assert (await take(broker, token="bob", stream=stream)).fence > lease.fence

    async def test_what_nobody_held_is_not_revoked(
        self, broker: StreamBroker, pass_time: PassTime, stream: str | None
    ) -> None:
        """Neither a name never heard of nor a lease that has run out."""
        assert not await broker.leases.revoke("housekeeping", stream=stream)
        await take(broker, life=MOMENT, stream=stream)
        await pass_time(MOMENT)
        assert not await broker.leases.revoke("housekeeping", stream=stream)

    # -- fences ---------------------------------------------------------------------------------------------------

    @pytest.mark.covers("GROUP-5")
    async def test_the_fence_grows_from_owner_to_owner(
        self, broker: StreamBroker, pass_time: PassTime, stream: str | None
    ) -> None:
        """However a lease ended, the next owner's fence is higher, the same token's too."""
        fences = [(await take(broker, life=MOMENT, stream=stream)).fence]
        await pass_time(MOMENT)
        for token in ("ann", "bob", "bob", "ann"):
            lease = await take(broker, token=token, stream=stream)
            fences.append(lease.fence)
            assert await broker.leases.release(lease)

        assert sorted(set(fences)) == fences

    async def test_the_fence_is_the_servers_time(self, broker: StreamBroker) -> None:
        """In microseconds, so that it also grows where everything about a lease was forgotten."""
        before = await broker.server_time_us()
        lease = await take(broker)
        assert before <= lease.fence <= await broker.server_time_us()

    # -- a stream's leases ----------------------------------------------------------------------------------------

    async def test_the_held_leases_of_a_stream(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """By name, without those that have run out, were released or belong elsewhere."""
        for name in ("ordered:b", "ordered:a", "ordered:c"):
            await take(broker, name, stream="orders")
        await take(broker, "ordered:d", stream="invoices")
        await take(broker, "ordered:e")
        await take(broker, "ordered:f", life=MOMENT, stream="orders")
        released = await take(broker, "ordered:g", stream="orders")
        await broker.leases.release(released)
        await pass_time(MOMENT)

        listed = await broker.leases.leases("orders")
        assert [info.name for info in listed] == ["ordered:a", "ordered:b", "ordered:c"]
        assert {info.stream for info in listed} == {"orders"}
        assert await broker.leases.leases("nothing here") == []

    async def test_a_deleted_stream_has_no_leases(self, broker: StreamBroker) -> None:
        """Its leases go with it, and count as lost; those of other streams and of none stay."""
        await add(broker, "orders", 1)
        lease = await take(broker, stream="orders")
        free = await take(broker)
        await broker.delete_stream("orders")

        assert await broker.leases.leases("orders") == []
        assert not await broker.leases.renew(lease, life=AGES)
        assert await broker.leases.renew(free, life=AGES)
        assert (await take(broker, token="bob", stream="orders")).fence > lease.fence

    # -- refusals -------------------------------------------------------------------------------------------------

    @pytest.mark.covers("GROUP-17")
    async def test_what_cannot_be_held_is_refused(self, broker: StreamBroker, stream: str | None) -> None:
        """A life below a millisecond, a name or a token of nothing; and nothing is taken."""
        for life in (timedelta(0), -_MS, 999 * _US):
            with pytest.raises(UsageError, match="millisecond"):
                await take(broker, life=life, stream=stream)
        with pytest.raises(UsageError, match="name"):
            await take(broker, "", stream=stream)
        with pytest.raises(UsageError, match="token"):
            await take(broker, token="", stream=stream)

        assert await broker.leases.look("housekeeping", stream=stream) is None
        lease = await take(broker, stream=stream)
        with pytest.raises(UsageError, match="millisecond"):
            await broker.leases.renew(lease, life=timedelta(0))
        assert await broker.leases.look("housekeeping", stream=stream) is not None


class MemberStoreContract(Contract):
    """What every `MemberStore` guarantees. Inherit it and supply the ``broker`` fixture, as for the broker's."""

    async def test_members_see_each_other(self, broker: StreamBroker) -> None:
        """Joining answers who is there, ourselves included, by token; joining again renews and describes anew."""
        assert await broker.members.members("orders", "billing") == []
        assert await self._join(broker, "bob") == [Member("bob", "bob's")]
        assert await self._join(broker, "ann") == [Member("ann", "ann's"), Member("bob", "bob's")]
        again = await broker.members.join("orders", "billing", token="ann", description="new", life=AGES)

        assert again == [Member("ann", "new"), Member("bob", "bob's")]
        assert await broker.members.members("orders", "billing") == again

    async def test_who_is_silent_is_gone(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """A member that does not renew is none when its life has run out, for those that look and those that join."""
        await self._join(broker, "ann", life=MOMENT)
        await self._join(broker, "bob")
        await pass_time(MOMENT)

        assert await broker.members.members("orders", "billing") == [Member("bob", "bob's")]
        assert not await broker.members.leave("orders", "billing", token="ann")
        assert [member.token for member in await self._join(broker, "cid")] == ["bob", "cid"]

    async def test_a_long_life_is_not_cut_short_by_another(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """Each has its own."""
        await self._join(broker, "ann")
        await self._join(broker, "bob", life=MOMENT)
        await pass_time(MOMENT)

        assert await broker.members.members("orders", "billing") == [Member("ann", "ann's")]

    async def test_leaving(self, broker: StreamBroker) -> None:
        """Who leaves is gone at once; who was not there has not left."""
        await self._join(broker, "ann")

        assert await broker.members.leave("orders", "billing", token="ann")
        assert not await broker.members.leave("orders", "billing", token="ann")
        assert await broker.members.members("orders", "billing") == []

    async def test_groups_and_streams_are_apart(self, broker: StreamBroker) -> None:
        """Members of one group of one stream, and no others; names may hold anything."""
        places = [(stream, group) for stream in NAMES[:4] for group in (*NAMES, "a", "a:b")]
        for stream, group in places:
            await broker.members.join(
                stream, group, token=f"{stream} {group}:b", description=group, life=AGES
            )

        for stream, group in places:
            expected = [Member(f"{stream} {group}:b", group)]
            assert await broker.members.members(stream, group) == expected

    async def test_a_deleted_stream_has_no_members(self, broker: StreamBroker) -> None:
        """They go with it."""
        await add(broker, "orders", 1)
        await self._join(broker, "ann")
        await broker.delete_stream("orders")

        assert await broker.members.members("orders", "billing") == []

    async def test_what_cannot_be_a_member_is_refused(self, broker: StreamBroker) -> None:
        """A life below a millisecond, and a token of nothing."""
        with pytest.raises(UsageError, match="millisecond"):
            await self._join(broker, "ann", life=timedelta(0))
        with pytest.raises(UsageError, match="token"):
            await self._join(broker, "")

    async def _join(self, broker: StreamBroker, token: str, life: timedelta = AGES) -> list[Member]:
        return await broker.members.join(
            "orders", "billing", token=token, description=f"{token}'s", life=life
        )
