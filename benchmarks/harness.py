"""Runs jobs in processes of their own, one contender after the other, round after round, and checks what they did."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep
from typing import Final, Protocol, TypeVar

import msgspec
import redis

from benchmarks.contender import Place
from benchmarks.contenders import Entrant
from benchmarks.cores import Cores, assign, awake, usable
from benchmarks.job import Job, Outcome, Role
from benchmarks.server import Server

__all__ = ["Bench", "MeasurementError", "Options"]

T = TypeVar("T")
A = TypeVar("A")
N = TypeVar("N", bound="Named")

_ROOT: Final = Path(__file__).parent.parent
_WORKER: Final = "benchmarks.worker"
_WORKER_TIMEOUT_S: Final = 120.0
_CONDITION_TIMEOUT_S: Final = 20.0


class MeasurementError(Exception):
    """A contender could not do its job, or did not do it right; the message says what was seen."""


class Named(Protocol):
    """Whoever takes part in a race."""

    @property
    def name(self) -> str:
        """What it is called in the tables."""
        ...


@dataclass(frozen=True, slots=True)
class Options:
    """How thoroughly to measure."""

    quick: bool
    uvloop: bool
    entrants: tuple[Entrant, ...]

    @property
    def rounds(self) -> int:
        """How often each contender is measured; figures are medians."""
        return 1 if self.quick else 3

    def events(self, entrant: Entrant, role: Role) -> int:
        """How many events make about one second of work, a quarter in a quick run."""
        return entrant.rates[role] // (4 if self.quick else 1)


@dataclass(slots=True)
class Bench:
    """A running server and the means to measure contenders on it."""

    options: Options
    say: Callable[[str], None]
    """Gets a line for each measurement, to show progress."""
    failures: dict[str, str] = field(default_factory=dict)
    """What went wrong, by ``figure: contender``."""
    server: Server = field(init=False)
    server_version: str = ""
    cores: Cores = field(default_factory=lambda: assign(usable()))
    _environment: dict[str, str] = field(init=False)

    @contextmanager
    def compiled(self) -> Generator[None, None, None]:
        """Let workers keep compiled modules, in a folder that goes when the context ends.

        A process that has to compile what it imports, as all do under ``PYTHONDONTWRITEBYTECODE``, peaks at twice
        the memory. The first worker of each contender compiles, and none of those is measured for its memory.
        """
        with tempfile.TemporaryDirectory(prefix="penstock-bench-") as folder:
            self._environment = {**os.environ, "PYTHONPYCACHEPREFIX": folder}
            self._environment.pop("PYTHONDONTWRITEBYTECODE", None)
            yield

    @contextmanager
    def stage(self, *, keep_awake: bool) -> Generator[None, None, None]:
        """A fresh server for one figure, with the cores kept awake or not."""
        with Server(self.cores.server) as self.server, awake(keep_awake):
            self.server_version = self.server.version
            yield

    def place(self, stream: str, group: str = "unused") -> Place:
        """A stream and a group on the present server."""
        return Place(socket=self.server.socket, stream=stream, group=group)

    def race(
        self,
        figure: str,
        entrants: Sequence[N],
        measure: Callable[[N, int], T],
        show: Callable[[T], str],
        *,
        rounds: int | None = None,
    ) -> dict[str, list[T]]:
        """Measure every contender once a round, so that whatever disturbs the machine disturbs them all alike.

        A contender that fails is taken out of the figure and named in `failures`.
        """
        results: dict[str, list[T]] = {entrant.name: [] for entrant in entrants}
        rounds = rounds or self.options.rounds
        for turn in range(rounds):
            for entrant in entrants:
                if f"{figure}: {entrant.name}" in self.failures:
                    continue
                try:
                    result = measure(entrant, turn)
                except MeasurementError as failure:
                    self.failures[f"{figure}: {entrant.name}"] = str(failure)
                    del results[entrant.name]
                    self.say(f"{figure}  {turn + 1}/{rounds}  {entrant.name}: failed: {failure}")
                else:
                    results[entrant.name].append(result)
                    self.say(f"{figure}  {turn + 1}/{rounds}  {entrant.name}: {show(result)}")
        return results

    def publish(self, entrant: Entrant, role: Role, stream: str, events: int) -> Outcome:
        """Publish *events*, after a tenth of that as a warm-up; all of them have to be in the stream then."""
        before = self.server.client.xlen(stream)
        job = self._job(entrant, role, self.place(stream), events)
        outcome = self._work(job)
        added = self.server.client.xlen(stream) - before
        if added != job.warm_up + events:
            raise MeasurementError(
                f"{added} entries in the stream after {job.warm_up + events} were published"
            )
        return outcome

    def consume(
        self, entrant: Entrant, role: Role, place: Place, events: int, *, after: str = "0"
    ) -> Outcome:
        """Consume what `publish` has put behind the entry id *after*; nothing may be left unread or pending."""
        self._create_group(place, after)
        outcome = self._work(self._job(entrant, role, place, events))
        self._check_settled(place)
        return outcome

    def consume_paced(self, entrant: Entrant, place: Place, events: int) -> Outcome:
        """Consume what another process publishes at a low rate, and take the latencies."""
        self._create_group(place, "0")
        consumer = self._start(self._job(entrant, Role.CONSUME_PACED, place, events))
        try:
            self._until(lambda: self.server.blocked_clients > 0, "the consumer to wait for entries", consumer)
            self._work(self._job(entrant, Role.PUBLISH_PACED, place, events))
            outcome = _outcome(consumer)
        finally:
            consumer.kill()
            consumer.wait()
        self._check_settled(place)
        return outcome

    def _job(self, entrant: Entrant, role: Role, place: Place, events: int) -> Job:
        return Job(
            contender=entrant.code,
            role=role,
            place=place,
            events=events,
            warm_up=max(50, events // 10),
            uvloop=self.options.uvloop,
            core=self.cores.publisher if role is Role.PUBLISH_PACED else self.cores.worker,
        )

    def _start(self, job: msgspec.Struct, module: str = _WORKER) -> "subprocess.Popen[bytes]":
        pipe = subprocess.PIPE
        worker = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            cwd=_ROOT,
            env=self._environment,
        )
        assert worker.stdin is not None
        worker.stdin.write(msgspec.json.encode(job))
        worker.stdin.close()
        worker.stdin = None
        return worker

    def work(
        self, module: str, job: msgspec.Struct, answer: type[A], *, timeout_s: float = _WORKER_TIMEOUT_S
    ) -> A:
        """Have a process of *module* do a job; what it answers."""
        worker = self._start(job, module)
        try:
            return _answer(worker, answer, timeout_s)
        finally:
            worker.kill()
            worker.wait()

    def _work(self, job: Job) -> Outcome:
        return self.work(_WORKER, job, Outcome)

    def _create_group(self, place: Place, after: str) -> None:
        try:
            self.server.client.xgroup_create(place.stream, place.group, after, mkstream=True)
        except redis.ResponseError as error:
            raise MeasurementError(f"group {place.group!r} of {place.stream!r}: {error}") from error

    def _check_settled(self, place: Place) -> None:
        groups = self.server.client.xinfo_groups(place.stream)
        [group] = [group for group in groups if group["name"] == place.group]
        if group["pending"] or group["lag"]:
            raise MeasurementError(f"{group['pending']} entries left pending and {group['lag']} unread")

    def _until(self, condition: Callable[[], bool], what: str, worker: "subprocess.Popen[bytes]") -> None:
        deadline = monotonic() + _CONDITION_TIMEOUT_S
        while not condition():
            if worker.poll() is not None:
                _outcome(worker)
            if monotonic() > deadline:
                raise MeasurementError(f"waited {_CONDITION_TIMEOUT_S:.0f} s in vain for {what}")
            sleep(0.02)


def _outcome(worker: "subprocess.Popen[bytes]") -> Outcome:
    return _answer(worker, Outcome, _WORKER_TIMEOUT_S)


def _answer(worker: "subprocess.Popen[bytes]", kind: type[A], timeout_s: float) -> A:
    try:
        answer, complaint = worker.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"not done after {timeout_s:.0f} s") from None
    lines = answer.splitlines()
    if worker.returncode or not lines:
        last = complaint.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise MeasurementError(f"ended with status {worker.returncode}: {last[0]}")
    return msgspec.json.decode(lines[-1], type=kind)
