"""Events that come from elsewhere: in order, once per event id, every bad one named and nothing lost."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import psycopg
import pytest

from penstock.errors import UsageError
from penstock.message import Meta
from penstock.operations._importing import Arrival, Refused, import_events
from penstock.operations._prooph import prooph_events
from penstock.store.abc import EventFilter, NewEvent, StoreBackend, StoredEvent, StreamMetadata
from penstock.store.backends import make_backend


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[StoreBackend]:
    """An empty store in a file."""
    made = make_backend("local", f"sqlite:///{tmp_path}/events.db")
    await made.open()
    yield made
    await made.close()


def arriving(number: int, stream: str = "order-1", version: int | None = None) -> Arrival:
    """An event on its way in."""
    event = NewEvent(stream, f"event-{number}", "order.placed", Meta(time=number), b"%d" % number)
    return Arrival(f"line {number}", event, version)


async def batches(*given: Sequence[Arrival | Refused]) -> AsyncIterator[Sequence[Arrival | Refused]]:
    """What an importer goes through."""
    for batch in given:
        yield batch


async def stored(backend: StoreBackend) -> Sequence[StoredEvent]:
    """Everything that is in the store."""
    return (await backend.read(EventFilter(), limit=100_000)).events


@pytest.mark.covers("STORE-3")
async def test_what_is_there_already_is_passed_over(backend: StoreBackend) -> None:
    """An import that is run again adds only what is new, wherever the former one ended."""
    first = await import_events(backend, batches([arriving(1), arriving(2)]))
    again = await import_events(backend, batches([arriving(1), arriving(2), arriving(3)]))
    assert (first.appended, first.known) == (2, 0)
    assert (again.appended, again.known) == (1, 2)
    assert [event.id for event in await stored(backend)] == ["event-1", "event-2", "event-3"]


async def test_order_is_kept_over_batches(backend: StoreBackend) -> None:
    """Thousands of events of several streams stand in the store as they came."""
    coming = [arriving(number, f"order-{number % 7}") for number in range(1, 2_501)]
    account = await import_events(backend, batches(coming[:1_700], coming[1_700:]))
    assert account.appended == 2_500
    assert [event.id for event in await stored(backend)] == [each.event.id for each in coming]


async def test_it_ends_at_the_first_bad_one_and_has_all_before(backend: StoreBackend) -> None:
    """What stands before a bad line is imported, what stands after is not, and the line is named."""
    account = await import_events(
        backend, batches([arriving(1), Refused("line 2", "is no event"), arriving(3)], [arriving(4)])
    )
    assert (account.appended, account.bad, account.stopped) == (1, 1, "line 2: is no event")
    assert [(each.where, each.error) for each in account.problems] == [("line 2", "is no event")]
    assert [event.id for event in await stored(backend)] == ["event-1"]


async def test_bad_ones_can_be_passed_over(backend: StoreBackend) -> None:
    """Each is counted, the first twenty are named, and all the good ones are there."""
    coming: list[Arrival | Refused] = []
    for number in range(1, 31):
        coming += [arriving(number), Refused(f"line {number}b", "is no event")]
    account = await import_events(backend, batches(coming), skip_bad=True)
    assert (account.appended, account.bad, len(account.problems), account.stopped) == (30, 30, 20, None)


async def test_what_the_store_refuses_is_found_among_the_others(backend: StoreBackend) -> None:
    """One event for a derived stream in the middle of a batch: it alone is refused, with the reason."""
    await backend.set_metadata("totals", StreamMetadata(owner="totals"))
    coming = [arriving(1), arriving(2, "totals"), arriving(3)]
    stopping = await import_events(backend, batches(coming))
    assert (stopping.appended, stopping.bad) == (1, 1)
    assert stopping.stopped is not None
    assert stopping.stopped.startswith("line 2: event stream 'totals' is derived by projection 'totals'")
    going_on = await import_events(backend, batches(coming), skip_bad=True)
    assert (going_on.appended, going_on.known, going_on.bad) == (1, 1, 1)
    assert [event.id for event in await stored(backend)] == ["event-1", "event-3"]


async def test_it_is_told_when_numbers_in_a_stream_are_others(backend: StoreBackend) -> None:
    """A stream whose oldest events were deleted begins at 1 again where it is imported."""
    account = await import_events(
        backend, batches([arriving(1, version=5), arriving(2, version=6), arriving(3, "order-2", version=1)])
    )
    assert (account.appended, account.renumbered) == (3, 2)


# -- prooph ---------------------------------------------------------------------------------------------------------

PROOPH = """
CREATE TABLE event_streams (
    no BIGSERIAL PRIMARY KEY, real_stream_name VARCHAR(150) NOT NULL UNIQUE, stream_name CHAR(41) NOT NULL UNIQUE,
    metadata JSONB, category VARCHAR(150)
);
"""
STREAM = """
CREATE TABLE "{table}" (
    no BIGSERIAL PRIMARY KEY, event_id UUID NOT NULL UNIQUE, event_name VARCHAR(100) NOT NULL, payload JSON NOT NULL,
    metadata JSONB NOT NULL, created_at TIMESTAMP(6) NOT NULL
);
"""
USERS = "_7c4a8d09ca3762af61e59520943dc26494f8941b"
PROJECTS = "_b1b3773a05c0ed0176787a4f1574ff0075f7521e"


def event_id(number: int) -> str:
    """An id as prooph makes them."""
    return f"00000000-0000-4000-8000-{number:012d}"


@pytest.fixture
def prooph(postgres_database: str) -> str:
    """A database as prooph's event store leaves it: two streams whose events were made by turns."""
    with psycopg.connect(postgres_database) as connection:
        connection.execute(PROOPH)
        for name, table in (("users-stream", USERS), ("projects-stream", PROJECTS)):
            connection.execute(STREAM.format(table=table).encode())
            connection.execute(
                "INSERT INTO event_streams (real_stream_name, stream_name) VALUES (%s, %s)", (name, table)
            )
        for number in range(1, 7):
            table = USERS if number % 2 else PROJECTS
            connection.execute(
                f'INSERT INTO "{table}" (event_id, event_name, payload, metadata, created_at) '
                "VALUES (%s, %s, %s, %s, %s)",
                (
                    event_id(number),
                    "User.Registered",
                    '{"total": 10.10,\n "name": "Ä"}' if number == 1 else "[]",
                    f'{{"_aggregate_id": "a-{number}", "_aggregate_version": {number}, "_aggregate_type": "User", '
                    f'"_causation_id": "{event_id(99)}", "tags": ["x"]}}',
                    f"2024-01-31 12:00:00.00000{number}",
                ),
            )
    return postgres_database


