"""`FloorContract`: nothing goes that somebody needs, whoever reads, wherever they stand. Needs Hypothesis.

Random readers are set up beside a plain model; then the broker removes, and the model says what may have gone.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.position import EntryId
from penstock.streams.abc import RawId, StreamBroker
from penstock.testing.contracts._common import Contract, ids_of, numbered

__all__ = ["FloorContract"]


@dataclass(frozen=True)
class _Group:
    """A group that was delivered the first `delivered` entries, and has settled some of them."""

    delivered: int
    settled: frozenset[int]
    back: int | None
    """Set back to before this entry afterwards."""
    registered: bool

    @property
    def last(self) -> int:
        """How many entries it counts as delivered at the end."""
        return self.delivered if self.back is None else min(self.back, self.delivered)

    def needs(self, number: int) -> bool:
        """Whether it has still to see or to settle an entry."""
        return number >= self.last or (number < self.delivered and number not in self.settled)


@dataclass(frozen=True)
class _Readers:
    """Everybody who reads the stream. Positions are numbers of entries that were read."""

    groups: Sequence[_Group] = ()
    positions: Sequence[int] = ()
    absent: int = 0
    gaps: frozenset[int] = field(default_factory=frozenset)
    """Entries that somebody removed by hand."""

    def need(self, number: int) -> bool:
        """Whether anybody needs an entry."""
        return bool(self.absent) or any(number >= at for at in self.positions) or self._group_needs(number)

    def _group_needs(self, number: int) -> bool:
        return any(group.needs(number) for group in self.groups)


_MOST = 12
_numbers = st.integers(0, _MOST)
_sets = st.frozensets(st.integers(0, _MOST - 1))
_groups = st.builds(_Group, _numbers, _sets, st.none() | _numbers, st.booleans())
_readers = st.builds(
    _Readers,
    st.lists(_groups, max_size=3),
    st.lists(_numbers, max_size=3),
    st.integers(0, 1) | st.just(0),
    _sets | st.just(frozenset[int]()),
)
_random = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class FloorContract(Contract):
    """What every `RemovalStore` guarantees for random sets of readers."""

    @pytest.mark.covers("LEAD-6")
    @given(_readers, st.none() | _numbers, st.none() | _numbers, st.integers(1, 5))
    @_random
    async def test_trimming_takes_what_nobody_needs_and_nothing_else(
        self, broker: StreamBroker, readers: _Readers, below: int | None, keep: int | None, limit: int
    ) -> None:
        """Exactly the asked entries below the lowest needed one go, in steps of any size."""
        stream, ids = await _set_up(broker, readers)
        there = [number for number in range(_MOST) if number not in readers.gaps]
        floor = next((number for number in range(_MOST + 1) if readers.need(number)), _MOST)
        asked = [number for number in there if below is None or number < below]
        asked = asked[: max(0, len(there) - keep)] if keep is not None else asked
        going = [number for number in asked if number < floor]
        place = None if below is None else (EntryId.parse(ids[-1]).next() if below == _MOST else None)
        place = EntryId.parse(ids[below]) if below is not None and below < _MOST else place

        removed, step = 0, None
        while step is None or step.more:
            step = await broker.removal.trim(stream, below=place, keep=keep, limit=limit)
            assert step.removed <= limit
            removed += step.removed

        left = [number for number in there if number not in going]
        assert ids_of(await broker.range(stream)) == [ids[number] for number in left]
        assert removed == len(going)
        assert bool(step.held_by) == (len(asked) > len(going))

    @given(_readers, _sets)
    @_random
    async def test_single_entries_go_when_nobody_needs_them(
        self, broker: StreamBroker, readers: _Readers, wanted: frozenset[int]
    ) -> None:
        """Each entry that was to go is exactly one of removed, missing and held."""
        stream, ids = await _set_up(broker, readers)

        gone = await broker.removal.remove(stream, [ids[number] for number in wanted])

        missing = {number for number in wanted if number in readers.gaps}
        held = {number for number in wanted - missing if readers.need(number)}
        assert {ids.index(each) for each in gone.missing} == missing
        assert {ids.index(each) for each in gone.held} == held
        assert {ids.index(each) for each in gone.removed} == wanted - missing - held
        assert all(gone.held.values())


async def _set_up(broker: StreamBroker, readers: _Readers) -> tuple[str, list[RawId]]:
    """A stream with entries and these readers; its name, and the ids of all entries that were added."""
    stream = f"floor-{uuid.uuid4().hex}"
    outcomes = await broker.append_many(numbered(stream, _MOST))
    ids = [outcome.entry_id for outcome in outcomes if outcome.entry_id is not None]
    for number, group in enumerate(readers.groups):
        name = f"group-{number}"
        await broker.create_group(stream, name, EntryId(0))
        if group.registered:
            await broker.removal.register_groups(stream, [name])
        if group.delivered:
            await broker.read_group(name, "ann", [stream], count=group.delivered)
        settled = [ids[each] for each in group.settled if each < group.delivered]
        await broker.acknowledge(stream, name, settled)
        if group.back is not None:
            await broker.move_group(stream, name, _position(ids, min(group.back, group.delivered)))
    for number, at in enumerate(readers.positions):
        if number % 2:
            await broker.save_cursor(stream, f"cursor-{number}", bytes(_position(ids, at)))
        else:
            await broker.removal.save_relay(stream, f"relay-{number}", bytes(_position(ids, at)))
    await broker.removal.register_groups(stream, [f"absent-{number}" for number in range(readers.absent)])
    await broker.delete(stream, [EntryId.parse(ids[number]) for number in sorted(readers.gaps)])
    return stream, ids


def _position(ids: Sequence[RawId], read: int) -> EntryId:
    """The place of a reader that has read so many entries."""
    return EntryId.parse(ids[read - 1]) if read else EntryId(0)
