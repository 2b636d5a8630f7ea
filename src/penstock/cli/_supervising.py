"""Several worker processes under one: a dead one is started again, and all are drained before the end.

The supervisor holds the writing end of a pipe whose reading end every worker has: should the supervisor be killed, the
pipe ends and the workers drain by themselves. Workers are in sessions of their own, so that Ctrl-C reaches them once.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Coroutine, Iterator, Sequence
from datetime import timedelta
from typing import Any, Final

from penstock.cli._beginning_again import AGAIN
from penstock.cli._errors import DONE, INTERRUPTED, REFUSED, USAGE
from penstock.cli._pool import Backlog, Bounds, Sizing
from penstock.cli._running import SUPERVISOR_PIPE
from penstock.cli._watching import Watch
from penstock.errors import PenstockError
from penstock.telemetry import LOGGER

__all__ = ["Supervisor"]

_SHORTEST: Final = 0.5
_LONGEST: Final = 30.0
_STEADY_SECONDS: Final = 30.0
"""A worker that has lived so long starts again without much delay."""
_LOOK_EVERY: Final = 0.4
_MEASURE_EVERY: Final = 1.0


class Supervisor:
    """Keeps processes of one command alive until a signal comes, or until all have ended by themselves.

    How many is said by *bounds*; between them the *backlog* decides, and *idle* is how long there must be none before
    one process is drained.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        bounds: Bounds,
        watch: Watch | None = None,
        backlog: Backlog | None = None,
        idle: timedelta = timedelta(seconds=30),
    ) -> None:
        self._command = [sys.executable, "-m", "penstock", *arguments]
        self._bounds = bounds
        self._watch = watch
        self._backlog = backlog
        self._idle = idle
        self._slots: dict[int, asyncio.Task[None]] = {}
        self._retiring: set[int] = set()
        self._children: dict[int, asyncio.subprocess.Process] = {}
        self._stopping = asyncio.Event()
        self._changed = asyncio.Event()
        self._asked = 0
        self._code = DONE

    async def run(self) -> int:
        """Run them; the exit code: 0 after a clean end, 130 when stopped at once."""
        reading, writing = os.pipe()
        try:
            with self._listening():
                await self._keep_all(reading)
        finally:
            os.close(reading)
            os.close(writing)
        return INTERRUPTED if self._asked > 1 else self._code

    async def _keep_all(self, pipe: int) -> None:
        for slot in range(1, self._bounds.least + 1):
            self._start(slot, pipe)
        helpers = [asyncio.create_task(each) for each in self._helpers(pipe)]
        try:
            while self._slots:
                done, _ = await asyncio.wait(
                    [*self._slots.values(), *helpers], return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
                self._slots = {slot: task for slot, task in self._slots.items() if task not in done}
        finally:
            tasks = [*self._slots.values(), *helpers]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for child in self._children.values():  # only after an error of our own
                with contextlib.suppress(ProcessLookupError):
                    child.terminate()

    def _helpers(self, pipe: int) -> Iterator[Coroutine[Any, Any, None]]:
        if self._watch is not None:
            yield self._watch_code(self._watch)
        if self._backlog is not None and self._bounds.is_range:
            yield self._resize(self._backlog, pipe)

    # -- how many -----------------------------------------------------------------------------------------------

    def _start(self, slot: int, pipe: int) -> None:
        self._slots[slot] = asyncio.create_task(self._keep(slot, pipe))

    async def _resize(self, backlog: Backlog, pipe: int) -> None:
        """Follow the backlog until the end comes. A server that cannot be asked changes nothing."""
        sizing = Sizing(self._bounds, idle=self._idle)
        while True:
            await self._either(asyncio.sleep(_MEASURE_EVERY), self._stopping.wait())
            if self._stopping.is_set():
                await asyncio.Event().wait()
            try:
                waiting = await backlog()
            except PenstockError as failure:
                LOGGER.debug("the backlog could not be measured: %s", failure)
                continue
            working = sorted(self._slots.keys() - self._retiring)
            wanted = sizing.next_size(len(working), waiting, time.monotonic())
            if wanted > len(working):
                LOGGER.info("%d events wait: growing from %d workers to %d", waiting, len(working), wanted)
                free = (slot for slot in range(1, self._bounds.most + 1) if slot not in self._slots)
                for slot, _ in zip(free, range(wanted - len(working)), strict=False):
                    self._start(slot, pipe)
            for slot in working[wanted:]:
                LOGGER.info("nothing waits: draining worker %d", slot)
                self._retire(slot)

    def _retire(self, slot: int) -> None:
        self._retiring.add(slot)
        if (child := self._children.get(slot)) is not None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)

    # -- one worker ---------------------------------------------------------------------------------------------

    async def _keep(self, slot: int, pipe: int) -> None:
        try:
            await self._keep_alive(slot, pipe)
        finally:
            self._retiring.discard(slot)

    async def _keep_alive(self, slot: int, pipe: int) -> None:
        delay = _SHORTEST
        while not self._stopping.is_set() and slot not in self._retiring:
            changed, began = self._changed, time.monotonic()
            code = await self._run_one(slot, pipe)
            if slot in self._retiring:
                return
            if self._stopping.is_set() or (code == DONE and not changed.is_set()):
                # SIGTERM itself ends only a worker that had not begun yet.
                clean = code in (DONE, INTERRUPTED, AGAIN, -signal.SIGTERM)
                self._code = self._code or (DONE if clean else REFUSED)
                return
            if changed.is_set() or code == AGAIN:
                delay = _SHORTEST
                continue
            if self._watch is not None:
                LOGGER.error(
                    "worker %d ended %s; it starts again when the code has changed", slot, _how(code)
                )
                await self._either(changed.wait(), self._stopping.wait())
                continue
            if code == USAGE:
                self._code = USAGE
                self._stop(signal.SIGTERM)
                return
            if time.monotonic() - began >= _STEADY_SECONDS:
                delay = _SHORTEST
            LOGGER.error("worker %d ended %s; starting it again in %.1f s", slot, _how(code), delay)
            await self._either(asyncio.sleep(delay), self._stopping.wait())
            delay = min(delay * 2, _LONGEST)

    async def _run_one(self, slot: int, pipe: int) -> int:
        child = await asyncio.create_subprocess_exec(
            *self._command,
            env={**os.environ, SUPERVISOR_PIPE: str(pipe)},
            pass_fds=[pipe],
            start_new_session=True,
        )
        self._children[slot] = child
        LOGGER.info("worker %d is process %d", slot, child.pid)
        if self._stopping.is_set() or slot in self._retiring:
            child.send_signal(signal.SIGTERM)
        try:
            return await child.wait()
        finally:
            del self._children[slot]

    async def _either(self, *waits: Coroutine[Any, Any, object]) -> None:
        tasks = [asyncio.create_task(each) for each in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()

    # -- stopping and changing ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self._on_signal, each)
        try:
            yield
        finally:
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(each)

    def _on_signal(self, which: signal.Signals) -> None:
        self._asked += 1
        LOGGER.info(
            "%s: %s the workers", which.name, ("draining", "stopping", "killing")[min(self._asked, 3) - 1]
        )
        self._stop(signal.SIGTERM if self._asked < 3 else signal.SIGKILL)

    def _stop(self, how: signal.Signals) -> None:
        self._stopping.set()
        self._signal_all(how)

    def _signal_all(self, how: signal.Signals) -> None:
        for child in self._children.values():
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(how)

    async def _watch_code(self, watch: Watch) -> None:
        while True:
            await asyncio.sleep(_LOOK_EVERY)
            if not (changes := await asyncio.to_thread(watch.changes)):
                continue
            while more := await self._settling(watch):
                changes += more
            LOGGER.info("%s changed: draining, then starting with the present code", _named(changes))
            changed, self._changed = self._changed, asyncio.Event()
            changed.set()
            self._signal_all(signal.SIGTERM)

    async def _settling(self, watch: Watch) -> list[str]:
        """What else changes in the next moment: an editor or a checkout writes several files."""
        await asyncio.sleep(_LOOK_EVERY / 2)
        return await asyncio.to_thread(watch.changes)


def _how(code: int) -> str:
    return f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"


def _named(paths: Sequence[str]) -> str:
    names = list(dict.fromkeys(os.path.basename(path) for path in paths))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
