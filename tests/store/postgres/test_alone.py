"""Single events go in by plain statements, which promise what the functions do."""

import asyncio

import psycopg
import pytest

from penstock.store._postgres.alone import statement_alone
from penstock.store._postgres.backend import PostgresBackend
from penstock.store._postgres.placeholders import translated
from penstock.store.abc import ANY, EXISTS, NO_STREAM, Append, Conflict, EventFilter, Horizon, StreamMetadata
from tests.store.postgres.callers import caller, new, table


def _one(stream: str, event_id: str, **said: object) -> Append:
    return Append((new(stream, event_id),), **said)  # type: ignore[arg-type]  # what is expected of it


async def _together(store: PostgresBackend, *appends: Append) -> list[object]:
    """What becomes of them in one group: the first is sent at once, and they wait for it."""
    first, *outcomes = await asyncio.gather(
        *(store.append(each) for each in (_one("first-1", "first"), *appends)), return_exceptions=True
    )
    assert isinstance(first, list)
    return [
        [(place.event_id, place.position, place.stream_version, place.is_new) for place in outcome]
        if isinstance(outcome, list)
        else outcome
        for outcome in outcomes
    ]


@pytest.mark.covers("STORE-6", "LEAD-4")
@pytest.mark.parametrize("several", [False, True])
async def test_the_floor_is_locked_before_the_position_is_drawn(
    store: PostgresBackend, *, several: bool
) -> None:
    """While its transaction is open, readers stay below what it adds; and it will be on the disk."""
    await store.append(_one("order-1", "a"))
    appends = [_one("order-2", "b"), _one("order-3", "c")][: 1 + several]
    statement = statement_alone(appends, 1)
    assert statement is not None
    sql, parameters = statement
    with caller(store) as slow:
        slow.execute("SET SESSION synchronous_commit = off")
        slow.commit()
        added = slow.execute(translated(sql, "format").encode(), parameters).fetchall()
        assert [(event_id, version) for event_id, _, version in added] == [("b", 1), ("c", 1)][: 1 + several]
        assert slow.execute("SHOW synchronous_commit").fetchone() == ("on",)
        await store.append(_one("order-4", "d"))
        horizon = await store.horizon()
        assert (horizon.position, [holder.floor for holder in horizon.holders]) == (1, [1])
        assert [event.id for event in (await store.read(EventFilter(), limit=10)).events] == ["a"]
        slow.commit()
    assert await store.horizon() == Horizon(3 + several, 3 + several)


async def test_each_of_a_group_has_an_outcome_of_its_own(store: PostgresBackend) -> None:
    """Those that go well go in; of the others it is found out what is the matter, and nobody is told of another's."""
    await store.append(_one("order-1", "known"))
    await store.append(_one("order-2", "there"))
    await store.set_metadata("order-6", StreamMetadata(owner="totals"))
    assert await _together(
        store,
        _one("order-1", "known"),
        _one("order-2", "late", expected=0),
        _one("order-3", "right", expected=NO_STREAM),
        _one("order-4", "any"),
        _one("order-6", "foreign"),
        _one("order-6b", "own", owner="totals"),
    ) == [
        [("known", 1, 1, False)],
        Conflict("order-2", "version", actual=1),
        [("right", pytest.approx(5, abs=2), 1, True)],
        [("any", pytest.approx(5, abs=2), 1, True)],
        Conflict("order-6", "protected", owner="totals"),
        [("own", pytest.approx(6, abs=2), 1, True)],
    ]


async def test_an_event_that_cannot_be_added_is_not_the_others_fault(store: PostgresBackend) -> None:
    """One with an id that no index takes fails; those of its group go in, and are new."""
    long = "".join(chr(0x4E00 + number * 7919 % 20000) for number in range(5000))
    poison, other, third = await _together(
        store, _one("order-1", long), _one("order-2", "b"), _one("order-3", "c", expected=0)
    )
    assert isinstance(poison, psycopg.Error)
    for outcome, event_id in ((other, "b"), (third, "c")):
        assert isinstance(outcome, list)
        assert [(place[0], place[2], place[3]) for place in outcome] == [(event_id, 1, True)]


