"""The figures: how each one is measured, and which goals it has to meet."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar

from benchmarks.contenders import OURS, RAW, Entrant
from benchmarks.harness import Bench
from benchmarks.job import Outcome, Role
from benchmarks.keeping import measure_archive, measure_collection, measure_history
from benchmarks.results import Goal, Table, table_of
from benchmarks.storing.figures import STORE_FIGURES
from benchmarks.storing.keepers import HAND, SQLITE_HAND, SQLITE_OURS
from benchmarks.storing.relay_worker import Relaying
from benchmarks.storing.replaying import BUILDING, VERIFYING

__all__ = ["FIGURES", "GOALS", "Measure"]

T = TypeVar("T")

Measure: TypeAlias = Callable[[Bench], list[Table]]

Grown: TypeAlias = dict[str, tuple[Outcome, Outcome]]
"""What publishing and what consuming took, by the size of the stream."""

_GROWTH_EVENTS: Final = 20_000


def _publishing(figure: str, title: str, role: Role, *, keep_awake: bool) -> Measure:
    def measure(bench: Bench) -> list[Table]:
        def publish(entrant: Entrant, _turn: int) -> Outcome:
            bench.server.client.delete("orders")
            return bench.publish(entrant, role, "orders", bench.options.events(entrant, role))

        with bench.stage(keep_awake=keep_awake):
            results = bench.race(figure, _able(bench, role), publish, _rate)
        return [_table(figure, title, results, lambda outcome: outcome.rate)]

    return measure


def _fill(bench: Bench, figure: str, entrants: Sequence[Entrant], role: Role) -> None:
    """Write what each contender will consume in every round, by its own publisher."""

    def fill(entrant: Entrant, _turn: int) -> Outcome:
        return bench.publish(entrant, Role.PUBLISH_BATCH, entrant.name, bench.options.events(entrant, role))

    bench.race(figure, entrants, fill, lambda outcome: f"{outcome.events:,} events written", rounds=1)


def _consuming(figure: str, title: str, role: Role, *, keep_awake: bool) -> Measure:
    def measure(bench: Bench) -> list[Table]:
        def consume(entrant: Entrant, turn: int) -> Outcome:
            place = bench.place(entrant.name, f"round {turn}")
            return bench.consume(entrant, role, place, bench.options.events(entrant, role))

        entrants = _able(bench, role)
        with bench.stage(keep_awake=keep_awake):
            _fill(bench, figure, entrants, role)
            results = bench.race(figure, entrants, consume, _rate)
        tables = [_table(figure, title, results, lambda outcome: outcome.rate)]
        if figure == "C1":
            memory = "peak memory of the consumer of C1"
            tables.append(_table("M1", memory, results, lambda outcome: outcome.peak_rss_mib, unit="MiB"))
        return tables

    return measure


def _latency(bench: Bench) -> list[Table]:
    def consume(entrant: Entrant, turn: int) -> Outcome:
        events = 200 if bench.options.quick else 1000
        return bench.consume_paced(entrant, bench.place(f"{entrant.name} {turn}", "latency"), events)

    with bench.stage(keep_awake=True):
        results = bench.race("L1", _able(bench, Role.CONSUME_PACED), consume, _latencies)
    title = "from publish to handler at 200 events/s, two processes"
    return [
        _table("L1 p50", f"{title}, median", results, lambda outcome: outcome.p50_us or 0.0, unit="us"),
        _table("L1 p99", f"{title}, 99 of 100", results, lambda outcome: outcome.p99_us or 0.0, unit="us"),
    ]


def _growth(bench: Bench) -> list[Table]:
    sizes = {"small": 10_000, "large": 500_000 if bench.options.quick else 5_000_000}

    def grow(entrant: Entrant, turn: int) -> Grown:
        grown: Grown = {}
        for size, entries in sizes.items():
            if size == "small":
                bench.server.client.delete(size)
                bench.server.fill(size, entries)
            end = bench.server.last_entry_id(size)
            published = bench.publish(entrant, Role.PUBLISH_BATCH, size, _GROWTH_EVENTS)
            place = bench.place(size, f"{entrant.name} {turn}")
            consumed = bench.consume(entrant, Role.CONSUME, place, _GROWTH_EVENTS, after=end)
            grown[size] = (published, consumed)
        return grown

    entrants = [entrant for entrant in bench.options.entrants if entrant.name in (RAW, OURS)]
    with bench.stage(keep_awake=False):
        bench.say(f"growth  {sizes['large']:,} entries are written first")
        bench.server.fill("large", sizes["large"])
        results = bench.race("growth", entrants, grow, _grown, rounds=2 if bench.options.quick else 5)
    flat = {
        f"{name}, {size}": [grown[size] for grown in rounds]
        for name, rounds in results.items()
        for size in sizes
    }
    between = f"small: {sizes['small']:,} entries, large: {sizes['large']:,}"
    return [
        _table(
            "growth publish", f"one event of a batch; {between}", flat, lambda both: _us(both[0]), unit="us"
        ),
        _table(
            "growth consume",
            f"one event, acknowledged; {between}",
            flat,
            lambda both: _us(both[1]),
            unit="us",
        ),
        _table(
            "growth memory", f"its consumer; {between}", flat, lambda both: both[1].peak_rss_mib, unit="MiB"
        ),
    ]


def _able(bench: Bench, role: Role) -> list[Entrant]:
    return [entrant for entrant in bench.options.entrants if role in entrant.rates]


def _table(
    figure: str,
    title: str,
    results: Mapping[str, Sequence[T]],
    value: Callable[[T], float],
    *,
    unit: str = "events/s",
) -> Table:
    found = {name: [value(result) for result in rounds] for name, rounds in results.items()}
    return table_of(figure, title, found, unit)


def _us(outcome: Outcome) -> float:
    return outcome.seconds / outcome.events * 1e6


def _rate(outcome: Outcome) -> str:
    return f"{outcome.rate:,.0f}/s, {outcome.peak_rss_mib:.0f} MiB"


def _latencies(outcome: Outcome) -> str:
    return f"p50 {outcome.p50_us:,.0f} us, p99 {outcome.p99_us:,.0f} us"


def _grown(grown: Grown) -> str:
    return "; ".join(
        f"{size}: publish {_us(published):.2f} us, consume {_us(consumed):.2f} us"
        for size, (published, consumed) in grown.items()
    )


FIGURES: Final[dict[str, Measure]] = {
    "P1": _publishing("P1", "publish one by one", Role.PUBLISH, keep_awake=True),
    "P2": _publishing("P2", "publish in batches of 1000", Role.PUBLISH_BATCH, keep_awake=False),
    "P3": _publishing("P3", "publish from 100 tasks", Role.PUBLISH_SHARED, keep_awake=False),
    "C1": _consuming("C1", "consume, acknowledge in batches of 100", Role.CONSUME, keep_awake=True),
    "C2": _consuming("C2", "consume, await each acknowledgement", Role.CONSUME_EACH, keep_awake=True),
    "L1": _latency,
    "order": _consuming("order", "consume in group modes", Role.CONSUME_ORDERED, keep_awake=True),
    "growth": _growth,
    "collect": measure_collection,
    "archive": measure_archive,
    "history": measure_history,
    **STORE_FIGURES,
}
"""How to measure each figure, in the order they are measured; M1 comes with C1."""


def _goal(figure: str, against: str, bound: float, *, at_least: bool, ours: str = OURS) -> Goal:
    return Goal(figure=figure, ours=ours, against=against, bound=bound, at_least=at_least)


GOALS: Final = (
    _goal("P1", RAW, 0.8, at_least=True),
    _goal("P1", "FastStream", 1.5, at_least=True),
    _goal("P2", RAW, 0.8, at_least=True),
    _goal("P2", "redis-py", 2.8, at_least=True),
    _goal("P3", RAW, 0.6, at_least=True),
    _goal("P3", "FastStream", 6, at_least=True),
    _goal("P3", "streamerson", 1.5, at_least=True),
    _goal("C1", RAW, 0.6, at_least=True),
    _goal("C1", "FastStream", 20, at_least=True),
    _goal("C1", "FastStream batch", 2.5, at_least=True),
    _goal("C1", "redis-py", 1.1, at_least=True),
    _goal("C1", "streamerson", 1.5, at_least=True),
    _goal("M1", "FastStream", 1, at_least=False),
    _goal("M1", RAW, 1.5, at_least=False),
    _goal("C2", "FastStream", 1.5, at_least=True),
    _goal("L1 p50", RAW, 1.5, at_least=False),
    _goal("L1 p50", "FastStream", 0.4, at_least=False),
    _goal("L1 p99", "FastStream", 1, at_least=False),
    _goal("growth publish", f"{OURS}, small", 1.15, at_least=False, ours=f"{OURS}, large"),
    _goal("growth consume", f"{OURS}, small", 1.15, at_least=False, ours=f"{OURS}, large"),
    _goal("history", f"{OURS}, small", 2, at_least=False, ours=f"{OURS}, large"),
    _goal("S1", HAND, 0.85, at_least=True),
    _goal("S1", "eventsourcing", 2.5, at_least=True),
    _goal("S2", HAND, 0.7, at_least=True),
    _goal("S2", "eventsourcing", 10, at_least=True),
    _goal("S3", HAND, 0.8, at_least=True),
    _goal("S3", "eventsourcing", 1.6, at_least=True),
    _goal("S4", HAND, 0.6, at_least=True),
    _goal("S5", SQLITE_HAND, 0.85, at_least=True, ours=SQLITE_OURS),
    _goal("S5 batch", SQLITE_HAND, 0.8, at_least=True, ours=SQLITE_OURS),
    _goal("S5 shared", "aiosqlite", 3, at_least=True, ours=SQLITE_OURS),
    _goal("J1", HAND, 0.6, at_least=True),
    _goal("J1", "eventsourcing", 30, at_least=True),
    _goal("J2", "eventsourcing", 1.5, at_least=True),
    *(
        _goal(f"{dialect} growth {what}", f"{ours}, small", bound, at_least=False, ours=f"{ours}, large")
        for dialect, ours in (("postgresql", OURS), ("sqlite", SQLITE_OURS))
        for what, bound in (("append", 1.5), ("project", 1.5), ("load", 1.5), ("memory", 1.15))
    ),
    *(
        _goal(f"{dialect} relay memory", f"{kind}, small", 1.15, at_least=False, ours=f"{kind}, large")
        for dialect in ("postgresql", "sqlite")
        for kind in Relaying
    ),
    _goal("replay postgresql", HAND, 0.6, at_least=True),
    _goal("replay sqlite", SQLITE_HAND, 0.6, at_least=True, ours=SQLITE_OURS),
    *(
        _goal(f"verify {dialect}", BUILDING, 1, at_least=False, ours=VERIFYING)
        for dialect in ("postgresql", "sqlite")
    ),
    _goal("growth memory", f"{OURS}, small", 1.15, at_least=False, ours=f"{OURS}, large"),
)
"""What is promised. A cost that may not grow is allowed what lies within the noise."""
