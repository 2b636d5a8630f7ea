"""`FigureStoreContract`: what handlers did, told by many processes and shown by any."""

import asyncio
from datetime import timedelta

import pytest

from penstock.streams.abc import FIGURE_BUCKETS, RunFigures, StreamBroker, bucket_of
from penstock.testing.contracts._common import NAMES, Contract, add

__all__ = ["FigureStoreContract"]


def _runs(*seconds: float, failed: int = 0) -> RunFigures:
    buckets = [0] * FIGURE_BUCKETS
    for each in seconds:
        buckets[bucket_of(each)] += 1
    return RunFigures(len(seconds), failed, sum(seconds), tuple(buckets))


class FigureStoreContract(Contract):
    """What every `FigureStore` guarantees. Inherit it and supply the ``broker`` fixture, as for the broker's."""

    @pytest.mark.covers("OPS-2")
    @pytest.mark.parametrize("name", NAMES)
    async def test_what_processes_tell_is_added_up(self, broker: StreamBroker, name: str) -> None:
        """Under any name, for each listener; the rate is that of the last minute."""
        told = {name: _runs(0.001, 0.5, failed=1), "other": _runs(2)}
        await asyncio.gather(*(broker.figures.note(name, name, 30, told) for _ in range(4)))
        await broker.figures.note(name, "idle", 1, {})

        found = await broker.figures.figures(name, name)
        [runs] = found.days.values()
        assert runs == {name: RunFigures.of([told[name]] * 4), "other": RunFigures.of([told["other"]] * 4)}
        assert found.events_per_second == pytest.approx(2)

    async def test_nothing_told_is_nothing_shown(self, broker: StreamBroker) -> None:
        """A group that did nothing has no figures, and no rate."""
        found = await broker.figures.figures("orders", "billing")
        assert (found.events_per_second, found.days) == (0, {})

    async def test_figures_go_with_their_stream(self, broker: StreamBroker) -> None:
        """A stream that was deleted leaves none behind."""
        await add(broker, "orders", 1)
        await broker.figures.note("orders", "billing", 1, {"charge": _runs(0.1)})
        await broker.delete_stream("orders")

        assert (await broker.figures.figures("orders", "billing")).days == {}

    @pytest.mark.covers("OPS-2")
    def test_percentiles_are_within_a_factor_of_two(self) -> None:
        """Of a hundred runs, one of them slow: half are quick, and the slow one shows at the end."""
        runs = _runs(*[0.001] * 99, 1.0)

        middle, end = runs.percentile(0.5), runs.percentile(1)
        assert middle is not None
        assert end is not None
        assert 0.0005 <= middle <= 0.002
        assert 0.5 <= end <= 2
        assert _runs().percentile(0.5) is None
        assert bucket_of(timedelta(days=1).total_seconds()) == FIGURE_BUCKETS - 1
