"""The figure of the relays: how fast one moves what there is, and whether its memory depends on how much that is."""

from typing import Final

from benchmarks.harness import Bench
from benchmarks.job import Outcome
from benchmarks.results import Table, table_of
from benchmarks.storing.databases import Databases, databases
from benchmarks.storing.job import StoreJob, Work
from benchmarks.storing.keepers import KEEPERS, OURS, SQLITE_OURS, KeeperEntrant
from benchmarks.storing.relay_worker import Relaying, RelayJob

__all__ = ["measure_relays"]

_SIDES: Final = {"sqlite": SQLITE_OURS, "postgresql": OURS}
_SIZES: Final = {"small": 20_000, "large": 200_000}
_WORKER: Final = "benchmarks.storing.relay_worker"


def measure_relays(bench: Bench) -> list[Table]:
    """Each kind of relay on SQLite and PostgreSQL, from a full store or stream into an empty one."""
    sides = [side for side in KEEPERS if _SIDES.get(side.dialect) == side.name and not side.missing()]
    tables: list[Table] = []
    with databases({side.dialect for side in sides}) as made:
        for side in sides:
            found: dict[str, list[Outcome]] = {}
            for turn in range(bench.options.rounds):
                for size, most in _SIZES.items():
                    events = most // (4 if bench.options.quick else 1)
                    for relaying, outcome in _measured(bench, side, made, events).items():
                        found.setdefault(f"{relaying}, {size}", []).append(outcome)
                        bench.say(
                            f"relay  {turn + 1}/{bench.options.rounds}  {side.dialect}, {relaying}, {size}: "
                            f"{outcome.rate:,.0f}/s, {outcome.peak_rss_mib:.0f} MiB"
                        )
            between = f"small: {_SIZES['small']:,} events, large: {_SIZES['large']:,}; {side.dialect}"
            rates = {name: [each.rate for each in rounds] for name, rounds in found.items()}
            memory = {name: [each.peak_rss_mib for each in rounds] for name, rounds in found.items()}
            tables += [
                table_of(f"{side.dialect} relay", f"moved by one relay; {between}", rates),
                table_of(f"{side.dialect} relay memory", f"its process; {between}", memory, "MiB"),
            ]
    return tables


def _measured(bench: Bench, side: KeeperEntrant, made: Databases, events: int) -> dict[Relaying, Outcome]:
    """One after the other: the first fills the stream that the last one reads."""
    stores = {name: made.new(side.dialect) for name in ("local", "shared", "kept")}
    fill = StoreJob(
        keeper=side.code,
        work=Work.APPEND_BATCH,
        url=stores["local"],
        events=events,
        uvloop=bench.options.uvloop,
    )
    bench.work("benchmarks.storing.worker", fill, Outcome)
    with bench.stage(keep_awake=False):
        return {
            relaying: bench.work(
                _WORKER,
                RelayJob(
                    relaying=relaying,
                    stores=stores,
                    streams=f"unix://{bench.server.socket}",
                    events=events,
                    uvloop=bench.options.uvloop,
                ),
                Outcome,
            )
            for relaying in Relaying
        }
