"""Changes of SQLAlchemy's models become events, in the transaction that makes them or after its commit."""

import enum
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import JSON, ForeignKey, Numeric, create_engine, select, update
from sqlalchemy.engine import Engine
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.ext.mutable import MutableDict
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship
from sqlalchemy.types import PickleType

from penstock.errors import ConfigurationError, EncodeError
from penstock.models.sqlalchemy import (
    Change,
    ChangeEvents,
    change,
    emit_changes,
    events_of,
    without_change_events,
)
from penstock.store import EventStore

MakeStore = Callable[[str], Awaitable[EventStore]]


class Base(DeclarativeBase):
    """Tables of these tests."""


class Level(enum.Enum):
    """A value that has another name in JSON."""

    GOLD = "gold"


class Customer(ChangeEvents, Base):
    """A model with a bit of everything."""

    __tablename__ = "customers"
    __event_base__ = "customer"
    __event_exclude__ = ("password",)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    city: Mapped[str | None]
    password: Mapped[str | None]
    visits: Mapped[int] = mapped_column(default=0)
    joined: Mapped[str] = mapped_column(server_default="today")
    orders: Mapped[list["Order"]] = relationship(back_populates="customer", cascade="all, delete-orphan")

    def emits_changes(self) -> bool:
        """Ghosts have none."""
        return self.name != "ghost"

    def event_additional(self) -> Mapping[str, object]:
        """Who it was."""
        return {"by": "tests"}


class Order(ChangeEvents, Base):
    """A model that says nothing about its events."""

    __tablename__ = "orders"

    customer_id: Mapped[int] = mapped_column(ForeignKey("customers.id"), primary_key=True)
    line: Mapped[int] = mapped_column(primary_key=True)
    paid: Mapped[bool] = mapped_column(default=False)
    customer: Mapped[Customer] = relationship(back_populates="orders")


class Thing(ChangeEvents, Base):
    """Values that JSON does not have."""

    __tablename__ = "things"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    price: Mapped[Decimal | None] = mapped_column(Numeric(10, 2, asdecimal=True))
    at: Mapped[datetime | None]
    raw: Mapped[bytes | None]
    level: Mapped[Level | None]
    extra: Mapped[dict[str, Any] | None] = mapped_column(MutableDict.as_mutable(JSON))
    odd: Mapped[object | None] = mapped_column(PickleType)
    stamp: Mapped[int] = mapped_column(default=1, onupdate=7)


class Person(ChangeEvents, Base):
    """A model with others below it, and columns of other names than its attributes."""

    __tablename__ = "people"

    id: Mapped[int] = mapped_column("person_id", primary_key=True)
    name: Mapped[str] = mapped_column("full_name")
    note: Mapped[str | None] = mapped_column(deferred=True)
    kind: Mapped[str]

    __mapper_args__ = {"polymorphic_on": "kind", "polymorphic_identity": "person"}  # noqa: RUF012


class Pilot(Person):
    """A row in two tables."""

    __tablename__ = "pilots"

    id: Mapped[int] = mapped_column(ForeignKey("people.person_id", onupdate="CASCADE"), primary_key=True)
    hours: Mapped[int]

    __mapper_args__ = {"polymorphic_identity": "pilot"}  # noqa: RUF012


class Guest(Person):
    """A row in the table of another."""

    __event_base__ = "guest"

    __mapper_args__ = {"polymorphic_identity": "guest"}  # noqa: RUF012


