"""Places in a stream: reading, writing and ordering entry ids, and where a reader may start."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given

from penstock.errors import MalformedEntryIdError, UsageError
from penstock.position import BEGINNING, NEW, EntryId, Start, parse_start
from penstock.testing.strategies import entry_ids

LARGEST = 2**64 - 1
LAST = EntryId(LARGEST, LARGEST)


@given(entry_ids())
def test_an_id_reads_back_as_it_was_written(entry_id: EntryId) -> None:
    """As text and as bytes."""
    assert EntryId.parse(str(entry_id)) == EntryId.parse(bytes(entry_id)) == entry_id


@given(entry_ids(), entry_ids())
def test_ids_sort_as_numbers(one: EntryId, other: EntryId) -> None:
    """First by milliseconds, then by counter; never as text."""
    assert (one < other) == ((one.ms, one.sequence) < (other.ms, other.sequence))


@given(entry_ids().filter(lambda entry_id: entry_id != LAST))
def test_next_and_previous_are_each_others_inverse(entry_id: EntryId) -> None:
    """Nothing lies between an id and the next one."""
    following = entry_id.next()

    assert following > entry_id
    assert following.previous() == entry_id
    assert following.sequence in (entry_id.sequence + 1, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1700000000000-3", EntryId(1_700_000_000_000, 3)),
        ("1700000000000", EntryId(1_700_000_000_000, 0)),
        (b"0-0", EntryId(0)),
        ("007-01", EntryId(7, 1)),
        (f"{LARGEST}-{LARGEST}", LAST),
    ],
)
def test_an_absent_counter_is_zero(text: str | bytes, expected: EntryId) -> None:
    """Ids are read as the server writes them, and as people shorten them."""
    assert EntryId.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "-1",
        "1-",
        "1-2-3",
        "a-b",
        " 1-1",
        "1-1\n",
        "+1",
        "1_000",
        "٣-1",
        "0x1",
        "$",
        ">",
        "*",
        b"\xff-1",
    ]
    + [f"{LARGEST + 1}-0", f"0-{LARGEST + 1}", "9" * 5000],
)
def test_what_is_not_an_id_is_refused(text: str | bytes) -> None:
    """The error shows the text and what an id looks like."""
    with pytest.raises(MalformedEntryIdError, match="1700000000000-0") as refused:
        EntryId.parse(text)

    assert refused.value.text == (text if isinstance(text, str) else text.decode("ascii", "replace"))


def test_the_ends_stay_where_they_are() -> None:
    """Milliseconds roll over when the counter is used up, and the first id has none before it."""
    assert EntryId(5, LARGEST).next() == EntryId(6, 0)
    assert EntryId(6, 0).previous() == EntryId(5, LARGEST)
    assert EntryId(0, 0).previous() == EntryId(0, 0)


def test_an_id_tells_the_time() -> None:
    """To the millisecond, in UTC."""
    assert EntryId(1_700_000_000_123, 9).time == datetime(2023, 11, 14, 22, 13, 20, 123_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        (datetime(1970, 1, 1, 0, 0, 2, tzinfo=UTC), EntryId(2000)),
        (datetime(1970, 1, 1, 0, 0, 2, 999, tzinfo=UTC), EntryId(2000)),
        (datetime(1970, 1, 1, 1, 0, 2, tzinfo=timezone(timedelta(hours=1))), EntryId(2000)),
        (datetime(1950, 1, 1, tzinfo=UTC), EntryId(0)),
    ],
)
def test_a_time_is_the_lowest_id_of_its_millisecond(time: datetime, expected: EntryId) -> None:
    """In whatever zone it was given; before the epoch it is the beginning."""
    assert EntryId.at(time) == expected


def test_a_time_without_a_zone_is_refused() -> None:
    """Its moment would be a guess."""
    with pytest.raises(UsageError, match="time zone"):
        EntryId.at(datetime(2026, 1, 1))  # noqa: DTZ001  that is the point


@pytest.mark.covers("LISTEN-6")
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("new", NEW),
        ("beginning", BEGINNING),
        ("1700000000000-3", EntryId(1_700_000_000_000, 3)),
        ("1700000000000", EntryId(1_700_000_000_000)),
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.5+02:00", datetime(2026, 1, 31, 10, 0, 0, 500_000, tzinfo=UTC)),
    ],
)
def test_a_start_is_written_in_one_of_four_ways(text: str, expected: Start) -> None:
    """New, the beginning, an id, or a time with its zone."""
    assert parse_start(text) == expected


@pytest.mark.parametrize("text", ["", "New", "0-", "$", "yesterday", "2026-13-01T00:00:00Z", "1.5", "9" * 30])
def test_any_other_start_is_refused(text: str) -> None:
    """The error names the four ways."""
    with pytest.raises(UsageError, match=r"'new', 'beginning', an entry id .* or a time"):
        parse_start(text)


def test_a_start_time_without_a_zone_is_refused_with_a_remedy() -> None:
    """What to write instead is something that can be read."""
    with pytest.raises(UsageError, match="2026-01-31T12:00:00Z"):
        parse_start("2026-01-31T12:00:00")
