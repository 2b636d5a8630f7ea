"""Projections in settings: the examples of the shared event store's guide, as they stand, and what is refused."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from penstock import App, Event, Retry
from penstock.config import load_settings
from penstock.errors import ConfigurationError, InvalidSettingsError
from penstock.projections import PayloadMapper, Rows
from penstock.store.abc import StoredEvent
from tests.projections.shop import CustomerTotal, OrderLine, OrderPlaced

EXAMPLE = """
store = "sqlite:///local.db"

[stores.shared]
url = "sqlite:///shared.db"

[projections.producing.boilerplate-users-projection]
stream_name = "boilerplate-users-stream"

[projections.producing.boilerplate-projects-projection]
stream_name = "boilerplate-users-stream"
background_process = false

[projections.consuming.buyer-search_profile-projection]
stream_names = ["buyer-search_profiles-stream"]
environment = "shared"
handler = "tests.projections.test_settings:BuyerSearchProfileCreatedEventHandler"

[projections.consuming.on-demand-projection]
stream_names = ["buyer-search_profiles-stream"]
environment = "local"
handler = "tests.projections.test_settings:BuyerSearchProfileCreatedEventHandler"
background_process = false

[projections.consuming.long-running-projection]
stream_name = "buyer-search_profiles-stream"
environment = "local"
handler = "tests.projections.test_settings:note"
background_process = true
"""

SEEN: list[Any] = []


class ProfileCreated(Event, name="Buyer.SearchProfileCreated"):
    """A profile was made."""

    room_min_size: str


class BuyerSearchProfileCreatedEventMapper(PayloadMapper):
    """Typed getters."""

    @property
    def room_min_size(self) -> str:
        """How large it is at least."""
        size: str = self.get("room_min_size")
        return size


class BuyerSearchProfileCreatedEventHandler:
    """A handler of every event of its streams."""

    def handle(self, profile: BuyerSearchProfileCreatedEventMapper, event: StoredEvent) -> None:
        """Note the event."""
        SEEN.append(("class", profile.room_min_size, event.stream))


def note(event: StoredEvent) -> None:
    """Note the event."""
    SEEN.append(("function", event.name, event.stream))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in."""
    (tmp_path / ".git").mkdir()
    monkeypatch.chdir(tmp_path)
    SEEN.clear()
    return tmp_path


@pytest.mark.covers("PROJ-1", "PROJ-3", "PROJ-10")
async def test_the_examples_of_the_guide_run(folder: Path) -> None:
    """Produced to the shared store, consumed from it and from the local one, on demand and always, side by side."""
    (folder / "penstock.toml").write_text(EXAMPLE)
    app = App("buyer", streams="memory://")
    assert {name: each.mode for name, each in app.projections.items()} == {
        "buyer-search_profile-projection": "background",
        "on-demand-projection": "on_demand",
        "long-running-projection": "background",
    }
    async with app:
        users, profiles = "boilerplate-users-stream", "buyer-search_profiles-stream"
        await app.store().append(ProfileCreated(room_min_size="1"), event_stream=users)
        await app.store().append(ProfileCreated(room_min_size="2"), event_stream=profiles)
        await app.store("shared").append(ProfileCreated(room_min_size="3"), event_stream=profiles)
        await app.run(until_idle=True)
        assert sorted(SEEN) == [
            ("class", "2", profiles),
            ("class", "3", profiles),
            ("function", "Buyer.SearchProfileCreated", profiles),
        ]
        copied = [event async for event in app.store("shared").read(users)]
        assert [event.payload for event in copied] == [{"room_min_size": "1"}]
        await app.run(until_idle=True)
        assert len(SEEN) == 3


BASE = {"stream_name": "users", "environment": "local", "handler": "m:f"}


@pytest.mark.covers("PROJ-1")
@pytest.mark.parametrize(
    ("kind", "said", "problem"),
    [
        ("consuming", {"stream_names": ["users"]}, "stream_name and stream_names are both there"),
        ("consuming", {"stream_name": None}, "does not say what it follows; add stream_name"),
        ("consuming", {"stream_name": ""}, "stream_name: it is empty"),
        ("consuming", {"stream_name": None, "stream_names": "users"}, "is no list"),
        ("consuming", {"stream_name": None, "stream_names": ["users", "users"]}, "in the list twice"),
        ("consuming", {"environment": None}, "does not say which store it reads; add environment"),
        ("consuming", {"environment": "remote"}, "choose one of 'local', 'shared'"),
        (
            "consuming",
            {"environment": "shared"},
            r"there is no store 'shared'; configure it: \[stores.shared\]",
        ),
        ("consuming", {"store": "local"}, "environment and store both say"),
        (
            "consuming",
            {"environment": None, "store": "locl"},
            "there is no store 'locl'; did you mean 'local'",
        ),
        ("consuming", {"into": "far"}, "there is no store 'far'"),
        ("consuming", {"handler": None}, "does not say what handles its events; add handler"),
        ("consuming", {"handler": "Users"}, "names no place in code"),
        ("consuming", {"background_process": "maybe"}, "neither true nor false"),
        ("consuming", {"background_process": True, "mode": "on_demand"}, "leave background_process out"),
        ("consuming", {"mode": "sometimes"}, "choose one of 'background', 'on_demand'"),
        ("consuming", {"on_failure": "ignore"}, "choose one of 'halt', 'retry', 'park', 'skip'"),
        ("consuming", {"strem_name": "users"}, "there is no such setting; did you mean"),
        ("consuming", {"page": 0}, "at least 1"),
        ("consuming", {"retry": {"attempts": 0}}, "attempts"),
        ("producing", {}, r"there is no store 'shared'; configure it: \[stores.shared\]"),
        ("producing", {"target": "local"}, "not into that"),
        ("producing", {"stream_name": None}, "does not say what it follows"),
        ("producing", {"handler": "m:f"}, "there is no such setting"),
    ],
)
def test_each_mistake_is_one_precise_problem(
    kind: str, said: dict[str, Any], problem: str, folder: Path
) -> None:
    """What is wrong, where, and what to write instead; and nothing else."""
    base = BASE if kind == "consuming" else {"stream_name": "users"}
    whole = {key: value for key, value in {**base, **said}.items() if value is not None}
    code: dict[str, Any] = {"projections": {kind: {"users": whole}}}
    if "'shared'; configure" not in problem:
        code["stores"] = {"shared": {"url": "sqlite:///shared.db"}}
    with pytest.raises(InvalidSettingsError, match=problem) as caught:
        load_settings(start=folder, environ={}, code=code)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f"code: projections.{kind}.users")