@pytest.fixture(params=["sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, make_store: MakeStore) -> EventStore:
    """A store."""
    return await make_store(request.param)


@pytest.fixture
def engine(store: EventStore) -> Iterator[Engine]:
    """An engine in the store's database, with tables, whose changes go through the store."""
    made = create_engine(store.database.url.replace("postgresql:", "postgresql+psycopg:"))
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


async def test_changes_with_nowhere_to_go_are_refused(make_store: MakeStore) -> None:
    """A model that is to tell and an engine that nobody said anything of: nothing is lost silently."""
    store = await make_store("sqlite")
    engine = create_engine(store.database.url)
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


async def test_a_field_that_does_not_exist_cannot_be_left_out(make_store: MakeStore) -> None:
    """A slip in a list of what must not get out is found with the first change."""
    store = await make_store("sqlite")

    class Own(DeclarativeBase):
        """Apart from the others."""

    class Secret(ChangeEvents, Own):
        __tablename__ = "secrets"
        __event_exclude__ = ("pasword",)
        id: Mapped[int] = mapped_column(primary_key=True)
        password: Mapped[str | None]

    engine = create_engine(store.database.url)
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


class Streams:
    """Stands for an app: keeps what it is given to emit."""

    def __init__(self) -> None:
        self.emitted: list[Any] = []
        self.fail = False

    @property
    def sync(self) -> "SyncStreams":
        """Without asyncio."""
        return SyncStreams(self)

    async def emit_many(self, events: Iterable[object]) -> None:
        """Keep them."""
        if self.fail:
            raise ConnectionError("gone")
        self.emitted += events


class SyncStreams:
    """The same without asyncio."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def emit_many(self, events: Iterable[object]) -> None:
        """Keep them."""
        if self._streams.fail:
            raise ConnectionError("gone")
        self._streams.emitted += events


def names(streams: Streams) -> list[str]:
    """Who was told of."""
    return [each.after["name"] for each in streams.emitted]


@pytest.fixture
def streaming(tmp_path: Any) -> Iterator[tuple[Engine, Streams]]:
    """An engine without a store whose changes go to streams."""
    engine = create_engine(f"sqlite:///{tmp_path}/plain.db")
    Base.metadata.create_all(engine)
    streams = Streams()
    emit_changes(engine, streams)
    yield engine, streams
    engine.dispose()


@pytest.mark.covers("EMIT-6")
def test_changes_can_go_to_streams_after_the_commit(streaming: tuple[Engine, Streams]) -> None:
    """Not before it, not after a rollback, and without what a savepoint took with it."""
    engine, streams = streaming
    with Session(engine) as session:
        session.add(Customer(name="Ann"))
        session.flush()
        assert streams.emitted == []
        with session.begin_nested():
            session.add(Customer(name="Bob"))
            with session.begin_nested() as inner:
                session.add(Customer(name="Lost"))
                session.flush()
                inner.rollback()
        with session.begin_nested() as outer:
            with session.begin_nested():
                session.add(Customer(name="Lost too"))
            outer.rollback()
        assert streams.emitted == []
        session.commit()
        assert names(streams) == ["Ann", "Bob"]
        session.add(Customer(name="Gone"))
        session.flush()
        session.rollback()
        session.add(Customer(name="Closed"))
        session.flush()
        session.close()
        assert not any(session.info.values())
        session.add(Customer(name="Cid"))
        session.commit()
    assert names(streams) == ["Ann", "Bob", "Cid"]
    assert isinstance(streams.emitted[0], Change)


def test_a_stream_that_fails_does_not_fail_the_commit(
    streaming: tuple[Engine, Streams], caplog: pytest.LogCaptureFixture
) -> None:
    """What is committed is committed; the log says how many events are lost, and of what kind."""
    engine, streams = streaming
    streams.fail = True
    with Session(engine) as session, caplog.at_level(logging.ERROR, "penstock.models"):
        session.add(Customer(name="Ann"))
        session.commit()
    assert "1 change events are committed and could not be emitted (CustomerCreated)" in caplog.text


async def test_an_asynchronous_commit_has_emitted_when_it_returns(tmp_path: Any) -> None:
    """What is awaited for the commit includes the stream."""
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/plain.db")
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    streams = Streams()
    emit_changes(engine, streams)
    async with AsyncSession(engine) as session:
        session.add(Customer(name="Ann"))
        await session.commit()
        assert names(streams) == ["Ann"]
    await engine.dispose()
