"""Looking at failure records, and removing them by hand."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from penstock.position import EntryId
from penstock.streams.abc import FailureKey, FailureRecord, FailureState, FailureStore, StreamBroker, Tally
from penstock.testing.contracts._common import AGES, MOMENT, PassTime
from penstock.testing.contracts._failing import AGAIN, FOR_GOOD, FailureContract, claim, fail

__all__ = ["RecordsContract"]

_NOTIFY = replace(FOR_GOOD, listener="notify")


def _keys(records: Sequence[FailureRecord]) -> list[FailureKey]:
    return [record.key for record in records]


class RecordsContract(FailureContract):
    """Records are found by what a person knows of them."""

    @pytest.mark.covers("FAIL-3")
    async def test_filters_combine(self, broker: StreamBroker, failures: FailureStore) -> None:
        """A record is found if it matches all that is given."""
        first = await fail(broker, AGAIN, _NOTIFY)
        second = await fail(broker, AGAIN)
        shipping = await fail(broker, FOR_GOOD, group="shipping")
        await fail(broker, AGAIN, stream="invoices")
        first_notify = replace(first, listener="notify")

        async def found(**filters: Any) -> set[FailureKey]:
            return set(_keys(await failures.find("orders", **filters)))

        assert await found() == {first, first_notify, second, shipping}
        assert await found(group="billing") == {first, first_notify, second}
        assert await found(state=FailureState.FAILED) == {first_notify, shipping}
        assert await found(state=FailureState.RETRYING) == {first, second}
        assert await found(entry_id=first.entry_id) == {first, first_notify}
        assert await found(listener="charge") == {first, second, shipping}
        assert await found(group="billing", listener="charge", entry_id=second.entry_id) == {second}
        assert await found(group="billing", state=FailureState.FAILED, listener="charge") == set()
        assert await found(group="nobody") == set()
        assert await found(entry_id=EntryId(1)) == set()

    @pytest.mark.covers("FAIL-2")
    async def test_records_come_in_the_order_of_their_last_failure(
        self, broker: StreamBroker, failures: FailureStore, pass_time: PassTime
    ) -> None:
        """Oldest first, over all groups; one that fails again moves to the end."""
        keys: list[FailureKey] = []
        for group in ("billing", "shipping", "billing"):
            keys.append(await fail(broker, AGAIN, group=group))
            await pass_time(MOMENT)
        assert _keys(await failures.find("orders")) == keys

        claimed = await claim(failures, keys[0])
        assert claimed is not None
        await failures.fail_retry(claimed, AGAIN)

        assert _keys(await failures.find("orders")) == [keys[1], keys[2], keys[0]]

    async def test_records_are_found_without_their_payload(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """A list of many stays small; everything else is as in the record itself."""
        key = await fail(broker, AGAIN)

        [found] = await failures.find("orders")
        record = await failures.get(key)

        assert record is not None
        assert found == replace(record, fields=None)

    @pytest.mark.parametrize("size", [1, 2, 7, 100])
    async def test_pages_are_complete_and_disjoint(
        self, broker: StreamBroker, failures: FailureStore, size: int
    ) -> None:
        """Each page goes on after the last record of the one before, equal times or not."""
        for number in range(4):
            await fail(broker, AGAIN, _NOTIFY, group="billing" if number % 2 else "shipping")

        seen: list[FailureKey] = []
        while page := await failures.find("orders", after=seen[-1] if seen else None, count=size):
            assert len(page) <= size
            seen += _keys(page)

        assert seen == _keys(await failures.find("orders"))
        assert len(set(seen)) == len(seen) == 8

    async def test_pages_go_on_after_a_record_that_is_gone(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Whoever deals with some of a page before asking for the next sees every record once all the same."""
        for _ in range(7):
            await fail(broker, AGAIN)

        seen: list[FailureKey] = []
        while page := await failures.find("orders", after=seen[-1] if seen else None, count=2):
            seen += _keys(page)
            assert await failures.delete(seen[-1]) is True

        assert len(set(seen)) == len(seen) == 7

    async def test_pages_of_a_filtered_list_hold_what_matches(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """The count is that of matching records, wherever they stand."""
        for _ in range(5):
            await fail(broker, AGAIN)
        last = replace(await fail(broker, AGAIN, _NOTIFY), listener="notify")

        assert _keys(await failures.find("orders", listener="notify", count=1)) == [last]
        assert _keys(await failures.find("orders", state=FailureState.FAILED, count=1)) == [last]
        assert await failures.find("orders", listener="notify", after=last, count=1) == []

    async def test_nothing_is_found_where_nothing_failed(
        self, broker: StreamBroker, failures: FailureStore
    ) -> None:
        """Unknown streams, groups and keys are no error."""
        key = FailureKey("none", "nobody", EntryId(1), "charge")

        assert await failures.find("none") == []
        assert await failures.tally("none") == []
        assert await failures.get(key) is None
        assert await failures.delete(key) is False
        assert await failures.due([("none", "nobody")], count=1) == []
        assert await failures.next_due([("none", "nobody")]) is None
        assert await broker.streams() == []

    async def test_counts_by_group_and_state(self, broker: StreamBroker, failures: FailureStore) -> None:
        """A running retry counts as retrying; other streams are not counted."""
        first = await fail(broker, AGAIN, _NOTIFY)
        await fail(broker, replace(AGAIN, due_in=AGES))
        await fail(broker, FOR_GOOD, group="shipping")
        await fail(broker, FOR_GOOD, stream="invoices")
        await claim(failures, first)

        counted = {tally.group: tally for tally in await failures.tally("orders")}

        assert counted == {
            "billing": Tally("orders", "billing", retrying=2, failed=1),
            "shipping": Tally("orders", "shipping", retrying=0, failed=1),
        }

    @pytest.mark.covers("FAIL-5")
    async def test_deleting_forgets_one_record(self, broker: StreamBroker, failures: FailureStore) -> None:
        """That one, once; other listeners' records and the stream are left alone, and it is due no more."""
        key = await fail(broker, AGAIN, _NOTIFY)

        assert await failures.delete(key) is True
        assert await failures.delete(key) is False

        assert _keys(await failures.find("orders")) == [replace(key, listener="notify")]
        assert await failures.due([("orders", "billing")], count=9) == []
        assert await claim(failures, key, force=True) is None
        assert await broker.length("orders") == 1
        assert [tally.retrying for tally in await failures.tally("orders")] == [0]
