"""An app runs its projections beside its groups, or without any."""

from pathlib import Path

import pytest

from penstock import App, Event
from penstock.errors import ConfigurationError
from penstock.listeners.runner import Runner
from penstock.projections._engine._supervisor import ProjectionSupervisor


class Placed(Event, name="supervised.placed", key="number"):
    """An order."""

    number: str


def shop(folder: Path) -> App:
    """An app with two projections, and a store in a file."""
    app = App("shop", store=f"sqlite:///{folder / 'events.db'}", streams="memory://")
    for name in ("first", "second"):
        projection = app.projection(name)

        @projection.on(Placed)
        def note(event: Placed) -> None:
            pass

    return app


def names_of(runner: Runner) -> list[list[str]]:
    """The projections of each supervisor that it runs."""
    found = [part for part in runner.parts if isinstance(part, ProjectionSupervisor)]
    return [[each.plan.name for each in supervisor.projections] for supervisor in found]


@pytest.mark.covers("PROJ-9", "PROJ-21")
async def test_an_app_without_listeners_runs_its_projections(tmp_path: Path) -> None:
    """Under one supervisor, and nothing of streams is connected to."""
    app = shop(tmp_path)
    async with app:
        await app.store().append(Placed(number="1"))
        runner = await app.runner()
        assert names_of(runner) == [["first", "second"]]
        assert runner.workers == ()
        await app.run(until_idle=True)


@pytest.mark.parametrize(
    ("only", "wanted"),
    [
        (("projection",), [["first", "second"]]),
        (("projection:second",), [["second"]]),
        (("second",), [["second"]]),
        (("projection:first", "projection"), [["first", "second"]]),
    ],
)
async def test_a_part_of_an_app_can_be_chosen(
    tmp_path: Path, only: tuple[str, ...], wanted: list[list[str]]
) -> None:
    """By kind, by kind and name, or by a name that no group has."""
    from penstock.app import Selection

    app = shop(tmp_path)
    async with app:
        assert names_of(await app.runner(Selection(only=only))) == wanted


async def test_a_projection_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the nearest that is."""
    app = shop(tmp_path)
    async with app:
        with pytest.raises(ConfigurationError, match=r"no projection .secnd. to run .did you mean .second."):
            await app.run(only=["projection:secnd"])


async def test_groups_and_projections_run_together(tmp_path: Path) -> None:
    """Each only when it is chosen, or nothing is."""
    from penstock.app import Selection

    app = shop(tmp_path)

    @app.listener(Placed, group="billing")
    async def charge(event: Placed) -> None:
        pass

    async with app:
        both = await app.runner()
        assert (len(both.workers), names_of(both)) == (1, [["first", "second"]])
        groups = await app.runner(Selection(only=("billing",)))
        assert (len(groups.workers), names_of(groups)) == (1, [])
        some = await app.runner(Selection(only=("group:billing", "projection:first")))
        assert (len(some.workers), names_of(some)) == (1, [["first"]])
