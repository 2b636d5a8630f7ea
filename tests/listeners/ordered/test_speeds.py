"""A worker of an ordered group tells how fast its handlers are while it works, not only when it ends."""

from datetime import timedelta
from typing import Literal

import pytest

from penstock.testing import ManualClock
from tests.listeners.ordered.workshop import GROUP, STREAM, StockMoved, Workshop, until


@pytest.mark.covers("OPS-2")
@pytest.mark.parametrize("mode", ["exclusive", "keyed"])
async def test_speeds_are_told_every_five_seconds(
    shop: Workshop, clock: ManualClock, mode: Literal["exclusive", "keyed"]
) -> None:
    """Anyone can see them meanwhile, and what was told once is not told again."""
    shop.settings(mode=mode)

    @shop.router.listener(StockMoved)
    async def count(event: StockMoved) -> None:
        pass

    await shop.move(("bolt", 1), ("nut", 1))
    async with shop.working() as worker:
        await until(lambda: worker.counts.handled == 2)
        assert not (await shop.broker.figures.figures(STREAM, GROUP)).days

        await clock.advance(timedelta(seconds=5))
        await shop.move(("bolt", 2))
        await until(lambda: worker.counts.handled == 3)
        [day] = (await shop.broker.figures.figures(STREAM, GROUP)).days.values()
        assert {listener: figures.runs for listener, figures in day.items()} == {"count": 2}

        await clock.advance(timedelta(seconds=5))
        found = await shop.broker.figures.figures(STREAM, GROUP)
        assert [day["count"].runs for day in found.days.values()] == [3]
        assert found.events_per_second == pytest.approx(3 / 60)
