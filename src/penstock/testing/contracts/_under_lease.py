"""Settling under a lease: only its owner's settling counts, to the last detail."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from penstock.errors import UsageError
from penstock.position import EntryId
from penstock.streams.abc import FailureState, Lane, Lease, Parked, RawId, Settled, StreamBroker
from penstock.testing.contracts._common import AGES, MOMENT, NAMES, Contract, PassTime, deliver
from penstock.testing.contracts._failing import AGAIN
from penstock.testing.contracts._in_lanes import CHARGE, NOTIFY, filled, open_lane, parked_ids, payload
from penstock.testing.contracts.leases import take

__all__ = ["UnderLeaseContract"]

Settling = Callable[[StreamBroker, Lane, RawId], Awaitable[Any]]


async def _acknowledge(broker: StreamBroker, lane: Lane, entry_id: RawId) -> Any:
    return await broker.lanes.acknowledge(lane, [entry_id])


async def _settle(broker: StreamBroker, lane: Lane, entry_id: RawId) -> Any:
    return await broker.lanes.settle(lane, entry_id, payload(1), [CHARGE])


async def _begin_alone(broker: StreamBroker, lane: Lane, entry_id: RawId) -> Any:
    return await broker.lanes.begin_alone(lane, entry_id)


async def _park(broker: StreamBroker, lane: Lane, entry_id: RawId) -> Any:
    return await broker.lanes.park(lane, "other", entry_id, payload(1), [CHARGE])


async def _join(broker: StreamBroker, lane: Lane, entry_id: RawId) -> Any:
    return await broker.lanes.join(lane, "k", entry_id, payload(1))


SETTLING: list[tuple[Settling, Any, Any]] = [
    (_acknowledge, 1, None),
    (_settle, Settled.DONE, Settled.NOT_YOURS),
    (_begin_alone, 1, None),
    (_park, Settled.DONE, Settled.NOT_YOURS),
    (_join, Parked.DONE, Parked.NOT_YOURS),
]
"""What settles a pending entry, what it answers, and what it answers to one whose lane it is not."""


async def _everything(broker: StreamBroker) -> list[Any]:
    """All that settling in these tests could change."""
    return [
        await broker.pending("orders", "billing"),
        [replace(record, fields=None) for record in await broker.failures.find("orders")],
        await broker.failures.tally("orders"),
        await broker.lanes.parked_keys("orders", "billing"),
        await broker.lanes.parked("orders", "billing", "k"),
        await broker.lanes.unparking("orders", "billing"),
    ]


class UnderLeaseContract(Contract):
    """Every script checks the lease, then the entry, then records, and acknowledges last."""

    # -- the owner ------------------------------------------------------------------------------------------------

    async def test_the_owner_acknowledges_in_order(self, broker: StreamBroker) -> None:
        """As many as were pending with it; what others hold, or nobody, is left alone."""
        lane = await open_lane(broker)
        added = await deliver(broker, 3)
        [foreign] = await deliver(broker, 1, consumer="bob")

        assert await broker.lanes.acknowledge(lane, [*added[:2], foreign, b"1-1"]) == 2
        assert await broker.lanes.acknowledge(lane, added) == 1
        assert await broker.lanes.acknowledge(lane, []) == 0
        assert [bytes(entry.entry_id) for entry in await broker.pending("orders", "billing")] == [foreign]

    async def test_the_owner_acknowledges_thousands(self, broker: StreamBroker) -> None:
        """However many there are."""
        lane = await open_lane(broker)
        added = await deliver(broker, 2500)

        assert await broker.lanes.acknowledge(lane, added) == 2500
        assert (await broker.pending_summary("orders", "billing")).count == 0

    async def test_the_owner_records_failures(self, broker: StreamBroker) -> None:
        """As `FailureStore.settle` does: the records, once the payload, and the entry is settled."""
        lane = await open_lane(broker)
        [entry_id] = await deliver(broker)

        assert await broker.lanes.settle(lane, entry_id, payload(1), [CHARGE, NOTIFY]) is Settled.DONE
        records = await broker.failures.find("orders")
        assert [(record.key.listener, record.state) for record in records] == [
            ("charge", FailureState.FAILED),
            ("notify", FailureState.FAILED),
        ]
        shown = await broker.failures.get(records[0].key)
        assert shown is not None
        assert shown.fields == payload(1)
        assert (await broker.pending_summary("orders", "billing")).count == 0
        assert await broker.lanes.settle(lane, entry_id, payload(1), [CHARGE]) is Settled.NOT_YOURS

    @pytest.mark.parametrize("settling", [_acknowledge, _settle, _park, _join])
    async def test_handlings_alone_are_counted_and_forgotten(
        self, broker: StreamBroker, settling: Settling
    ) -> None:
        """Until the entry is settled, however that is; then the count begins anew."""
        lane = await open_lane(broker)
        await filled(broker, lane)
        [entry_id] = await deliver(broker)
        assert [await broker.lanes.begin_alone(lane, entry_id) for _ in range(3)] == [1, 2, 3]
        assert await broker.begin_alone("orders", "billing", "ann", entry_id) == 4

        await settling(broker, lane, entry_id)
        assert await broker.lanes.begin_alone(lane, entry_id) is None
        await broker.move_group("orders", "billing", EntryId.parse(entry_id).previous())
        await broker.read_group("billing", "ann", ["orders"], count=10)
        assert await broker.lanes.begin_alone(lane, entry_id) == 1

    @pytest.mark.parametrize("name", NAMES)
    async def test_lanes_of_any_name(self, broker: StreamBroker, name: str) -> None:
        """Streams, groups, consumers, keys and listeners are named as one likes."""
        lane = await open_lane(broker, stream=name, group=name, consumer=name)
        failure = replace(CHARGE, listener=name)
        parked = await filled(broker, lane, key=name, behind=1, failures=[failure])

        assert await parked_ids(broker, lane, name) == parked
        assert [found.key for found in await broker.lanes.parked_keys(name, name)] == [name]
        assert await broker.lanes.unpark(name, name, name) == 2
        taken = await broker.lanes.take_parked(lane, name)
        assert taken is not None
        assert taken.listeners == (name,)
        assert await broker.lanes.finish_parked(lane, name, taken.entry_id) is Settled.DONE
        assert await broker.lanes.unparking(name, name) == [name]
        assert await broker.lanes.discard_parked(name, name, name) == 1
        assert await broker.lanes.parked_keys(name, name) == []

    # -- everybody else -------------------------------------------------------------------------------------------

    @pytest.mark.covers("GROUP-5")
    @pytest.mark.parametrize(("settling", "done", "refused"), SETTLING)
    @pytest.mark.parametrize("ending", ["expired", "taken", "released", "revoked"])
    async def test_a_former_owner_changes_nothing(
        self,
        broker: StreamBroker,
        pass_time: PassTime,
        settling: Settling,
        done: Any,
        refused: Any,
        ending: str,
    ) -> None:
        """However its lease has ended, its late settling has no effect; the present owner's has."""
        lane = await open_lane(broker, life=10 * MOMENT if ending in ("expired", "taken") else AGES)
        await filled(broker, lane)
        [entry_id] = await deliver(broker)
        match ending:
            case "released":
                await broker.leases.release(lane.lease)
            case "revoked":
                await broker.leases.revoke(lane.lease.name, stream="orders")
            case _:
                await pass_time(10 * MOMENT)
        if ending == "taken":
            await take(broker, lane.lease.name, token="bob", stream="orders")
        before = await _everything(broker)

        assert await settling(broker, lane, entry_id) == refused
        assert _but_idle(await _everything(broker)) == _but_idle(before)
        if ending != "taken":
            again = await open_lane(broker)
            assert await settling(broker, again, entry_id) == done

    @pytest.mark.parametrize(("settling", "done", "refused"), SETTLING)
    async def test_a_wrong_token_or_fence_changes_nothing(
        self, broker: StreamBroker, settling: Settling, done: Any, refused: Any
    ) -> None:
        """Both must be those of the lease."""
        lane = await open_lane(broker)
        await filled(broker, lane)
        [entry_id] = await deliver(broker)
        lease, before = lane.lease, await _everything(broker)
        for token, fence in (
            ("bob", lease.fence),
            (lease.token, lease.fence - 1),
            (lease.token, lease.fence + 1),
        ):
            former = replace(lane, lease=Lease(lease.name, token, fence, "orders"))
            assert await settling(broker, former, entry_id) == refused

        assert _but_idle(await _everything(broker)) == _but_idle(before)
        assert await settling(broker, lane, entry_id) == done

    @pytest.mark.parametrize(("settling", "done", "refused"), SETTLING)
    async def test_what_is_not_pending_with_the_owner_is_left_alone(
        self, broker: StreamBroker, settling: Settling, done: Any, refused: Any
    ) -> None:
        """Another's entry, one that is settled, one never delivered, one of a group that is gone."""
        lane = await open_lane(broker)
        await filled(broker, lane)
        [settled] = await deliver(broker)
        [foreign] = await deliver(broker, consumer="bob")
        await broker.acknowledge("orders", "billing", [settled])
        before = await _everything(broker)
        nothing = 0 if settling is _acknowledge else refused
        for entry_id in (settled, foreign, b"1-1"):
            assert await settling(broker, lane, entry_id) == nothing
        elsewhere = replace(await open_lane(broker, group="nobody"), group="nobody")
        assert await settling(broker, elsewhere, foreign) == nothing

        assert _but_idle(await _everything(broker)) == _but_idle(before)

    async def test_a_lease_of_another_place_is_refused(self, broker: StreamBroker) -> None:
        """A script can check only what lies beside its stream."""
        [entry_id] = await deliver(broker)
        for stream in (None, "invoices"):
            lease = await take(broker, stream=stream)
            lane = Lane("orders", "billing", "ann", lease)
            for settling, _, _ in SETTLING:
                with pytest.raises(UsageError, match="lease of"):
                    await settling(broker, lane, entry_id)

    async def test_failures_of_a_lane_are_final_or_parked(self, broker: StreamBroker) -> None:
        """Ordered groups retry in place: a failure with a due time, and no failure at all, are refused."""
        lane = await open_lane(broker)
        parked = await filled(broker, lane)
        [entry_id] = await deliver(broker)
        for failures in ([], [replace(AGAIN, due_in=timedelta(0))]):
            with pytest.raises(UsageError):
                await broker.lanes.settle(lane, entry_id, payload(1), failures)
            with pytest.raises(UsageError):
                await broker.lanes.park(lane, "k", entry_id, payload(1), failures)
            with pytest.raises(UsageError):
                await broker.lanes.fail_parked(lane, "k", EntryId.parse(parked[0]), failures)

        assert (await broker.pending_summary("orders", "billing")).count == 1


def _but_idle(everything: list[Any]) -> list[Any]:
    pending, *rest = everything
    return [[(entry.entry_id, entry.consumer, entry.delivery_count) for entry in pending], *rest]
