"""Changes of SQLAlchemy's models become events, in the transaction that makes them."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import create_engine, select, update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from penstock.errors import ConfigurationError, EncodeError
from penstock.models.sqlalchemy import ChangeEvents, change, emit_changes, events_of, without_change_events
from penstock.store import EventStore
from tests.models.alchemyshop import Base, Customer, Guest, Level, Order, Person, Pilot, Thing


def new_engine(store: EventStore) -> Engine:
    """An engine in the store's database, of which nothing has been said yet."""
    return create_engine(store.database.url.replace("postgresql:", "postgresql+psycopg:"))


@pytest.fixture
def engine(store: EventStore) -> Iterator[Engine]:
    """An engine in the store's database, with tables, whose changes go through the store."""
    made = new_engine(store)
    Base.metadata.create_all(made)
    emit_changes(made, store)
    yield made
    made.dispose()


@pytest.fixture
def session(engine: Engine) -> Iterator[Session]:
    """A session on it."""
    with Session(engine) as made:
        yield made


async def told(store: EventStore) -> list[tuple[str, dict[str, Any]]]:
    """The names and bodies of everything in the store."""
    return [(each.name, each.payload) async for each in store.read()]


@pytest.mark.covers("EMIT-6")
async def test_a_new_row_is_told_with_every_field(store: EventStore, session: Session) -> None:
    """Also with what Python and the database have filled in; before, each field was null."""
    session.add(Customer(name="Ann", password="secret"))
    session.commit()

    assert await told(store) == [
        (
            "customer.created",
            {
                "key": {"id": 1},
                "fields": ["id", "name", "city", "visits", "joined"],
                "before": {"id": None, "name": None, "city": None, "visits": None, "joined": None},
                "after": {"id": 1, "name": "Ann", "city": None, "visits": 0, "joined": "today"},
                "additional": {"by": "tests"},
            },
        )
    ]
    [event] = [each async for each in store.read("customer-1")]
    assert event.key == "1"
    assert event.decode(events_of(Customer).created).after["name"] == "Ann"


@pytest.mark.covers("EMIT-6")
async def test_an_update_is_told_with_the_fields_that_changed(store: EventStore, session: Session) -> None:
    """Their values before and after, and no other field."""
    ann = Customer(name="Ann", city="Gdańsk")
    session.add(ann)
    session.commit()
    ann.name, ann.city = "Anna", None
    session.commit()

    assert (await told(store))[1:] == [
        (
            "customer.updated",
            {
                "key": {"id": 1},
                "fields": ["name", "city"],
                "before": {"name": "Ann", "city": "Gdańsk"},
                "after": {"name": "Anna", "city": None},
                "additional": {"by": "tests"},
            },
        )
    ]


@pytest.mark.covers("EMIT-6")
async def test_a_deletion_is_told_with_what_was_there(store: EventStore, session: Session) -> None:
    """Also for rows that the session deletes because of others, each by itself; a key of two columns is joined."""
    session.add(Customer(name="Ann", orders=[Order(line=1), Order(line=2)]))
    session.commit()
    session.delete(session.scalars(select(Customer)).one())
    session.commit()

    gone = (await told(store))[3:]
    assert sorted(name for name, _ in gone) == ["customer.deleted", "orders.deleted", "orders.deleted"]
    [customer] = [body for name, body in gone if name == "customer.deleted"]
    assert customer["before"] == {"id": 1, "name": "Ann", "city": None, "visits": 0, "joined": "today"}
    assert customer["after"] == dict.fromkeys(customer["before"])
    assert {each.key async for each in store.read(categories=["orders"])} == {"1:1", "1:2"}


@pytest.mark.covers("EMIT-6")
async def test_no_event_without_a_change(store: EventStore, session: Session) -> None:
    """A field set to what it was, also one that was not loaded; a field that stays out of events."""
    ann = Customer(name="Ann", password="1")
    session.add(ann)
    session.commit()
    ann.name = "Ann"  # not loaded after the commit: SQLAlchemy writes it, and nothing changes
    session.commit()
    assert ann.name == "Ann"
    ann.name = "Anna"
    ann.name = "Ann"
    session.commit()
    ann.password = "2"
    session.commit()

    assert [name for name, _ in await told(store)] == ["customer.created"]


