"""What must hold for every order of events: the hand, the appetite, and merging several streams."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from penstock.listeners._hand import Hand
from penstock.listeners._intake import Appetite
from penstock.position import EntryId
from penstock.streams.abc import RawEntry, RawId
from penstock.streams.reader import merge_in_order

# -- the hand -------------------------------------------------------------------------------------------------------

STREAMS = st.sampled_from(["a", "b"])
NUMBERS = st.integers(0, 5)


class HandMachine(RuleBasedStateMachine):
    """Entries come, are finished, dropped, and acknowledged with or without an answer, in any order.

    An entry is in hand until it is dropped or its acknowledgement was answered, and a finished one is always either
    waiting to be sent or on its way.
    """

    def __init__(self) -> None:
        super().__init__()
        self.told = 0
        self.hand = Hand(self._tell)
        self.held: set[tuple[str, RawId]] = set()
        self.waiting: list[tuple[str, RawId]] = []
        self.sent: dict[str, list[RawId]] = {}

    def _tell(self) -> None:
        self.told += 1

    @rule(stream=STREAMS, number=NUMBERS)
    def take(self, stream: str, number: int) -> None:
        """An entry is delivered, perhaps once more."""
        self.hand.take(stream, [_raw(number)])
        self.held.add((stream, _raw(number)))

    @rule(stream=STREAMS, number=NUMBERS)
    def finish(self, stream: str, number: int) -> None:
        """An entry is handled; whoever sends acknowledgements hears of the first."""
        told = self.told
        self.hand.finish(stream, _raw(number))
        assert self.told == told + (not self.waiting)
        self.waiting.append((stream, _raw(number)))

    @rule(stream=STREAMS, number=NUMBERS)
    def drop(self, stream: str, number: int) -> None:
        """An entry is settled in another way, or lost."""
        self.hand.drop(stream, _raw(number))
        self.held.discard((stream, _raw(number)))

    @rule()
    def send(self) -> None:
        """The acknowledgements go out; what was on its way before is answered first."""
        self.answer()
        self.sent = self.hand.take_done()
        assert _pairs(self.sent) == sorted(self.waiting)
        self.waiting = []

    @rule()
    def answer(self) -> None:
        """The server answers."""
        self.hand.confirm(self.sent)
        self.held.difference_update(_pairs(self.sent))
        self.sent = {}

    @rule()
    def no_answer(self) -> None:
        """The server does not answer."""
        self.hand.put_back(self.sent)
        self.waiting += _pairs(self.sent)
        self.sent = {}

    @invariant()
    def agrees(self) -> None:
        """The hand holds what it should, and says so in every way."""
        assert _pairs(self.hand.held()) == sorted(self.held)
        assert len(self.hand) == len(self.held)
        assert self.hand.has_done == bool(self.waiting)
        for stream, entry_id in self.held:
            assert self.hand.has(stream, entry_id)


TestHand = HandMachine.TestCase


def _pairs(by_stream: dict[str, list[RawId]]) -> list[tuple[str, RawId]]:
    return sorted((stream, entry_id) for stream, entry_ids in by_stream.items() for entry_id in entry_ids)


def _raw(number: int, sequence: int = 0) -> RawId:
    return b"%d-%d" % (number, sequence)


# -- the appetite ---------------------------------------------------------------------------------------------------


@given(
    budget=st.integers(1, 10_000),
    most=st.integers(1, 50),
    lanes=st.integers(1, 20),
    reads=st.lists(
        st.tuples(st.integers(0, 20_000), st.floats(0, 2, allow_nan=False), st.integers(0, 60)), max_size=30
    ),
    free=st.integers(0, 20),
)
def test_appetite_is_bounded_whatever_came(
    budget: int, most: int, lanes: int, reads: list[tuple[int, float, int]], free: int
) -> None:
    """A read asks for one at least, for as many as are allowed at most, and for no more than the budget holds."""
    appetite = Appetite(byte_budget=budget, most=most, lanes=lanes)
    largest = 1
    for size, seconds, count in reads:
        appetite.saw([[b"1-0", [b"data", bytes(size)]]])
        largest = max(largest, size + 4)
        appetite.took(seconds, count)
        asked = appetite.next_count(free)
        assert 1 <= asked <= most
        assert asked == 1 or asked * largest <= budget
        assert 0 <= appetite.ahead <= max(8, most)


def test_a_slow_consumer_asks_for_what_its_lanes_can_take() -> None:
    """Slowness halves what is read ahead, not what may be handled at the same time."""
    appetite = Appetite(byte_budget=1 << 20, most=500, lanes=10)
    for _ in range(20):
        appetite.took(3.0, 8)
    assert (appetite.next_count(10), appetite.next_count(3), appetite.next_count(0)) == (10, 3, 1)


# -- merging --------------------------------------------------------------------------------------------------------


@given(
    streams=st.dictionaries(
        st.sampled_from("abcd"),
        st.sets(st.tuples(st.integers(0, 12), st.integers(0, 2)), max_size=25),
        min_size=1,
    ),
    count=st.integers(1, 7),
)
def test_merging_page_by_page_gives_everything_in_the_order_of_ids(
    streams: dict[str, set[tuple[int, int]]], count: int
) -> None:
    """However the pages fall, the result is that of sorting all entries of all streams at once."""
    left: dict[str, list[RawEntry]] = {
        name: [[_raw(*place), None] for place in sorted(places)] for name, places in streams.items()
    }
    buffer: dict[str, list[RawEntry]] = {}
    more_behind: set[str] = set()
    seen: list[tuple[str, RawId]] = []
    while True:
        for name, entries in left.items():
            if buffer.get(name) or not entries:
                continue
            buffer[name], left[name] = entries[:count], entries[count:]
            (more_behind.add if len(buffer[name]) == count else more_behind.discard)(name)
        if not buffer:
            break
        ready, buffer = merge_in_order(buffer, more_behind)
        assert ready, "a page that hands nothing out would be asked for for ever"
        seen += [(name, entry[0]) for name, entry in ready]
    places = [EntryId.parse(entry_id) for _, entry_id in seen]
    assert places == sorted(places)
    assert sorted(seen) == sorted((name, _raw(*place)) for name, all_ in streams.items() for place in all_)
