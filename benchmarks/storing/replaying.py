"""The figures of replays: how fast a copy is built, how long a promotion keeps others out, what a comparison costs."""

from collections.abc import Callable
from typing import Final, TypeAlias

from benchmarks.harness import Bench
from benchmarks.job import Outcome
from benchmarks.results import Table, table_of
from benchmarks.storing.databases import databases
from benchmarks.storing.job import StoreJob, Work
from benchmarks.storing.keepers import HAND, KEEPERS, OURS, SQLITE_HAND, SQLITE_OURS, KeeperEntrant
from benchmarks.storing.replay_app import ORDERS, SCORES, SPENT
from benchmarks.storing.replay_worker import ReplayJob, ReplayOutcome

__all__ = ["BUILDING", "VERIFYING", "measure_replays", "measure_switches"]

_Measure: TypeAlias = Callable[[Bench], list[Table]]

BUILDING: Final = "building"
VERIFYING: Final = "verifying"
_WORKER: Final = "benchmarks.storing.replay_worker"
_STORE_WORKER: Final = "benchmarks.storing.worker"
_SIDES: Final = {"postgresql": (HAND, OURS), "sqlite": (SQLITE_HAND, SQLITE_OURS)}
_BUILT: Final = 1_000_000
_PROCESSES: Final = (1, 2)
_KINDS: Final = ((ORDERS, "rows only", 1), (SCORES, "0.1 ms of work an event", 5))
"""Projections, what they do, and how many times fewer events are enough to see it."""
_SIZES: Final = {"10,000 rows": 10_000, "1,000,000 rows": 1_000_000}
_TIMEOUT_S: Final = 1_800


def measure_replays(dialect: str) -> _Measure:
    """A copy of a sum by customer beside a hand-written batched rebuild; single rows by one process and by two."""

    def measure(bench: Bench) -> list[Table]:
        events = _BUILT // (20 if bench.options.quick else 1)
        names = _SIDES[dialect]
        sides = [side for side in KEEPERS if side.name in names and not side.missing()]
        with databases({dialect}) as made:

            def build(side: KeeperEntrant, _turn: int) -> float:
                if side.name in (OURS, SQLITE_OURS):
                    return _replayed(bench, made.new(dialect), SPENT, events).rate
                return _by_hand(bench, side, made.new(dialect), events)

            built = bench.race(f"replay {dialect}", sides, build, _rate)
            several = {
                f"{count} process{'es' * (count > 1)}, {said}": [
                    _replayed(bench, made.new(dialect), projection, events // less, processes=count)
                    for _ in range(bench.options.rounds)
                ]
                for projection, said, less in _KINDS
                for count in (_PROCESSES if dialect == "postgresql" else _PROCESSES[:1])
            }
        rates = {name: [each.rate for each in rounds] for name, rounds in several.items()}
        memory = {name: [each.peak_rss_mib for each in rounds] for name, rounds in several.items()}
        title = f"{events:,} events into a copy, {dialect}"
        return [
            table_of(f"replay {dialect}", f"{title}; by hand: a batched rebuild", built),
            table_of(f"replay {dialect} processes", f"{title}; a row for each", rates),
            table_of(
                f"replay {dialect} memory", f"{title}; the process that was asked for it", memory, "MiB"
            ),
        ]

    return measure


def measure_switches(dialect: str) -> _Measure:
    """How long a promotion locks, whatever the size, and a comparison of all rows beside building them."""

    def measure(bench: Bench) -> list[Table]:
        found: dict[str, list[ReplayOutcome]] = {size: [] for size in _SIZES}
        with databases({dialect}) as made:
            for turn in range(bench.options.rounds):
                for size, rows in _SIZES.items():
                    events = min(rows, 50_000) if bench.options.quick else rows
                    outcome = _replayed(bench, made.new(dialect), ORDERS, events, switches=True)
                    found[size].append(outcome)
                    bench.say(f"promote  {turn + 1}/{bench.options.rounds}  {dialect}, {size}: {outcome}")
        [*_, largest] = _SIZES
        locked = {size: [each.locked_ms for each in rounds] for size, rounds in found.items()}
        held = {size: [each.held_ms for each in rounds] for size, rounds in found.items()}
        compared = {
            BUILDING: [each.build_s for each in found[largest]],
            VERIFYING: [each.verify_s for each in found[largest]],
        }
        return [
            table_of(f"promote {dialect}", f"others are kept out; {dialect}", locked, "ms"),
            table_of(f"verify {dialect} held", f"both generations stand still; {dialect}", held, "ms"),
            table_of(f"verify {dialect}", f"{largest}, {dialect}", compared, "s"),
        ]

    return measure


def _replayed(
    bench: Bench, url: str, projection: str, events: int, *, processes: int = 1, switches: bool = False
) -> ReplayOutcome:
    job = ReplayJob(
        url=url,
        projection=projection,
        events=events,
        uvloop=bench.options.uvloop,
        processes=processes,
        switches=switches,
    )
    return bench.work(_WORKER, job, ReplayOutcome, timeout_s=_TIMEOUT_S)


def _by_hand(bench: Bench, side: KeeperEntrant, url: str, events: int) -> float:
    rates: list[float] = []
    for work in (Work.APPEND_BATCH, Work.PROJECT):
        job = StoreJob(keeper=side.code, work=work, url=url, events=events, uvloop=bench.options.uvloop)
        rates.append(bench.work(_STORE_WORKER, job, Outcome, timeout_s=_TIMEOUT_S).rate)
    return rates[-1]


def _rate(rate: float) -> str:
    return f"{rate:,.0f}/s"