@pytest.mark.covers("EMIT-6")
async def test_what_the_session_did_not_know_is_asked_for(store: EventStore, session: Session) -> None:
    """The value before of an attribute that was not loaded, and the value after of one the database computes."""
    ann = Customer(name="Ann", visits=3)
    session.add(ann)
    session.commit()
    ann.name = "Anna"
    ann.visits = Customer.visits + 4
    session.commit()

    [_, (_, body)] = await told(store)
    assert body["before"] == {"name": "Ann", "visits": 3}
    assert body["after"] == {"name": "Anna", "visits": 7}


@pytest.mark.covers("EMIT-6")
async def test_a_rollback_leaves_no_event(store: EventStore, session: Session) -> None:
    """Neither does a savepoint that is rolled back to, nor a flush that failed; the rest is told."""
    session.add(Customer(name="Ann"))
    session.flush()
    session.rollback()
    assert await told(store) == []

    session.add(Customer(id=1, name="Ann"))
    session.flush()
    with session.begin_nested() as savepoint:
        session.add(Customer(name="Lost"))
        session.flush()
        savepoint.rollback()
    session.add(Customer(name="Bob"))
    session.commit()
    with without_change_events(Order):
        session.add(Order(customer_id=1, line=1))
        session.commit()
    session.expunge_all()
    session.add_all([Customer(id=9, name="New"), Order(customer_id=1, line=1)])
    with pytest.raises(IntegrityError):  # when the customer is written already, and noted
        session.commit()
    session.rollback()
    session.add(Customer(name="Cid"))
    session.commit()
    assert [body["after"]["name"] for _, body in await told(store)] == ["Ann", "Bob", "Cid"]


@pytest.mark.covers("EMIT-6")
async def test_events_can_be_switched_off(store: EventStore, session: Session) -> None:
    """By what a model says of itself, for a block, and for one model in a block."""
    session.add(Customer(name="ghost"))
    session.commit()
    with without_change_events():
        session.add(Customer(name="Ann"))
        session.commit()
    with without_change_events(Order):
        session.add(Customer(name="Bob", orders=[Order(line=1)]))
        session.commit()
    assert [(name, body["after"]["name"]) for name, body in await told(store)] == [
        ("customer.created", "Bob")
    ]


async def test_values_that_json_lacks_are_written_as_it_can(store: EventStore, session: Session) -> None:
    """Decimals, times and UUIDs as texts, bytes in Base64, members of an enumeration by their values."""
    thing = Thing(
        id=uuid.UUID(int=5),
        price=Decimal("12.50"),
        at=datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC).replace(tzinfo=None),
        raw=b"\x00\xff",
        level=Level.GOLD,
        extra={"a": [1]},
    )
    session.add(thing)
    session.commit()
    assert thing.extra is not None
    thing.extra["a"] = [2]
    session.commit()

    [(_, created), (_, updated)] = await told(store)
    assert created["after"] == {
        "id": "00000000-0000-0000-0000-000000000005",
        "price": "12.50",
        "at": "2024-05-06T07:08:09",
        "raw": "AP8=",
        "level": "gold",
        "extra": {"a": [1]},
        "odd": None,
        "stamp": 1,
    }
    assert (updated["before"], updated["after"]) == (
        {"extra": {"a": [1]}, "stamp": 1},
        {"extra": {"a": [2]}, "stamp": 7},
    )


async def test_a_value_that_cannot_be_written_is_named(store: EventStore, session: Session) -> None:
    """The field, the model and the way out; nothing is committed."""
    session.add(Thing(id=uuid.uuid4(), odd=complex(1, 2)))
    with pytest.raises(EncodeError, match=r"field 'odd' of Thing is a complex.*__event_exclude__"):
        session.commit()
    session.rollback()
    session.add(Thing(id=uuid.uuid4(), odd={"ratio": float("nan")}))
    with pytest.raises(EncodeError, match=r"NaN \(at `\$\.after\.odd\.ratio`\)"):
        session.commit()
    session.rollback()
    assert await told(store) == []


async def test_changes_with_nowhere_to_go_are_refused(store: EventStore) -> None:
    """A model that is to tell and an engine that nobody said anything of: nothing is lost silently."""
    engine = new_engine(store)
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        session.add(Customer(name="Ann"))
        with pytest.raises(ConfigurationError, match=r"emit_changes\(engine, app\.store\(\)\)"):
            session.commit()
        session.rollback()
        with without_change_events():
            session.add(Customer(name="Ann"))
            session.commit()
    engine.dispose()
    with pytest.raises(ConfigurationError, match="cannot go through 'local'"):
        emit_changes(engine, "local")  # type: ignore[arg-type]


