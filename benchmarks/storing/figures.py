"""The figures of event stores and projections: how each is measured."""

from collections.abc import Callable
from typing import Final, TypeAlias

from benchmarks.harness import Bench
from benchmarks.job import Outcome
from benchmarks.results import Table, table_of
from benchmarks.storing.databases import databases
from benchmarks.storing.job import GrownOutcome, StoreJob, Work
from benchmarks.storing.keepers import KEEPERS, OURS, SQLITE_OURS, KeeperEntrant
from benchmarks.storing.relaying import measure_relays
from benchmarks.storing.replaying import measure_replays, measure_switches

__all__ = ["STORE_FIGURES", "StoreMeasure"]

StoreMeasure: TypeAlias = Callable[[Bench], list[Table]]

_WORKER: Final = "benchmarks.storing.worker"
_READS: Final = frozenset({Work.READ, Work.PROJECT, Work.PROJECT_EACH})


def _figure(figure: str, title: str, work: Work, dialect: str) -> StoreMeasure:
    def measure(bench: Bench) -> list[Table]:
        sides = [
            side for side in KEEPERS if side.dialect == dialect and work in side.rates and not side.missing()
        ]
        with databases({dialect}) as made:

            def run(side: KeeperEntrant, _turn: int) -> Outcome:
                url = made.new(dialect)
                events = side.rates[work] // (4 if bench.options.quick else 1)
                if work in _READS:
                    _run(bench, side, Work.APPEND_BATCH, url, events)
                return _run(bench, side, work, url, events)

            results = bench.race(figure, sides, run, _shown)
        values = {name: [_value(each, work) for each in rounds] for name, rounds in results.items()}
        return [table_of(figure, title, values, "us" if work is Work.WAKE else "events/s")]

    return measure


def _run(bench: Bench, side: KeeperEntrant, work: Work, url: str, events: int) -> Outcome:
    job = StoreJob(keeper=side.code, work=work, url=url, events=events, uvloop=bench.options.uvloop)
    return bench.work(_WORKER, job, Outcome)


def _growth(dialect: str, ours: str) -> StoreMeasure:
    def measure(bench: Bench) -> list[Table]:
        sizes = {"small": 10_000, "large": 500_000 if bench.options.quick else 5_000_000}
        [side] = [each for each in KEEPERS if each.name == ours]
        found: dict[str, list[GrownOutcome]] = {size: [] for size in sizes}
        with databases({dialect}) as made:
            for turn in range(1 if bench.options.quick else 3):
                for size, held in sizes.items():
                    job = StoreJob(
                        keeper=side.code,
                        work=Work.GROWN,
                        url=made.new(dialect),
                        events=_GROWTH_EVENTS,
                        uvloop=bench.options.uvloop,
                        held=held,
                    )
                    grown = bench.work(_WORKER, job, GrownOutcome, timeout_s=900)
                    found[size].append(grown)
                    bench.say(f"store growth  {turn + 1}  {ours}, {size}: {grown}")
        between = f"{sizes['small']:,} and {sizes['large']:,} events in the store, {dialect}"
        return [
            table_of(
                f"{dialect} growth {what}",
                f"{title}; {between}",
                {f"{ours}, {size}": [value(each) for each in rounds] for size, rounds in found.items()},
                unit,
            )
            for what, title, unit, value in _GROWN
        ]

    return measure


_GROWTH_EVENTS: Final = 10_000
_GROWN: Final[tuple[tuple[str, str, str, Callable[[GrownOutcome], float]], ...]] = (
    ("append", "one event of a batch", "us", lambda grown: grown.append_us),
    ("project", "one event of a page", "us", lambda grown: grown.project_us),
    ("load", "a stream of a hundred events", "us", lambda grown: grown.load_us),
    ("memory", "the process", "MiB", lambda grown: grown.peak_rss_mib),
)


def _value(outcome: Outcome, work: Work) -> float:
    return (outcome.p50_us or 0.0) if work is Work.WAKE else outcome.rate


def _shown(outcome: Outcome) -> str:
    if outcome.p50_us is not None:
        return f"p50 {outcome.p50_us:,.0f} us, p99 {outcome.p99_us:,.0f} us"
    return f"{outcome.rate:,.0f}/s, {outcome.peak_rss_mib:.0f} MiB"


_PG: Final = "postgresql"
STORE_FIGURES: Final[dict[str, StoreMeasure]] = {
    "S1": _figure("S1", "append one by one, PostgreSQL", Work.APPEND, _PG),
    "S2": _figure("S2", "append from 16 writers, PostgreSQL", Work.APPEND_SHARED, _PG),
    "S3": _figure("S3", "append in batches of 1000, PostgreSQL", Work.APPEND_BATCH, _PG),
    "S4": _figure("S4", "read by position into event objects, PostgreSQL", Work.READ, _PG),
    "S5": _figure("S5", "append one by one, SQLite", Work.APPEND, "sqlite"),
    "S5 batch": _figure("S5 batch", "append in batches of 1000, SQLite", Work.APPEND_BATCH, "sqlite"),
    "S5 shared": _figure("S5 shared", "append from 16 tasks, SQLite", Work.APPEND_SHARED, "sqlite"),
    "J1": _figure("J1", "project in pages of 1000, PostgreSQL", Work.PROJECT, _PG),
    "J1 SQLite": _figure("J1 SQLite", "project in pages of 1000, SQLite", Work.PROJECT, "sqlite"),
    "J2": _figure("J2", "project, a transaction an event, PostgreSQL", Work.PROJECT_EACH, _PG),
    "wake": _figure("wake", "from commit to a projection's handler, median, PostgreSQL", Work.WAKE, _PG),
    "wake SQLite": _figure(
        "wake SQLite", "from commit to a projection's handler, median, SQLite", Work.WAKE, "sqlite"
    ),
    "relay": measure_relays,
    "growth PostgreSQL": _growth(_PG, OURS),
    "growth SQLite": _growth("sqlite", SQLITE_OURS),
    "replay PostgreSQL": measure_replays(_PG),
    "replay SQLite": measure_replays("sqlite"),
    "promote PostgreSQL": measure_switches(_PG),
    "promote SQLite": measure_switches("sqlite"),
}
"""How to measure each figure, in the order they are measured; those called ``verify`` come with ``promote``."""
