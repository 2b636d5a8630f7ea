"""The worker processes of the demo: started, killed, stopped, and all of them ended whatever happens."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from penstock.errors import PenstockError

__all__ = ["WorkerProcess", "Workers", "settled_environment"]

_END_WITHIN = timedelta(seconds=20)


@dataclass(frozen=True, slots=True, eq=False)
class WorkerProcess:
    """One of them."""

    group: str
    consumer: str
    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def pause(self) -> None:
        """Stop it where it is, in mid-work; it can go on, or be killed."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """End a `pause`."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it as a crash would: no clean-up, nothing handed back."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Let it finish what it has begun. A worker that does not come to an end is killed."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
        try:
            self.process.wait(_END_WITHIN.total_seconds())
        except subprocess.TimeoutExpired:
            self.kill()


@dataclass
class Workers:
    """All workers of the demo, in *folder*, whose settings they find. Leaving the ``with`` block ends them."""

    folder: Path
    running: list[WorkerProcess] = field(default_factory=list[WorkerProcess])
    module: str = "penstock.demo.worker"
    """What each of them runs, with its group and its name."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.running:
            with suppress(ProcessLookupError):
                worker.process.terminate()
        for worker in self.running:
            worker.stop()

    def start(self, group: str, number: int = 1, *, release: int) -> WorkerProcess:
        """Start a worker of the group with that release of the listeners."""
        consumer = f"{group}-{number}"
        log = self.folder / f"{consumer}.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", self.module, group, consumer],
                cwd=self.folder,
                env=settled_environment(os.environ) | {"FLIGHTS_RELEASE": str(release)},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the demo, which then stops its workers.
                start_new_session=True,
            )
        worker = WorkerProcess(group, consumer, process, log)
        self.running.append(worker)
        return worker

    def kill(self, worker: WorkerProcess) -> None:
        """Kill one of them; it is not expected to run any more."""
        self.running.remove(worker)
        worker.kill()

    def stop(self, worker: WorkerProcess) -> None:
        """Let one of them finish; it is not expected to run any more."""
        self.running.remove(worker)
        worker.stop()

    def check(self) -> None:
        """Raises `PenstockError` with what a worker wrote last when it ended without being asked to."""
        for worker in self.running:
            if (code := worker.process.poll()) is not None:
                last = worker.log.read_text(encoding="utf-8", errors="replace").splitlines()[-20:]
                written = "\n".join(f"    {line}" for line in last)
                raise PenstockError(
                    f"the worker {worker.consumer} ended by itself with code {code}\n{written}"
                )


def settled_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without settings for Penstock: they are another project's, and this one has a file of its own."""
    return {
        name: value
        for name, value in environ.items()
        if not name.startswith("PENSTOCK_") or name == "PENSTOCK_SERVER"
    }
