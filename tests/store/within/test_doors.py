"""What holds in a caller's own transaction, over every library."""

import pytest

from penstock.message import Meta, new_event_id
from penstock.store.abc import NO_STREAM, Append, Appended, Conflict, Expected, NewEvent
from tests.store.within.doors import Door

SAID = "Zażółć 100 % gęślą? jaźń — 'q' \"d\" $1 \\ 🐟"


def event(stream: str = "order-1", text: str = "x", event_id: str | None = None) -> NewEvent:
    """An event with a body that names a text."""
    data = f'{{"text": "{text}"}}'.encode()
    return NewEvent(
        stream, event_id or new_event_id(), "order.placed", Meta(time=1, headers={"h": text}), data
    )


def one(*events: NewEvent, expected: Expected | None = None) -> Append:
    """An append of these events."""
    return Append(events) if expected is None else Append(events, expected)


async def stored(door: Door, stream: str = "order-1") -> list[str]:
    """The ids of a stream's events as everybody else sees them."""
    return [each.id for each in await door.backend.read_stream(stream, limit=100)]


async def orders(door: Door) -> list[str]:
    """The caller's own rows."""
    return [row[0] for row in await door.run("SELECT id FROM orders ORDER BY id")]


@pytest.mark.covers("STORE-1", "EMIT-7")
async def test_a_commit_leaves_the_events_and_the_callers_rows(door: Door) -> None:
    """What the caller wrote and what it appended is there together, and only from the commit on."""
    await door.run("INSERT INTO orders VALUES ('1')")
    first, second = event(), event()

    outcome = await door.append(one(first, second))

    assert isinstance(outcome, list)
    assert [(each.event_id, each.stream_version, each.is_new) for each in outcome] == [
        (first.id, 1, True),
        (second.id, 2, True),
    ]
    assert outcome[0].position < outcome[1].position
    if door.backend.dialect == "postgresql":
        assert await stored(door) == []
    await door.commit()
    assert await stored(door) == [first.id, second.id]
    assert await orders(door) == ["1"]


@pytest.mark.covers("STORE-1")
async def test_a_rollback_leaves_neither(door: Door) -> None:
    """Nothing is there of what was appended, and its version is free for the next."""
    await door.run("INSERT INTO orders VALUES ('1')")
    await door.append(one(event()))
    await door.rollback()

    assert (await stored(door), await orders(door)) == ([], [])
    [again] = outcome_of(await door.append(one(event(), expected=NO_STREAM)))
    await door.commit()
    assert again.stream_version == 1
    assert await stored(door) == [again.event_id]


@pytest.mark.covers("STORE-2")
async def test_a_conflict_leaves_the_callers_transaction_alive(door: Door) -> None:
    """The wrong version is answered with the right one; the caller goes on in the same transaction."""
    kept = event()
    await door.run("INSERT INTO orders VALUES ('1')")
    await door.append(one(kept))

    refused = await door.append(one(event(), expected=NO_STREAM))

    assert refused == Conflict("order-1", "version", actual=1)
    await door.run("INSERT INTO orders VALUES ('2')")
    [second] = outcome_of(await door.append(one(event(), expected=1)))
    await door.commit()
    assert await stored(door) == [kept.id, second.event_id]
    assert await orders(door) == ["1", "2"]


@pytest.mark.covers("STORE-3")
async def test_an_event_that_is_there_already_is_not_added_again(door: Door) -> None:
    """The same id in the same transaction, and in the next one, is answered with the place that it has."""
    twice = event()
    [first] = outcome_of(await door.append(one(twice)))
    [second] = outcome_of(await door.append(one(twice, expected=NO_STREAM)))
    await door.commit()
    [third] = outcome_of(await door.append(one(twice)))
    await door.commit()

    assert (first.is_new, second.is_new, third.is_new) == (True, False, False)
    assert first.position == second.position == third.position
    assert await stored(door) == [twice.id]


@pytest.mark.covers("STORE-1")
async def test_a_savepoint_takes_its_events_with_it(door: Door) -> None:
    """What was appended after a savepoint goes when that is rolled back to; what was before and after stays."""
    before, lost, after = event(), event(), event()
    # pysqlite begins with the first write, and a savepoint outside of a transaction would be one of its own.
    await door.append(one(before))
    await door.run("SAVEPOINT here")
    await door.append(one(lost))
    await door.run("ROLLBACK TO SAVEPOINT here")
    [placed] = outcome_of(await door.append(one(after, expected=1)))
    await door.commit()

    assert placed.stream_version == 2
    assert await stored(door) == [before.id, after.id]


async def test_an_error_of_the_callers_own_afterwards_leaves_nothing(door: Door) -> None:
    """A statement of the caller's that fails after the append, and the rollback that follows, undo the append."""
    await door.append(one(event()))
    with pytest.raises(Exception, match="missing"):
        await door.run("INSERT INTO missing VALUES (1)")
    await door.rollback()
    assert await stored(door) == []


@pytest.mark.covers("MSG-5")
async def test_text_and_bytes_arrive_as_they_were(door: Door) -> None:
    """Placeholders, percent signs, quotes and any script in a stream, a header or a body are data."""
    stream = f"order-{SAID}"
    text = event(stream, SAID.replace('"', "'").replace("\\", "/"))
    raw = NewEvent(stream, new_event_id(), "%s", Meta(time=2, content_type="x/y", key="?"), bytes(range(256)))
    bare = NewEvent(stream, new_event_id(), "no.body", Meta(time=3), None)
    await door.append(one(text, raw, bare))

    inside, version = await door.load(stream)
    await door.commit()
    outside = await door.backend.read_stream(stream, limit=10)

    assert version == 3
    for found in (inside, outside):
        assert [each.data for each in found] == [text.data, raw.data, None]
        assert [each.meta for each in found] == [text.meta, raw.meta, bare.meta]
        assert [each.name for each in found] == ["order.placed", "%s", "no.body"]


@pytest.mark.covers("STORE-4")
async def test_a_stream_is_loaded_with_what_the_same_transaction_appended(door: Door) -> None:
    """An aggregate sees its own writes, from any version on, and the version of the stream beside a page of it."""
    places = outcome_of(await door.append(one(*(event() for _ in range(5)))))

    everything, version = await door.load("order-1")
    assert version == 5
    assert [(each.id, each.position, each.stream_version) for each in everything] == [
        (each.event_id, each.position, each.stream_version) for each in places
    ]
    page, version = await door.load("order-1", after=1, limit=2)
    assert ([each.stream_version for each in page], version) == ([2, 3], 5)
    assert await door.load("order-2") == ([], 0)
    await door.rollback()
    assert await door.load("order-1") == ([], 0)


async def test_an_append_of_nothing_is_nothing(door: Door) -> None:
    """No events, no rows, no error."""
    assert await door.append(one()) == []


def outcome_of(answer: list[Appended] | Conflict) -> list[Appended]:
    """What was appended."""
    assert isinstance(answer, list)
    return answer
