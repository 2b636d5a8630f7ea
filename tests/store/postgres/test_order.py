"""Positions can be trusted: each rule behind that, with the way in which it would be broken."""

import asyncio
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from penstock.errors import StoreUnavailableError
from penstock.store import migrating
from penstock.store._postgres.backend import PostgresBackend
from penstock.store._postgres.errors import explained
from penstock.store.abc import Append, Appended, Conflict, EventFilter, Horizon
from tests.store.postgres.callers import add, caller, new, table

_LOCKS = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()"


async def _append(store: PostgresBackend, *ids: str, stream: str = "order-1") -> list[Appended]:
    outcome = await store.append(Append(tuple(new(stream, each) for each in ids)))
    assert isinstance(outcome, list)
    return outcome


async def _ids(store: PostgresBackend) -> list[str]:
    return [event.id for event in (await store.read(EventFilter(), limit=100)).events]


@pytest.mark.covers("STORE-6", "LEAD-4")
async def test_an_open_transaction_holds_the_head_below_its_events(store: PostgresBackend) -> None:
    """What was committed above an event that may still come is not read before it, and the holder is named."""
    await _append(store, "a")
    before = datetime.now(UTC)
    with caller(store, application="checkout") as slow:
        add(store, slow, new("order-2", "slow"))
        await _append(store, "b")
        horizon = await store.horizon()
        assert (horizon.position, horizon.last) == (1, 3)
        [holder] = horizon.holders
        assert (holder.floor, holder.pid, holder.role) == (1, slow.info.backend_pid, "postgres")
        assert (holder.application, holder.state, holder.gid) == ("checkout", "idle in transaction", None)
        assert holder.since is not None
        assert abs(holder.since - before) < timedelta(seconds=60)
        assert await _ids(store) == ["a"]
        slow.commit()
    assert await store.horizon() == Horizon(3, 3)
    assert await _ids(store) == ["a", "slow", "b"]


@pytest.mark.covers("LEAD-4", "PROJ-17")
async def test_a_position_that_was_rolled_back_holds_nothing_up(store: PostgresBackend) -> None:
    """A gap that will never be filled is passed at once, without any waiting."""
    with caller(store) as failing:
        add(store, failing, new("order-2", "lost"))
        failing.rollback()
        await _append(store, "a")
        assert await _ids(store) == ["a"]
        assert await store.horizon() == Horizon(2, 2)


@pytest.mark.covers("LEAD-4")
async def test_an_unrelated_long_transaction_stalls_nobody(store: PostgresBackend) -> None:
    """A report, a dump, a forgotten session that wrote elsewhere: readers do not wait for them."""
    with caller(store) as other:
        other.execute("CREATE TABLE reports (id int)")
        other.execute("INSERT INTO reports VALUES (1)")
        other.execute("SELECT count(*) FROM penstock_events")
        await _append(store, "a", "b")
        assert await store.horizon() == Horizon(2, 2)
        assert await _ids(store) == ["a", "b"]


@pytest.mark.covers("LEAD-4")
async def test_writers_of_different_streams_do_not_wait_for_each_other(store: PostgresBackend) -> None:
    """The floor's lock is shared: a transaction that stays open hinders no other append."""
    with caller(store) as one, caller(store) as two:
        two.execute("SET lock_timeout = '1s'")
        add(store, one, new("order-1", "a"))
        add(store, two, new("order-2", "b"))
        two.commit()
        one.commit()
    assert await _ids(store) == ["a", "b"]


async def test_the_first_append_of_all_has_floor_zero(store: PostgresBackend) -> None:
    """A sequence that was never used has no last value, which counts as 0."""
    assert await store.horizon() == Horizon(0, 0)
    with caller(store) as first:
        add(store, first, new("order-1", "a"))
        horizon = await store.horizon()
        assert (horizon.position, horizon.last, [holder.floor for holder in horizon.holders]) == (0, 1, [0])