@pytest.mark.covers("PROJ-1")
def test_one_name_is_one_projection(folder: Path) -> None:
    """Whether it consumes, produces or relays: a position is kept under its name."""
    stores = {"shared": {"url": "sqlite:///shared.db"}}
    both = {"consuming": {"users": BASE}, "producing": {"users": {"stream_name": "users"}}}
    with pytest.raises(InvalidSettingsError, match="a producing projection has this name as well"):
        load_settings(start=folder, environ={}, code={"projections": both, "stores": stores})
    produced = {"projections": {"producing": both["producing"]}, "relays": {"users": {"target": "shared"}}}
    with pytest.raises(InvalidSettingsError, match="a relay has this name as well"):
        load_settings(start=folder, environ={}, code={**produced, "stores": stores})
    app = App("shop", projections={"consuming": {"users": {**BASE, "handler": f"{__name__}:note"}}})
    app.projection("users")
    with pytest.raises(ConfigurationError, match="declared twice"):
        _ = app.settings


@pytest.mark.covers("PROJ-1")
@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        ("nowhere:f", "cannot be loaded"),
        (f"{__name__}:SEEN", "decorate a function"),
        ("enum:Enum", "no method of"),
    ],
)
def test_a_handler_that_is_none_is_named(handler: str, problem: str, folder: Path) -> None:
    """Before anything starts."""
    app = App("shop", projections={"consuming": {"users": {**BASE, "handler": handler}}})
    with pytest.raises(ConfigurationError, match=problem):
        _ = app.projections


@pytest.mark.covers("PROJ-3", "PROJ-21")
async def test_an_app_reads_one_store_and_writes_into_another(folder: Path) -> None:
    """The read model and the position are in the database of the store named ``into``."""
    app = App("shop", streams="memory://", stores={"shared": {"url": f"sqlite:///{folder / 'shared.db'}"}})
    totals = app.projection("totals", store="shared", into="local", tables=[CustomerTotal])

    @totals.on(OrderPlaced)
    def add(order: OrderPlaced, rows: Rows) -> None:
        rows.increment(CustomerTotal, {"customer": order.customer}, total_cents=order.total_cents)

    async with app:
        for number in range(5):
            await app.store("shared").append(OrderPlaced(order_id=str(number), customer="ann", total_cents=2))
        await app.catch_up("totals")
        database = app.store().database
        connection = database.connect()
        assert [
            tuple(row) for row in database.execute(connection, "SELECT * FROM customer_totals").fetchall()
        ] == [("ann", 0, 10)]
        connection.close()


@pytest.mark.covers("PROJ-15")
async def test_what_a_session_cannot_write_is_found_to_be_one_events_fault(folder: Path) -> None:
    """It shows at the end of a page; that event alone goes to the failures, and the others count."""
    app = App("shop", streams="memory://")
    orders = app.projection("orders", tables=[OrderLine], on_failure="skip", retry=Retry(attempts=1))

    @orders.on(OrderPlaced)
    def add(order: OrderPlaced, session: Session) -> None:
        session.add(OrderLine(order_id=order.order_id, number=1))

    async with app:
        ids = [str(number if number != 37 else 3) for number in range(60)]
        await app.store().append([OrderPlaced(order_id=each, customer="ann", total_cents=1) for each in ids])
        await app.catch_up()
        database = app.store().database
        connection = database.connect()
        assert len(database.execute(connection, "SELECT * FROM order_lines").fetchall()) == 59
        failed = database.execute(connection, "SELECT position FROM penstock_projection_failures").fetchall()
        assert [tuple(row) for row in failed] == [(38,)]
        connection.close()


def test_the_same_without_asyncio(folder: Path) -> None:
    """``app.sync`` appends, catches up and reads a state."""
    app = App("shop", streams="memory://")
    total = app.projection("total", state=0)

    @total.on(OrderPlaced)
    def add(state: int, order: OrderPlaced) -> int:
        return state + order.total_cents

    with app.sync as sync:
        assert sync.projection_state("total") == 0
        sync.store().append(OrderPlaced(order_id="1", customer="ann", total_cents=5))
        sync.catch_up("total")
        assert sync.projection_state("total") == 5
