"""Taking over what others left: claims, and consumers that are removed."""

import asyncio
from datetime import timedelta
from itertools import chain

import pytest

from penstock.position import EntryId
from penstock.streams.abc import Claimed, RawId, StreamBroker
from penstock.testing.contracts._common import (
    AGES,
    MOMENT,
    NOW,
    Contract,
    PassTime,
    deliver,
    ids_of,
    parsed,
)

__all__ = ["ClaimsContract"]


async def _claim_all(broker: StreamBroker, consumer: str, *, count: int = 100) -> list[Claimed]:
    """Claims from the start of the pending list to its end."""
    claims: list[Claimed] = []
    start: EntryId | None = None
    while not claims or start is not None:
        claims.append(
            await broker.claim("orders", "billing", consumer, min_idle=NOW, count=count, start=start)
        )
        start = claims[-1].next_start
    return claims


class ClaimsContract(Contract):
    """An entry changes hands when it has been idle for long enough, and only then."""

    @pytest.mark.covers("READ-5")
    async def test_a_claimed_entry_belongs_to_the_claimer(self, broker: StreamBroker) -> None:
        """It comes whole, is counted as one more delivery, and its idle time restarts."""
        added = await deliver(broker, 2)

        claimed = await broker.claim("orders", "billing", "bob", min_idle=NOW, count=10)

        assert claimed == Claimed([[added[0], [b"n", b"0"]], [added[1], [b"n", b"1"]]], [], None)
        pending = await broker.pending("orders", "billing")
        assert [(one.entry_id, one.consumer, one.delivery_count) for one in pending] == [
            (entry_id, "bob", 2) for entry_id in parsed(added)
        ]

    async def test_a_claim_keeps_other_claimers_away(self, broker: StreamBroker) -> None:
        """The idle time restarts: the same wait has to pass again before anyone else may claim."""
        added = await deliver(broker, 1)
        await broker.release("orders", "billing", "ann", added)

        first = await broker.claim("orders", "billing", "bob", min_idle=AGES, count=10)
        second = await broker.claim("orders", "billing", "cat", min_idle=AGES, count=10)

        assert (ids_of(first.entries), second.entries) == (added, [])

    async def test_an_entry_idle_for_long_enough_is_claimed(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """Idle times grow by the server's clock."""
        added = await deliver(broker, 1)
        await pass_time(2 * MOMENT)

        claimed = await broker.claim("orders", "billing", "bob", min_idle=2 * MOMENT, count=10)

        assert ids_of(claimed.entries) == added

    async def test_what_is_not_idle_is_left_alone(self, broker: StreamBroker) -> None:
        """Only entries that nobody has touched for the given time change hands; renewing is touching."""
        added = await deliver(broker, 3)
        await broker.release("orders", "billing", "ann", added[:2])
        await broker.renew("orders", "billing", "ann", added[:1])

        claimed = await broker.claim("orders", "billing", "bob", min_idle=AGES, count=10)

        assert ids_of(claimed.entries) == added[1:2]
        holders = {bytes(one.entry_id): one.consumer for one in await broker.pending("orders", "billing")}
        assert holders == {added[0]: "ann", added[1]: "bob", added[2]: "ann"}

    async def test_a_consumer_may_claim_its_own(self, broker: StreamBroker) -> None:
        """An entry that was left pending on purpose is delivered again to whoever asks, its holder included."""
        added = await deliver(broker, 1)

        claimed = await broker.claim("orders", "billing", "ann", min_idle=NOW, count=10)

        assert ids_of(claimed.entries) == added
        assert [one.delivery_count for one in await broker.pending("orders", "billing")] == [2]

    async def test_claims_go_through_the_list_in_pages(self, broker: StreamBroker) -> None:
        """No claim takes more than asked, each goes on where the one before ended, and the last one says so."""
        added = await deliver(broker, 25)

        claims = await _claim_all(broker, "bob", count=4)

        assert all(len(claim.entries) <= 4 for claim in claims)
        assert [entry_id for claim in claims for entry_id in ids_of(claim.entries)] == added
        assert (await broker.pending_summary("orders", "billing")).consumers == {"bob": 25}

    async def test_a_claim_looks_from_its_start_on(self, broker: StreamBroker) -> None:
        """What lies before the start is not looked at; the start itself is."""
        added = await deliver(broker, 4)

        claimed = await broker.claim(
            "orders", "billing", "bob", min_idle=NOW, count=10, start=EntryId.parse(added[2])
        )

        assert ids_of(claimed.entries) == added[2:]
        assert (await broker.pending_summary("orders", "billing")).consumers == {"ann": 2, "bob": 2}

    @pytest.mark.parametrize("idle", [NOW, AGES], ids=["idle", "busy"])
    async def test_nothing_to_claim_is_through_at_once(self, broker: StreamBroker, idle: timedelta) -> None:
        """An empty pending list, or one where nothing has been idle for long enough."""
        added = await deliver(broker, 2)
        if idle == NOW:
            await broker.acknowledge("orders", "billing", added)

        assert await broker.claim("orders", "billing", "bob", min_idle=idle, count=10) == Claimed(
            [], [], None
        )

    async def test_a_claim_from_one_consumer_leaves_the_others(self, broker: StreamBroker) -> None:
        """With `from_consumer` only that one's entries are looked at."""
        anns = await deliver(broker, 2)
        bobs = await deliver(broker, 2, consumer="bob")

        claimed = await broker.claim("orders", "billing", "cat", min_idle=NOW, count=10, from_consumer="bob")
        nothing = await broker.claim(
            "orders", "billing", "cat", min_idle=NOW, count=10, from_consumer="nobody"
        )

        assert (ids_of(claimed.entries), nothing.entries) == (bobs, [])
        own = await broker.own_pending("orders", "billing", "ann", after=b"0-0", count=9)
        assert ids_of(own) == anns

    async def test_a_claim_concerns_one_group(self, broker: StreamBroker) -> None:
        """What other groups have pending stays as it is."""
        await deliver(broker, 2)
        await deliver(broker, 0, group="shipping")

        await broker.claim("orders", "billing", "bob", min_idle=NOW, count=10)

        assert (await broker.pending_summary("orders", "shipping")).consumers == {"ann": 2}

    async def test_vanished_entries_are_named_and_not_touched(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """They stay pending with whoever had them, as idle as they were, until someone settles them."""
        added = await deliver(broker, 3)
        await broker.delete("orders", parsed(added[:2]))
        await pass_time(2 * MOMENT)

        claims = await _claim_all(broker, "bob", count=1)

        assert [entry_id for claim in claims for entry_id in claim.vanished] == added[:2]
        assert [entry_id for claim in claims for entry_id in ids_of(claim.entries)] == added[2:]
        gone = await broker.pending("orders", "billing", consumer="ann")
        assert [(one.entry_id, one.delivery_count) for one in gone] == [(one, 1) for one in parsed(added[:2])]
        assert all(one.idle >= 2 * MOMENT for one in gone)

    async def test_a_vanished_entry_in_hand_is_not_named(self, broker: StreamBroker) -> None:
        """Someone is still working on it: it becomes vanished only when it has been idle as well."""
        added = await deliver(broker, 1)
        await broker.delete("orders", parsed(added))

        claimed = await broker.claim("orders", "billing", "bob", min_idle=AGES, count=10)

        assert claimed.vanished == []

    async def test_one_of_many_claimers_gets_an_entry(self, broker: StreamBroker) -> None:
        """Twenty consumers claim at the same time: every entry goes to exactly one of them."""
        added = await deliver(broker, 40)
        await broker.release("orders", "billing", "ann", added)

        async def claim(number: int) -> list[RawId]:
            claimed = await broker.claim("orders", "billing", f"c{number}", min_idle=AGES, count=10)
            return ids_of(claimed.entries)

        shares = await asyncio.gather(*map(claim, range(20)))

        assert sorted(chain(*shares), key=EntryId.parse) == added

    # -- removing consumers -------------------------------------------------------------------------------------

    async def test_a_removed_consumer_leaves_its_entries_to_its_heir(
        self, broker: StreamBroker, pass_time: PassTime
    ) -> None:
        """Everything it held moves first, with counts and idle times as they were; then the name is gone."""
        added = await deliver(broker, 3)
        await broker.claim("orders", "billing", "ann", min_idle=NOW, count=1)
        await deliver(broker, 1, consumer="bob")
        await pass_time(2 * MOMENT)

        assert await broker.remove_consumer("orders", "billing", "ann", heir="bob") == 3

        assert [consumer.name for consumer in await broker.consumers("orders", "billing")] == ["bob"]
        moved = (await broker.pending("orders", "billing"))[:3]
        assert [(one.entry_id, one.consumer, one.delivery_count) for one in moved] == [
            (entry_id, "bob", count) for entry_id, count in zip(parsed(added), (2, 1, 1), strict=True)
        ]
        assert all(one.idle >= 2 * MOMENT for one in moved)

    async def test_an_heir_need_not_be_known_before(self, broker: StreamBroker) -> None:
        """A name that nobody has used inherits as well."""
        added = await deliver(broker, 2)

        await broker.remove_consumer("orders", "billing", "ann", heir="bob")

        assert ids_of(await broker.own_pending("orders", "billing", "bob", after=b"0-0", count=9)) == added

    async def test_a_consumer_without_entries_just_goes(self, broker: StreamBroker) -> None:
        """Nothing moves, the name is gone, and removing it again does nothing."""
        await broker.acknowledge("orders", "billing", await deliver(broker, 2))

        assert await broker.remove_consumer("orders", "billing", "ann", heir="bob") == 0
        assert "ann" not in [consumer.name for consumer in await broker.consumers("orders", "billing")]
        assert await broker.remove_consumer("orders", "billing", "ann", heir="bob") == 0

    async def test_removing_a_consumer_settles_nothing(self, broker: StreamBroker) -> None:
        """Entries that vanished while it held them are still pending afterwards, with whomever."""
        added = await deliver(broker, 3)
        await broker.delete("orders", parsed(added[1:2]))

        await broker.remove_consumer("orders", "billing", "ann", heir="bob")

        assert [one.entry_id for one in await broker.pending("orders", "billing")] == parsed(added)

    async def test_a_large_inheritance_moves_whole(self, broker: StreamBroker) -> None:
        """However much one consumer held."""
        await deliver(broker, 350)

        assert await broker.remove_consumer("orders", "billing", "ann", heir="bob") == 350
        assert (await broker.pending_summary("orders", "billing")).consumers == {"bob": 350}
