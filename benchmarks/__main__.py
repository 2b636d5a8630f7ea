"""``python -m benchmarks [P1 P2 ...] [--quick] [--json FILE] [--plot FILE]``."""

import argparse
import importlib.util
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.chart import draw
from benchmarks.contenders import ABSENT, ENTRANTS, Entrant
from benchmarks.cores import can_keep_awake
from benchmarks.figures import FIGURES, GOALS
from benchmarks.harness import Bench, Options
from benchmarks.machine import facts
from benchmarks.report import as_text
from benchmarks.results import Report, judge
from benchmarks.server import ServerMissingError
from benchmarks.storing.keepers import KEEPERS

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write what was asked for; 1 if a contender failed or no server was found."""
    asked = _parse(arguments)
    # A benchmark that is told to end stops its server and its spinners first.
    signal.signal(signal.SIGTERM, lambda _number, _frame: sys.exit(143))
    try:
        report = _measure(asked)
    except ServerMissingError as missing:
        print(f"benchmarks: {missing}", file=sys.stderr)
        return 1
    print(as_text(report))
    if asked.json is not None:
        asked.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    if asked.plot is not None:
        try:
            draw(report, asked.plot)
        except ImportError:
            print("no plot: matplotlib is not installed", file=sys.stderr)
    return 1 if report.failures else 0


def _measure(asked: argparse.Namespace) -> Report:
    started = time.monotonic()
    machine = facts()
    machine["event loop"] = asked.loop
    machine["cores kept awake for P1, C1, C2, L1"] = "yes" if can_keep_awake() else "no: needs Linux"
    chosen = {"C1" if name == "M1" else name for name in asked.figures or FIGURES}
    entrants, absent = _entrants(asked.only)
    options = Options(quick=asked.quick, uvloop=asked.loop == "uvloop", entrants=entrants)
    bench = Bench(options, say=lambda line: print(line, file=sys.stderr, flush=True))
    with bench.compiled():
        tables = {
            table.figure: table
            for name, measure in FIGURES.items()
            if name in chosen
            for table in measure(bench)
        }
    machine["server"] = bench.server_version
    machine["took"] = f"{time.monotonic() - started:.0f} s"
    return Report(
        machine=machine,
        quick=options.quick,
        rounds=options.rounds,
        tables=list(tables.values()),
        judgements=[judge(goal, tables, absent) for goal in GOALS if goal.figure in tables],
        absent=absent,
        failures=bench.failures,
    )


def _entrants(only: Sequence[str]) -> tuple[tuple[Entrant, ...], dict[str, str]]:
    absent = dict(ABSENT)
    present: list[Entrant] = []
    for entrant in ENTRANTS:
        if missing := entrant.missing():
            absent[entrant.name] = f"{', '.join(missing)} not installed: pip install -r requirements/bench.in"
        elif only and entrant.name not in only:
            absent[entrant.name] = "not asked for"
        else:
            present.append(entrant)
    for side in KEEPERS:
        if missing := side.missing():
            absent[side.name] = f"{', '.join(missing)} not installed: pip install -r requirements/bench.in"
    return tuple(present), absent


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure Penstock beside its peers."
    )
    figures = (*FIGURES, "M1")
    loops = ("uvloop", "asyncio") if importlib.util.find_spec("uvloop") else ("asyncio",)
    parser.add_argument(
        "figures", nargs="*", metavar="FIGURE", help=f"some of {', '.join(figures)}; all if none"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one short round: an impression in about a minute"
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="NAME", help="a contender; may be repeated"
    )
    parser.add_argument("--loop", choices=loops, default=loops[0], help="the event loop of every contender")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was found")
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw it (PNG, SVG or PDF); needs matplotlib"
    )
    asked = parser.parse_args(arguments)
    for name in asked.figures:
        if name not in figures:
            parser.error(f"unknown figure {name!r}; there are {', '.join(figures)}")
    for name in asked.only:
        if name not in (names := [entrant.name for entrant in ENTRANTS]):
            parser.error(f"unknown contender {name!r}; there are {', '.join(names)}")
    return asked


if __name__ == "__main__":
    sys.exit(main())
