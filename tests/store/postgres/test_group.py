"""Appends of many tasks share a transaction, and each has its own outcome."""

import asyncio
from collections import deque

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.store._postgres.backend import PostgresBackend
from penstock.store._postgres.group import Outcome, choose
from penstock.store._postgres.placeholders import translated
from penstock.store.abc import ANY, Append, Conflict
from tests.store.postgres.callers import new


async def test_what_waits_goes_in_as_one_transaction(store: PostgresBackend) -> None:
    """Sixty-four tasks cost a few commits."""
    await store.append(Append((new("order-0", "first"),)))
    await asyncio.gather(*(store.append(Append((new(f"order-{n}", f"event {n}"),))) for n in range(64)))
    with psycopg.connect(store.database.url) as connection:
        row = connection.execute(
            "SELECT count(*), count(DISTINCT xmin::text) FROM penstock_events"
        ).fetchone()
    assert row is not None
    assert row[0] == 65
    assert row[1] <= 4


async def test_a_conflict_of_one_does_not_touch_the_others(store: PostgresBackend) -> None:
    """They are decided each for itself, whatever shares their transaction."""
    await store.append(Append((new("order-1", "there"), new("order-2", "here"))))
    outcomes = await asyncio.gather(
        store.append(Append((new("order-0", "warm up"),))),
        store.append(Append((new("order-1", "late"),), 0)),
        store.append(Append((new("order-2", "right"),), 1)),
        store.append(Append((new("order-3", "any"), new("order-4", "other")), ANY)),
        store.append(Append((new("order-1", "there"),), 0)),
    )
    assert outcomes[1] == Conflict("order-1", "version", actual=1)
    kept = [outcome for outcome in outcomes if isinstance(outcome, list)]
    assert [place.event_id for outcome in kept for place in outcome] == [
        *("warm up", "right", "any", "other", "there")
    ]
    assert [place.is_new for outcome in kept for place in outcome] == [True, True, True, True, False]


async def test_the_same_event_from_two_tasks_is_kept_once(store: PostgresBackend) -> None:
    """One of them added it, the others are told where it is."""
    outcomes = await asyncio.gather(*(store.append(Append((new("order-1", "same"),))) for _ in range(5)))
    places = [place for outcome in outcomes if isinstance(outcome, list) for place in outcome]
    assert sorted(place.is_new for place in places) == [False] * 4 + [True]
    assert {(place.position, place.stream_version) for place in places} == {(1, 1)}


async def test_an_append_whose_task_is_cancelled_breaks_nothing(store: PostgresBackend) -> None:
    """It is on its way or not; those behind it go in."""
    tasks = [asyncio.create_task(store.append(Append((new("order-1", f"event {n}"),)))) for n in range(10)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    kept = await asyncio.gather(*tasks[1::2])
    assert all(isinstance(outcome, list) for outcome in kept)
    versions = [event.stream_version for event in await store.read_stream("order-1", limit=20)]
    assert versions == list(range(1, len(versions) + 1))
    assert len(versions) >= 5


_APPENDS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=1, max_size=3), st.booleans()
    ),
    max_size=8,
)


@given(_APPENDS)
async def test_groups_keep_the_order_of_each_stream(
    drawn: list[tuple[list[tuple[str, int]], bool]],
) -> None:
    """All are sent in the end; who came first to a stream is sent no later; no id is twice in a group; whoever expects
    a version has the stream to itself.
    """
    appends = [
        Append(
            tuple(new(stream if is_any else parts[0][0], str(event)) for stream, event in parts),
            ANY if is_any else 0,
        )
        for parts, is_any in drawn
    ]
    waiting: deque[tuple[Append, asyncio.Future[Outcome]]] = deque()
    loop = asyncio.get_running_loop()
    waiting.extend((append, loop.create_future()) for append in appends)
    in_order = [future for _, future in waiting]
    turns: dict[asyncio.Future[Outcome], int] = {}
    turn = 0
    while waiting:
        group = choose(waiting)
        assert group
        ids = [{event.id for event in append.events} for append, _ in group]
        assert len({each for some in ids for each in some}) == sum(map(len, ids))
        for number, (append, future) in enumerate(group):
            turns[future] = turn
            streams = {event.stream for event in append.events}
            for other, _ in group[number + 1 :]:
                if streams & {event.stream for event in other.events}:
                    assert append.expected is ANY
                    assert other.expected is ANY
        turn += 1
    for number, append in enumerate(appends):
        for later in range(number + 1, len(appends)):
            if {e.stream for e in append.events} & {e.stream for e in appends[later].events}:
                assert turns[in_order[number]] <= turns[in_order[later]]


@pytest.mark.parametrize(
    ("sql", "formatted", "numbered"),
    [
        ("SELECT ?, ?", "SELECT %s, %s", "SELECT $1, $2"),
        ("SELECT '?' || ? LIKE '5%'", "SELECT '?' || %s LIKE '5%%'", "SELECT '?' || $1 LIKE '5%'"),
        ('SELECT "a?", ? -- ?', 'SELECT "a?", %s -- ?', 'SELECT "a?", $1 -- ?'),
        (
            "SELECT /* ? */ ? % 2, $a$ ? $a$",
            "SELECT /* ? */ %s %% 2, $a$ ? $a$",
            "SELECT /* ? */ $1 % 2, $a$ ? $a$",
        ),
    ],
)
def test_placeholders_are_written_for_each_driver(sql: str, formatted: str, numbered: str) -> None:
    """What stands in quotes and comments is none."""
    assert translated(sql, "format") == formatted
    assert translated(sql, "numbered") == numbered