@pytest.mark.covers("STORE-4")
async def test_events_of_prooph_come_with_everything(backend: StoreBackend, prooph: str) -> None:
    """Id, name, payload to the letter, metadata as headers, aggregate as key, time to the microsecond."""
    account = await import_events(backend, prooph_events(make_backend("prooph", prooph).database))
    assert (account.appended, account.bad) == (6, 0)
    events = await stored(backend)
    assert [event.id for event in events] == [event_id(number) for number in range(1, 7)]
    first = events[0]
    assert (first.stream, first.name, first.data) == (
        "users-stream",
        "User.Registered",
        '{"total": 10.10,\n "name": "Ä"}'.encode(),
    )
    assert first.headers == {
        "_aggregate_id": "a-1",
        "_aggregate_version": "1",
        "_aggregate_type": "User",
        "_causation_id": event_id(99),
        "tags": '["x"]',
    }
    assert (first.key, first.meta.causation) == ("a-1", event_id(99))
    assert first.time.isoformat() == "2024-01-31T12:00:00.000001+00:00"
    assert [event.stream_version for event in events] == [1, 1, 2, 2, 3, 3]


async def test_one_stream_of_prooph_is_chosen_by_name_or_table(backend: StoreBackend, prooph: str) -> None:
    """The others stay where they are; running it again for all adds what lacks."""
    database = make_backend("prooph", prooph).database
    assert (await import_events(backend, prooph_events(database, ["users-stream"]))).appended == 3
    assert (await import_events(backend, prooph_events(database, [PROJECTS]))).appended == 3
    whole = await import_events(backend, prooph_events(database))
    assert (whole.appended, whole.known) == (0, 6)


async def test_the_order_of_a_stream_goes_before_time(backend: StoreBackend, prooph: str) -> None:
    """A clock that was put back between two events of a stream does not turn them round."""
    with psycopg.connect(prooph) as connection:
        connection.execute(f"UPDATE \"{USERS}\" SET created_at = '2020-01-01' WHERE no = 2")
    await import_events(backend, prooph_events(make_backend("prooph", prooph).database))
    users = [event.id for event in await stored(backend) if event.stream == "users-stream"]
    assert users == [event_id(1), event_id(3), event_id(5)]


async def test_many_events_of_prooph_are_read_in_stretches(backend: StoreBackend, prooph: str) -> None:
    """More than fit in one stretch of either table, with gaps in their numbers as rollbacks leave them."""
    with psycopg.connect(prooph) as connection:
        for table, offset in ((USERS, 100_000), (PROJECTS, 200_000)):
            connection.execute(
                (
                    f'INSERT INTO "{table}" (no, event_id, event_name, payload, metadata, created_at) '
                    "SELECT 10 + 3 * n, ('00000000-0000-4000-8000-' || lpad((%s + n)::text, 12, '0'))::uuid, "
                    "'User.Renamed', '{}', '{}', '2024-02-01'::timestamp + n * interval '1 second' "
                    "FROM generate_series(1, 11000) n"
                ).encode(),
                (offset,),
            )
    account = await import_events(backend, prooph_events(make_backend("prooph", prooph).database))
    assert account.appended == 22_006
    events = await stored(backend)
    assert [event.id for event in events[6:10]] == [
        event_id(each) for each in (100_001, 200_001, 100_002, 200_002)
    ]


async def test_a_database_that_is_not_prooph_s_is_refused(
    postgres_database: str, backend: StoreBackend
) -> None:
    """With the reason, and without its password."""
    with pytest.raises(UsageError, match="has no table event_streams"):
        await import_events(backend, prooph_events(make_backend("prooph", postgres_database).database))


async def test_a_stream_that_prooph_has_not_is_refused(backend: StoreBackend, prooph: str) -> None:
    """The message names those that there are."""
    with pytest.raises(
        UsageError, match=r"no event stream user-stream; it has projects-stream, users-stream"
    ):
        await import_events(backend, prooph_events(make_backend("prooph", prooph).database, ["user-stream"]))