@pytest.mark.covers("STORE-6")
async def test_a_transaction_holds_one_lock_however_much_it_appends(store: PostgresBackend) -> None:
    """A lock for each append would fill the server's table of locks."""
    with caller(store) as busy:
        for number in range(200):
            add(store, busy, new("order-1", f"one {number}"))
            add(store, busy, new("order-2", f"a {number}"), new("order-2", f"b {number}"))
        assert busy.execute(_LOCKS).fetchone() == (1,)
        busy.commit()
        assert busy.execute(_LOCKS).fetchone() == (0,)


@pytest.mark.covers("STORE-6")
async def test_a_savepoint_that_takes_the_lock_back_is_followed_by_another_lock(
    store: PostgresBackend,
) -> None:
    """Whether the lock is held is remembered where it is undone with it: in the transaction, not in a client."""
    with caller(store) as careful:
        careful.execute("SELECT 1")
        careful.execute("SAVEPOINT attempt")
        add(store, careful, new("order-1", "undone"))
        careful.execute("ROLLBACK TO SAVEPOINT attempt")
        assert careful.execute(_LOCKS).fetchone() == (0,)
        await _append(store, "a", stream="order-2")
        add(store, careful, new("order-1", "kept"))
        assert careful.execute(_LOCKS).fetchone() == (1,)
        await _append(store, "b", stream="order-3")
        assert await _ids(store) == ["a"]
        careful.commit()
    assert await _ids(store) == ["a", "kept", "b"]


async def test_a_released_savepoint_keeps_the_lock(store: PostgresBackend) -> None:
    """The floor is that of the transaction, wherever in it the append stood."""
    with caller(store) as careful:
        careful.execute("SELECT 1")
        careful.execute("SAVEPOINT attempt")
        add(store, careful, new("order-1", "a"))
        careful.execute("RELEASE SAVEPOINT attempt")
        add(store, careful, new("order-1", "b"))
        assert careful.execute(_LOCKS).fetchone() == (1,)
        assert (await store.horizon()).position == 0


@pytest.mark.covers("STORE-6", "LEAD-4")
async def test_a_prepared_transaction_holds_the_head_by_its_name(store: PostgresBackend) -> None:
    """It has no process any more, and still may commit; the session it came from is free for the next one."""
    with psycopg.connect(store.database.url, autocommit=True) as session:
        session.execute("BEGIN")
        add(store, session, new("order-1", "prepared"))
        session.execute("PREPARE TRANSACTION 'payment 7'")
    await _append(store, "after", stream="order-2")
    horizon = await store.horizon()
    [holder] = horizon.holders
    assert (horizon.position, holder.floor, holder.pid, holder.state) == (0, 0, None, "prepared")
    assert holder.gid == "payment 7"
    assert holder.since is not None
    assert holder.role == "postgres"
    assert await _ids(store) == []
    with psycopg.connect(store.database.url, autocommit=True) as other:
        other.execute("COMMIT PREPARED 'payment 7'")
    assert await _ids(store) == ["prepared", "after"]


@pytest.mark.covers("LEAD-4")
async def test_a_second_store_in_the_same_database_is_not_held_up(store: PostgresBackend) -> None:
    """Locks carry the number of their store, and its names stand before those of the search path."""
    with psycopg.connect(store.database.url, autocommit=True) as admin:
        admin.execute('CREATE SCHEMA "other shop"')
    other = PostgresBackend("other", store.database.url, schema="other shop")
    await asyncio.to_thread(migrating.apply, other.database)
    await other.open()
    try:
        with caller(store) as slow:
            add(store, slow, new("order-1", "here"))
            add(other, slow, new("order-1", "there"))
            assert slow.execute(_LOCKS).fetchone() == (2,)
            slow.commit()
            add(store, slow, new("order-1", "held"))
            await _append(other, "free", stream="order-2")
            assert (await store.horizon()).position == 1
            assert await other.horizon() == Horizon(2, 2)
            assert await _ids(other) == ["there", "free"]
            assert await _ids(store) == ["here"]
    finally:
        await other.close()


