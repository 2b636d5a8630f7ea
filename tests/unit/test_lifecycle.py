"""The life of anything that runs: which moves are legal, and who is told of them."""

import asyncio
from itertools import product

import pytest

from penstock.errors import IllegalTransitionError
from penstock.lifecycle import LEGAL_MOVES, Lifecycle, State, side_by_side

PATHS = {
    State.NEW: [],
    State.STARTING: [State.STARTING],
    State.READY: [State.STARTING, State.READY],
    State.QUIET: [State.STARTING, State.READY, State.QUIET],
    State.STOPPED: [State.STARTING, State.READY, State.QUIET, State.STOPPED],
    State.FAILED: [State.STARTING, State.FAILED],
}


def at(state: State) -> Lifecycle:
    """A life cycle that has come to *state*."""
    lifecycle = Lifecycle("worker 1")
    for step in PATHS[state]:
        lifecycle.move(step)
    return lifecycle


@pytest.mark.parametrize(("state", "wanted"), list(product(State, State)))
def test_the_table_of_legal_moves_is_kept(state: State, wanted: State) -> None:
    """A legal move is made, an illegal one refused by name, and staying is no move."""
    lifecycle = at(state)
    if wanted is state or wanted in LEGAL_MOVES[state]:
        lifecycle.move(wanted)
        assert lifecycle.state is wanted
        return

    with pytest.raises(IllegalTransitionError) as refused:
        lifecycle.move(wanted)

    assert (refused.value.thing, refused.value.state, refused.value.wanted) == (
        "worker 1",
        state.value,
        wanted.value,
    )
    assert lifecycle.state is state


def test_every_state_has_its_moves() -> None:
    """The table is complete, and nothing becomes new again."""
    assert set(LEGAL_MOVES) == set(State)
    assert all(State.NEW not in moves for moves in LEGAL_MOVES.values())


async def test_waits_end_with_their_moment() -> None:
    """Ready, quiet and stopped can each be waited for, and stay true for those who come later."""
    lifecycle = Lifecycle("worker 1")
    waits = [lifecycle.wait_ready, lifecycle.wait_quiet, lifecycle.wait_stopped]
    tasks = [asyncio.create_task(wait()) for wait in waits]

    async def done() -> list[bool]:
        for _ in range(3):
            await asyncio.sleep(0)
        return [task.done() for task in tasks]

    lifecycle.move(State.STARTING)
    assert await done() == [False, False, False]
    lifecycle.move(State.READY)
    assert await done() == [True, False, False]
    assert not lifecycle.is_quiet
    lifecycle.move(State.QUIET)
    assert await done() == [True, True, False]
    assert lifecycle.is_quiet
    lifecycle.move(State.STOPPED)
    assert await done() == [True, True, True]
    async with asyncio.timeout(10):
        for wait in waits:
            await wait()


@pytest.mark.covers("LISTEN-10")
@pytest.mark.parametrize("end", [State.STOPPED, State.FAILED])
async def test_what_has_ended_may_be_started_again(end: State) -> None:
    """With everything as at the first start: neither quiet nor stopped."""
    lifecycle = at(State.READY)
    lifecycle.move(end)
    assert lifecycle.is_quiet

    lifecycle.move(State.STARTING)

    assert not lifecycle.is_quiet
    stopped = asyncio.create_task(lifecycle.wait_stopped())
    await asyncio.sleep(0)
    assert not stopped.done()
    lifecycle.move(State.STOPPED)
    await stopped


async def test_a_failure_is_also_an_end() -> None:
    """Whoever waits for the end learns of it, well or badly."""
    lifecycle = at(State.READY)
    lifecycle.move(State.FAILED)

    async with asyncio.timeout(10):
        await lifecycle.wait_stopped()
        await lifecycle.wait_quiet()


# -- side by side ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_cancelled", [False, True])
async def test_tasks_side_by_side_have_all_ended_when_one_fails_or_all_are_cancelled(
    is_cancelled: bool,
) -> None:
    """The others are cancelled and waited for, and what the first has raised is raised."""
    ended: list[str] = []
    go_on = asyncio.Event()

    async def fail() -> None:
        await go_on.wait()
        raise ValueError("first")

    async def tidy_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("tidied up")

    tasks = [asyncio.create_task(fail()), asyncio.create_task(tidy_up())]
    together = asyncio.create_task(side_by_side(tasks))
    await asyncio.sleep(0)
    if is_cancelled:
        together.cancel()
    else:
        go_on.set()
    with pytest.raises(asyncio.CancelledError if is_cancelled else ValueError):
        await together
    assert ended == ["tidied up"]
    assert all(task.done() for task in tasks)