async def test_a_closed_or_shortened_stream_goes_on_as_it_should(store: PostgresBackend) -> None:
    """What is said about a stream is looked at: versions go on behind what was deleted."""
    for number in range(3):
        await store.append(_one("order-1", f"event {number}"))
    await store.delete("order-1")
    await store.delete("order-2", for_good=True)
    assert await store.append(_one("order-2", "dead")) == Conflict("order-2", "deleted")
    more = await store.append(_one("order-1", "more"))
    assert isinstance(more, list)
    assert more[0].stream_version == 4
    assert await _together(store, _one("order-2", "dead"), _one("order-1", "most")) == [
        Conflict("order-2", "deleted"),
        [("most", 6, 5, True)],
    ]


@pytest.mark.parametrize(
    "body",
    [
        b'{"a" :  1.50,"a":2}',
        b' {"a":1}\n',
        b"null",
        b'"\\u0000"',
        b'"\\ud800"',
        b'"\\u00e9"',
        b"\xff\x00",
        None,
    ],
)
async def test_bodies_are_kept_to_the_byte_also_in_groups(store: PostgresBackend, body: bytes | None) -> None:
    """Whatever JSON allows, and what is none."""
    events = [new(f"order-{number}", f"event {number}", data=body) for number in range(4)]
    await asyncio.gather(*(store.append(Append((event,))) for event in events))
    kept = (await store.read(EventFilter(), limit=10)).events
    assert [event.data for event in kept] == [body] * 4


async def test_two_of_one_stream_leave_no_version_out(store: PostgresBackend) -> None:
    """One that was there already is no version between the others."""
    await store.append(_one("order-1", "known"))
    await _together(store, _one("order-1", "known"), _one("order-1", "b"), _one("order-2", "c"))
    assert [(stream, version) for _, stream, version in table(store.database.url) if stream != "first-1"] == [
        ("order-1", 1),
        ("order-1", 2),
        ("order-2", 1),
    ]


def test_plans_are_made_anew_as_the_store_grows() -> None:
    """A plan for a small table is not kept when it has become a large one."""
    appends = [_one("order-1", "a"), _one("order-2", "b")]
    for some in (appends, appends[:1], [_one("order-1", "a", expected=3)]):
        texts = [
            statement[0] for size in range(41) if (statement := statement_alone(some, 2**size)) is not None
        ]
        assert len(texts) == 41
        assert 20 <= len({*texts}) <= 22


def test_what_takes_more_than_a_plain_statement_is_left_to_the_functions() -> None:
    """Several events, a stream that has to be there, two of one stream."""
    several = Append((new("order-1", "a"), new("order-1", "b")), ANY)
    assert statement_alone([several], 0) is None
    assert statement_alone([several, _one("order-2", "c")], 0) is None
    assert statement_alone([_one("order-1", "a", expected=EXISTS)], 0) is None
    assert statement_alone([_one("order-1", "a"), _one("order-1", "b")], 0) is None


async def test_the_plan_of_a_large_store_uses_its_indexes(store: PostgresBackend) -> None:
    """An append costs the same however many events there are."""
    with psycopg.connect(store.database.url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO penstock_events (position, stream, category, version, id, name, schema_version, meta, "
            "recorded_at) SELECT nextval('penstock_positions'), 'held-' || n, 'held', 1, n::text, 'held', 1, '{}', "
            "now() FROM generate_series(1, 20000) n"
        )
        for appends in (
            [_one("order-1", "a")],
            [_one(f"order-{number}", f"e{number}") for number in range(20)],
        ):
            statement = statement_alone(appends, 20_000)
            assert statement is not None
            connection.execute("SET plan_cache_mode = force_generic_plan")
            marks = ", ".join(["%s"] * len(statement[1]))
            connection.execute(f"PREPARE added AS {translated(statement[0], 'numbered')}".encode())
            plan = psycopg.ClientCursor(connection).execute(
                f"EXPLAIN EXECUTE added({marks})".encode(), statement[1]
            )
            assert "Seq Scan on penstock_events" not in "\n".join(line for (line,) in plan)
            connection.execute("DEALLOCATE added")