async def test_a_field_that_does_not_exist_cannot_be_left_out(store: EventStore) -> None:
    """A slip in a list of what must not get out is found with the first change."""

    class Own(DeclarativeBase):
        """Apart from the others."""

    class Secret(ChangeEvents, Own):
        __tablename__ = "secrets"
        __event_exclude__ = ("pasword",)
        id: Mapped[int] = mapped_column(primary_key=True)
        password: Mapped[str | None]

    engine = new_engine(store)
    Own.metadata.create_all(engine)
    emit_changes(engine, store)
    with Session(engine) as session:
        session.add(Secret())
        with pytest.raises(
            ConfigurationError, match="names 'pasword', which is no field; its fields are id, password"
        ):
            session.flush()
    engine.dispose()


@pytest.mark.covers("EMIT-6")
async def test_an_asynchronous_session_tells_as_well(store: EventStore, engine: Engine) -> None:
    """In its own transaction, with what has to be asked of the database asked underneath."""
    sqlite = store.database.dialect == "sqlite"
    url = store.database.url
    for driver in ["sqlite+aiosqlite"] if sqlite else ["postgresql+psycopg", "postgresql+asyncpg"]:
        other = create_async_engine(url.replace("sqlite" if sqlite else "postgresql", driver, 1))
        emit_changes(other, store)
        before = len(await told(store))
        async with AsyncSession(other, expire_on_commit=True) as session:
            ann = Customer(name="Ann")
            session.add(ann)
            await session.commit()
            ann.name = "Anna"
            await session.commit()
            ann.name = "Lost"
            await session.flush()
            await session.rollback()
        await other.dispose()
        new = (await told(store))[before:]
        assert [(name, body["after"]["name"]) for name, body in new] == [
            ("customer.created", "Ann"),
            ("customer.updated", "Anna"),
        ]
        assert new[1][1]["before"] == {"name": "Ann"}


async def test_models_with_others_above_them_tell_of_all_their_fields(
    store: EventStore, session: Session
) -> None:
    """By the names of the attributes, in one event, whatever tables the row is spread over."""
    session.add_all([Pilot(id=1, name="Ann", hours=5), Guest(id=2, name="Bob")])
    session.commit()
    for person in session.scalars(select(Person).order_by(Person.id)):
        person.note = "seen"
        if isinstance(person, Pilot):
            person.hours = 6
    session.commit()
    session.delete(session.get_one(Pilot, 1))
    session.commit()

    events = await told(store)
    assert sorted(name for name, _ in events[:2]) == ["guest.created", "pilots.created"]
    by_name = dict(events)
    assert by_name["pilots.created"]["after"] == {
        "id": 1,
        "name": "Ann",
        "note": None,
        "kind": "pilot",
        "hours": 5,
    }
    assert by_name["pilots.updated"]["before"] == {"note": None, "hours": 5}
    assert by_name["pilots.updated"]["after"] == {"note": "seen", "hours": 6}
    assert by_name["guest.updated"]["after"] == {"note": "seen"}
    assert by_name["pilots.deleted"]["before"]["hours"] == 6
    assert by_name["pilots.deleted"]["key"] == {"id": 1}


async def test_a_key_that_changes_is_told_under_the_new_one(store: EventStore, session: Session) -> None:
    """The former one is among the fields before."""
    session.add(Customer(id=1, name="Ann"))
    session.commit()
    session.get_one(Customer, 1).id = 5
    session.commit()
    [_, (_, body)] = await told(store)
    assert (body["key"], body["before"], body["after"]) == ({"id": 5}, {"id": 1}, {"id": 5})


async def test_what_goes_past_the_session_is_told_by_hand(store: EventStore, session: Session) -> None:
    """A statement over many rows is not seen; its events are made and appended in the same transaction."""
    session.add_all([Customer(name="Ann"), Customer(name="Bob")])
    session.commit()
    changed = session.execute(
        update(Customer).values(city="Łódź").returning(Customer.id),
        execution_options={"synchronize_session": False},
    )
    assert len(await told(store)) == 2
    store.append(
        [
            change(
                Customer,
                "updated",
                key={"id": id_},
                before={"city": None},
                after={"city": "Łódź", "password": "x"},
            )
            for (id_,) in changed
        ],
        within=session,
    )
    session.commit()
    assert [(name, body["key"], body["after"]) for name, body in (await told(store))[2:]] == [
        ("customer.updated", {"id": 1}, {"city": "Łódź"}),
        ("customer.updated", {"id": 2}, {"city": "Łódź"}),
    ]