@pytest.mark.covers("STORE-1")
async def test_events_of_one_append_keep_their_order(store: PostgresBackend) -> None:
    """Positions are drawn in the order of the events, over several streams as well."""
    ids = [f"event {number}" for number in range(1000)]
    events = tuple(new(f"order-{number % 7}", each) for number, each in enumerate(ids))
    outcome = await store.append(Append(events))
    assert isinstance(outcome, list)
    assert [place.position for place in outcome] == sorted(place.position for place in outcome)
    assert [event.id for event in (await store.read(EventFilter(), limit=2000)).events] == ids


@pytest.mark.covers("STORE-1")
async def test_versions_and_positions_of_a_stream_go_the_same_way(store: PostgresBackend) -> None:
    """The version is read before the position is drawn, however many write to the stream at the same time."""
    others = [PostgresBackend("local", store.database.url) for _ in range(3)]
    try:
        await asyncio.gather(
            *(
                _append(each, f"{number} {turn}", f"{number} {turn} again")
                for number, each in enumerate([store, *others])
                for turn in range(25)
            )
        )
    finally:
        for each in others:
            await each.close()
    rows = table(store.database.url)
    assert [version for _, _, version in rows] == list(range(1, 201))


async def test_two_who_expect_nothing_both_succeed(store: PostgresBackend) -> None:
    """The later one looks again when the earlier one has committed."""
    with caller(store) as first:
        add(store, first, new("order-1", "a"))
        waiting = asyncio.create_task(_append(store, "b"))
        while not await _someone_waits(store):
            await asyncio.sleep(0.01)
        first.commit()
        [place] = await waiting
    assert place.stream_version == 2
    assert [version for _, _, version in table(store.database.url)] == [1, 2]


@pytest.mark.covers("STORE-2")
async def test_of_two_who_expect_the_same_version_one_wins(store: PostgresBackend) -> None:
    """The other is told what there is, and its transaction lives."""
    with caller(store) as first, caller(store) as second:
        assert isinstance(add(store, first, new("order-1", "a"), expected=0), list)
        second.execute("CREATE TABLE business (id int)")
        losing = asyncio.create_task(asyncio.to_thread(add, store, second, new("order-1", "b"), expected=0))
        while not await _someone_waits(store):
            await asyncio.sleep(0.01)
        first.commit()
        assert await losing == Conflict("order-1", "version", actual=1)
        second.execute("INSERT INTO business VALUES (1)")
        second.commit()


@pytest.mark.covers("STORE-2")
async def test_in_repeatable_read_a_race_is_an_error_that_says_what_to_do(store: PostgresBackend) -> None:
    """Such a transaction cannot look again, and has to be run again as a whole."""
    with caller(store) as snapshot:
        snapshot.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        snapshot.execute("SELECT count(*) FROM penstock_events")
        await _append(store, "a")
        with pytest.raises(psycopg.errors.SerializationFailure) as refused:
            add(store, snapshot, new("order-1", "b"))
        ours = explained(store.database.shown, refused.value.sqlstate, str(refused.value))
        assert isinstance(ours, StoreUnavailableError)
        assert "run all of it again" in str(ours)
        snapshot.rollback()
        assert isinstance(add(store, snapshot, new("order-1", "b")), list)
        snapshot.commit()
    assert await _ids(store) == ["a", "b"]


@pytest.mark.covers("STORE-1")
async def test_an_append_is_on_disk_when_it_is_answered_whatever_the_session_says(
    store: PostgresBackend,
) -> None:
    """`synchronous_commit = off` would lose what readers have acted upon already."""
    with caller(store) as hasty:
        hasty.execute("SET synchronous_commit = off")
        hasty.commit()
        add(store, hasty, new("order-1", "a"))
        assert hasty.execute("SHOW synchronous_commit").fetchone() == ("on",)
        hasty.commit()
        assert hasty.execute("SHOW synchronous_commit").fetchone() == ("off",)
        hasty.commit()
        hasty.execute("SET synchronous_commit = local")
        add(store, hasty, new("order-1", "b"))
        assert hasty.execute("SHOW synchronous_commit").fetchone() == ("local",)


