"""A random life of a replay beside a model: legal and illegal moves, events, and kill -9 in the middle of any step."""

import asyncio
import signal
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from penstock.errors import ReplayExistsError, ReplayMoveError, UnknownReplayError
from penstock.replays.abc import Replay, ReplayState
from penstock.store import make_backend
from penstock.store.database import Database
from penstock.store.migrating import apply
from tests.fixtures_postgres import PostgresServer, new_database
from tests.fixtures_stores import STORES
from tests.replays.core.exact import check_copy, check_exact
from tests.replays.core.players import Players
from tests.replays.core.shop import make_app, paid

T = TypeVar("T")

STEPS = (
    "create",
    "start",
    "start-from-zero",
    "follow",
    "unfollow",
    "verify",
    "promote",
    "rollback",
    "remove",
)
NONE = "none"
LEADS: dict[str, dict[str, str]] = {
    "create": {NONE: "created"},
    "start": {"created": "built", "building": "built", "built": "built"},
    "start-from-zero": {"created": "built", "building": "built", "built": "built"},
    "follow": dict.fromkeys(("created", "building", "built", "following"), "following")
    | {"promoted": "promoted"},
    "unfollow": {"following": "built", "promoted": "promoted"},
    "verify": {"built": "built", "following": "following"},
    "promote": {"built": "promoted", "following": "promoted"},
    "rollback": {"promoted": "following"},
    "remove": dict.fromkeys(("created", "building", "built", "following", "promoted"), NONE),
}
"""The model: which step may be taken in which state, and where it leads."""
BETWEEN = {
    "start": {"building"},
    "start-from-zero": {"building"},
    "follow": {"building", "built"},
    "remove": {"created", "built"},
}
"""Where else a step may have come to that was cut short."""


class ReplayLife(RuleBasedStateMachine):
    """The record is what the model says, and each generation has every event up to its checkpoint exactly once."""

    new_url: ClassVar[Callable[[Path], str]]
    players: ClassVar[Players]

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.url = type(self).new_url(Path(self._folder.name))
        apply(make_backend("local", self.url).database)
        self._runner = asyncio.Runner()
        self.app = make_app(self.url, version=2, page=7, counts=True)
        self._run(self.app.open())
        self._run(self.app.catch_up())
        self.stored = 0
        self.state: str = NONE
        self.is_fed = False
        self.players.url = self.url

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    def teardown(self) -> None:
        """Whatever state it is in, it can be brought to an end, and everything is as if it had never been."""
        if self.state != NONE:
            self._run(self.app.replays.remove("k"))
        self._run(self.app.catch_up())
        self._is_level(self._database, "")
        self._run(self.app.close())
        self._runner.close()
        self._folder.cleanup()

    @property
    def _database(self) -> Database:
        return self._run(_database(self.app))

    # -- what happens ---------------------------------------------------------------------------------------------

    @rule(count=st.integers(1, 25))
    def store_events(self, count: int) -> None:
        """Somebody pays."""
        self._run(_append(self.app, count, self.stored))
        self.stored += count

    @rule()
    def feed(self) -> None:
        """Whoever runs the projections catches up: the live one, and the copy if it is fed."""
        self._run(self.app.catch_up())
        self._is_level(self._database, "")
        if self.is_fed:
            assert self._run(self.app.replays.lag("k")) == 0

    @rule(step=st.sampled_from(STEPS))
    def take(self, step: str) -> None:
        """A step, legal or not; an illegal one changes nothing."""
        after = LEADS[step].get(self.state)
        if after is None:
            kind = {NONE: UnknownReplayError}.get(self.state, ReplayMoveError)
            with pytest.raises(ReplayExistsError if step == "create" else kind):
                self._run(self._step(step))
            return
        self._run(self._step(step))
        self._came_to(step, after)

    @rule(step=st.sampled_from((*STEPS, "feed")), moments=st.integers(0, 45))
    def die_in(self, step: str, moments: int) -> None:
        """A process takes a step and is killed in it, or comes to its end before that."""
        code = self.players.run_sync(step, moments=moments)
        if step == "feed":
            assert code in (0, -signal.SIGKILL)
            return
        after = LEADS[step].get(self.state)
        replay = self._run(self.app.replays.get("k"))
        found = NONE if replay is None else replay.state
        if after is None:
            assert code in (1, -signal.SIGKILL)
            assert found == self.state
            return
        if code == 0:
            assert found == after
            self._came_to(step, after)
            return
        assert code == -signal.SIGKILL
        assert found in {self.state, after, *BETWEEN.get(step, ())}
        self.state = found
        self.is_fed = replay is not None and replay.is_fed and found in ("following", "promoted")

    def _came_to(self, step: str, after: str) -> None:
        self.state = after
        if step in ("follow", "promote", "rollback"):
            self.is_fed = True
        elif step in ("unfollow", "remove", "create"):
            self.is_fed = False
        if step in ("start", "start-from-zero"):
            assert self._run(self.app.replays.lag("k")) == 0

    async def _step(self, step: str) -> None:
        replays = self.app.replays
        match step:
            case "create":
                await replays.create("k", ["totals", "counts"])
            case "start-from-zero":
                await replays.start("k", from_zero=True)
            case "promote":
                await replays.promote("k", force=True, reason="a test")
            case "verify":
                assert (await replays.verify("k")).is_green
            case _:
                await getattr(replays, step)("k")

    # -- what is always so ----------------------------------------------------------------------------------------

    @invariant()
    def the_record_is_what_the_model_says(self) -> None:
        """Its state, and whether it is fed."""
        replay: Replay | None = self._run(self.app.replays.get("k"))
        found: ReplayState | str = NONE if replay is None else replay.state
        assert found == self.state
        if replay is not None and self.state in ("following", "promoted"):
            assert replay.is_fed == self.is_fed
            assert replay.error == ""

    @invariant()
    def every_event_counts_once_in_each_generation(self) -> None:
        """What is live is what its checkpoint says, and so is what is copied."""
        check_exact(self._database, "")
        if self.state not in (NONE, "created"):
            check_copy(self.app, "k")

    def _is_level(self, database: Database, generation: str) -> None:
        check_exact(database, generation)
        with closing(database.connect()) as connection:
            rows = database.execute(
                connection, "SELECT position FROM penstock_checkpoints WHERE generation = ?", (generation,)
            ).fetchall()
            connection.rollback()
        assert {row[0] for row in rows} == {self.stored}


async def _database(app: Any) -> Database:
    database: Database = app.store().database
    return database


async def _append(app: Any, count: int, first: int) -> None:
    await app.store().append(paid(count, first=first))


@pytest.fixture(scope="module")
def shared_players() -> Iterator[Players]:
    """One that forks for all examples."""
    some = Players()
    yield some
    some.end()


@pytest.mark.covers("ZDT-4", "ZDT-10", "ZDT-13")
@pytest.mark.parametrize("kind", STORES)
@pytest.mark.timeout(3600)
def test_a_random_life_of_a_replay_agrees_with_the_model(
    kind: str, shared_players: Players, request: pytest.FixtureRequest, torture: bool
) -> None:
    """Long lives in the long form."""

    def new_url(folder: Path) -> str:
        if kind == "sqlite":
            return f"sqlite:///{folder / 'events.db'}"
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return new_database(server)

    class Life(ReplayLife):
        pass

    Life.new_url = staticmethod(new_url)
    Life.players = shared_players
    run_state_machine_as_test(
        Life,
        settings=settings(
            max_examples=150 if torture else 4, stateful_step_count=30 if torture else 10, deadline=None
        ),
    )
