"""Who runs on which core, and cores that do not fall asleep: without either, sequential figures are a lottery.

Client and server on one core hand over in a third of the time they need across two, and the scheduler moves them about:
unpinned, one and the same loop was seen at 20,000 and at 60,000 round trips a second. So the server gets a core of its
own, as it would have in earnest.

Waking an idle core of a virtual machine takes 30 to 50 microseconds, as long as a whole round trip, and hides what a
client costs. A process that spins on each core, scheduled only when nothing else wants to run, keeps them awake.
``python -m benchmarks.cores CORE PARENT`` is that process.
"""

import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Cores", "assign", "awake", "can_keep_awake", "usable"]


@dataclass(frozen=True, slots=True)
class Cores:
    """A core for each part; None leaves it to the scheduler."""

    server: int | None = None
    worker: int | None = None
    publisher: int | None = None
    """For the publisher that works beside a consumer."""


def assign(cores: Sequence[int]) -> Cores:
    """Keep server and worker apart. With two cores, a second publisher joins the server: it only waits for it."""
    if len(cores) < 2:
        return Cores()
    server, worker = cores[:2]
    return Cores(server=server, worker=worker, publisher=cores[2] if len(cores) > 2 else server)


def usable() -> list[int]:
    """The cores this process may run on; none where the system has no affinity (macOS)."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def can_keep_awake() -> bool:
    """Whether this system knows the idle scheduling class (Linux does)."""
    return hasattr(os, "SCHED_IDLE")


@contextmanager
def awake(wanted: bool) -> Generator[None, None, None]:
    """Keep every usable core awake while the context lasts; do nothing unless *wanted* and possible."""
    cores = usable() if wanted and can_keep_awake() else []
    spinners = [
        subprocess.Popen([sys.executable, "-m", "benchmarks.cores", str(core), str(os.getpid())])
        for core in cores
    ]
    try:
        yield
    finally:
        for spinner in spinners:
            spinner.kill()
            spinner.wait()


def _spin(core: int, parent: int) -> None:
    # The class comes first: a spinner that cannot be idle would take the core from those it serves.
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    os.sched_setaffinity(0, {core})
    while os.getppid() == parent:
        for _ in range(100_000):
            pass


if __name__ == "__main__":
    _spin(int(sys.argv[1]), int(sys.argv[2]))