async def test_a_page_never_goes_above_the_horizon_it_was_given(store: PostgresBackend) -> None:
    """What is committed above is there for the next page."""
    await _append(store, "a", "b", "c")
    page = await store.read(EventFilter(), through=2, limit=10)
    assert ([event.id for event in page.events], page.through) == (["a", "b"], 2)
    assert (await store.read(EventFilter(), after=2, limit=10)).through == 3


@pytest.mark.covers("STORE-6")
async def test_the_horizon_never_goes_back(store: PostgresBackend) -> None:
    """A writer that was slow to lock its floor draws above what was read meanwhile, so nobody has to go back for it."""
    await _append(store, "a", "b", "c")
    reader = store.reader()
    assert (reader.horizon().position, (await store.horizon()).position) == (3, 3)
    with caller(store) as slow:
        slow.execute("SELECT pg_advisory_xact_lock_shared((penstock_store_number() << 48) | 1)")
        await _append(store, "d")
        assert (reader.horizon().position, (await store.horizon()).position) == (3, 3)
        late = store.reader()
        assert late.horizon().position == 1
        late.close()
    assert (reader.horizon().position, (await store.horizon()).position) == (4, 4)
    reader.close()


@pytest.mark.covers("LEAD-4")
async def test_a_store_that_was_put_back_is_seen_as_it_is(store: PostgresBackend) -> None:
    """Who remembers a later position compares it with the last one, and knows."""
    await _append(store, "a", "b", "c")
    assert (await store.horizon()).last == 3
    with psycopg.connect(store.database.url, autocommit=True) as admin:
        admin.execute("DELETE FROM penstock_events WHERE position > 1")
        admin.execute("SELECT setval('penstock_positions', 1)")
    assert await store.horizon() == Horizon(1, 1)


async def test_own_connections_read_committed_whatever_the_default_is(store: PostgresBackend) -> None:
    """A database whose default is stricter does not stop appends that meet."""
    with psycopg.connect(store.database.url, autocommit=True) as admin:
        name = admin.info.dbname
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'".encode())
    strict = [PostgresBackend("local", store.database.url) for _ in range(3)]
    try:
        await asyncio.gather(
            *(_append(each, f"{number} {turn}") for number, each in enumerate(strict) for turn in range(20))
        )
    finally:
        for each in strict:
            await each.close()
    assert [version for _, _, version in table(store.database.url)] == list(range(1, 61))


async def _someone_waits(store: PostgresBackend) -> bool:
    rows = await store._reading.query("SELECT count(*) FROM pg_locks WHERE NOT granted")
    return bool(rows[0][0])


@pytest.mark.covers("STORE-4")
async def test_a_stream_among_many_events_is_read_in_a_few_pages(store: PostgresBackend) -> None:
    """What others appended in between costs nothing, nor does what was read or deleted before."""
    await store.append(Append(tuple(new(f"other-{n % 9}", f"other {n}") for n in range(30))))
    with psycopg.connect(store.database.url, autocommit=True) as admin:
        admin.execute("SELECT setval('penstock_positions', 1000000)")
    await store.append(Append(tuple(new("order-1", f"event {n}") for n in range(40))))
    await store.append(Append((new("order-2", "apart"),)))
    await store.delete("order-1", through=7)
    last = (await store.horizon()).position
    found: list[str] = []
    at = pages = 0
    while at < last:
        page = await store.read(
            EventFilter(streams=("order-1", "order-2", "no-1")), after=at, through=last, limit=9
        )
        found += [event.id for event in page.events]
        at, pages = page.through, pages + 1
    assert found == [*(f"event {n}" for n in range(7, 40)), "apart"]
    assert pages == 4
