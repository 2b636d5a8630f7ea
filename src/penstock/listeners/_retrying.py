"""Retries: due records are claimed and run again, only the listener that failed, from the record's own payload.

A worker puts due ones among its entries and claims each when a lane comes to it, so that a retry neither waits for a
moment without entries nor belongs to a worker that has no time for it.
"""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from penstock.clock import wait_set
from penstock.errors import ConfigurationError, TransientError, UndecodableEntryError
from penstock.listeners._handling import Failed, Handled, Handling, Kept, Route, failure_of
from penstock.listeners._lanes import Lanes
from penstock.listeners._session import Session
from penstock.listeners._settling import log_failure
from penstock.message import Message
from penstock.retry import Keep, Record, decide
from penstock.streams.abc import DueRetry, FailureKey, FailureStore, ListenerFailure, RetryClaim, Settled
from penstock.streams.layouts import EntryReader
from penstock.telemetry import LOGGER, Observer

__all__ = ["RetryRunner", "Retrying"]

_LOOK_EVERY = timedelta(seconds=1)
_LONGEST_REST = timedelta(seconds=15)
_MOST_PASSED_OVER = 10_000
"""How far behind due retries that are not for this process those are looked for that are."""
_WHOLE_MESSAGE = "*"


async def _once(action: Callable[[], Awaitable[Settled]]) -> Settled:
    return await action()


def _ignore(_key: FailureKey, _release: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class RetryRunner:
    """Runs one claimed retry and updates its record; a worker's retries and a person's go the same way."""

    failures: FailureStore
    handling: Handling
    layout: EntryReader
    observer: Observer | None = None
    settle: Callable[[Callable[[], Awaitable[Settled]]], Awaitable[Settled]] = _once
    """How the record is updated; a worker insists until the server has answered."""
    on_kept: Callable[[FailureKey, bool], None] = _ignore
    """Told that the handler wants its message kept: the record is due as before. True for `Release`."""

    async def run(self, claim: RetryClaim) -> bool:
        """Run what the record is about. True if it is settled for good; every error of a handler ends in the record.

        When cancelled, the claim is given back and the attempt taken off.
        """
        try:
            return await self._run(claim)
        except asyncio.CancelledError:
            # Not shielded, the way back would be cut off too.
            await asyncio.shield(self.failures.return_retry(claim))
            raise

    async def _run(self, claim: RetryClaim) -> bool:
        key = claim.key
        if claim.fields is None:
            gone = ConfigurationError(
                "the entry had vanished from its stream: there is no payload to run again"
            )
            return await self._fail(claim, "", failure_of(key.listener, gone, None, cause="vanished"), gone)
        try:
            message = self.layout.read(key.stream, bytes(key.entry_id), claim.fields)
        except UndecodableEntryError as failure:
            undecodable = failure_of(key.listener, failure, None, cause="undecodable")
            return await self._fail(claim, "", undecodable, failure)
        message.attempt = claim.attempts
        if key.listener == _WHOLE_MESSAGE:
            return await self._run_all(claim, message)
        route = self.handling.routes.named(message.name, key.listener)
        if route is None:
            missing = ConfigurationError(
                f"group {key.group!r} has no listener {key.listener!r} for {message.name!r} in this app"
            )
            return await self._fail(claim, message.name, failure_of(key.listener, missing, None), missing)
        return await self._run_one(claim, message, route)

    async def _run_one(self, claim: RetryClaim, message: Message, route: Route) -> bool:
        outcome = await self._handle(message, route)
        if outcome is None:
            await self.settle(lambda: self.failures.succeed_retry(claim))
            return True
        if isinstance(outcome, Kept):
            return await self._keep(claim, outcome.release)
        match decide(outcome, claim.attempts, route.policy):
            case Keep(release):
                return await self._keep(claim, release)
            case Record(after):
                return await self._fail(
                    claim, message.name, failure_of(claim.key.listener, outcome, after), outcome
                )

    async def _run_all(self, claim: RetryClaim, message: Message) -> bool:
        """A record about the whole message: every listener runs; those that fail get records of their own."""
        routes = self.handling.routes.of(message.name).routes
        errors: list[tuple[Route, BaseException | Kept]] = []
        for route in routes:
            outcome = await self._handle(message, route)
            if outcome is not None:
                errors.append((route, outcome))
        if not routes:
            missing = ConfigurationError(f"group {claim.key.group!r} has no listener for {message.name!r}")
            return await self._fail(
                claim, message.name, failure_of(_WHOLE_MESSAGE, missing, None, cause="unhandled"), missing
            )
        match self.handling.judge(errors, claim.attempts):
            case Kept(release):
                return await self._keep(claim, release)
            case Failed(failures, causes):
                await self.settle(lambda: self.failures.split_retry(claim, failures))
                for failure, cause in zip(failures, causes, strict=True):
                    self._tell(claim, message.name, failure, cause)
                return False
            case Handled():
                await self.settle(lambda: self.failures.split_retry(claim, []))
                return True

    async def _handle(self, message: Message, route: Route) -> BaseException | Kept | None:
        if route.listener.batch:
            [outcome] = await self.handling.handle_batch([message], route, _acknowledged_by_record)
            return outcome
        return await self.handling.handle_one(message, route, _acknowledged_by_record)

    async def _keep(self, claim: RetryClaim, release: bool) -> bool:
        self.on_kept(claim.key, release)
        await self.settle(lambda: self.failures.return_retry(claim))
        return False

    async def _fail(
        self, claim: RetryClaim, name: str, failure: ListenerFailure, error: BaseException
    ) -> bool:
        if await self.settle(lambda: self.failures.fail_retry(claim, failure)) is Settled.DONE:
            self._tell(claim, name, failure, error)
        return False

    def _tell(self, claim: RetryClaim, name: str, failure: ListenerFailure, error: BaseException) -> None:
        key = claim.key
        log_failure(key.group, key.stream, str(key.entry_id), name, failure, error)
        if self.observer is not None:
            self.observer.failed(key.group, key.stream, failure.listener, error, claim.attempts)


async def _acknowledged_by_record(_: Message) -> bool:
    """A retry's message was acknowledged when its failure was recorded: what is left to settle is the record."""
    return True


class Retrying:
    """Finds due retries of a worker's group and hands them to its lanes."""

    def __init__(self, session: Session, layout: EntryReader) -> None:
        self._session = session
        self._runner = RetryRunner(
            session.broker.failures,
            session.handling,
            layout,
            session.observer,
            lambda action: session.insist("settling a retry", action),
            self._kept,
        )
        self._queued: set[FailureKey] = set()
        """Handed to the lanes and not done with."""
        self._claims: dict[FailureKey, RetryClaim] = {}
        """Those of them whose handlers run."""
        self._resting: dict[FailureKey, float] = {}
        """Due ones that are left alone here until that moment of the clock."""
        self._passed_over = 0
        self._unknown: set[str] = set()
        self._nothing_due = False

    @property
    def _where(self) -> list[tuple[str, str]]:
        return [(stream, self._session.group.name) for stream in self._session.streams]

    async def run(self, lanes: Lanes) -> None:
        """Look for due retries until the session is quiet."""
        session = self._session
        while not session.is_quiet:
            wait = _LOOK_EVERY
            try:
                wait = await self._look(lanes)
            except TransientError as failure:
                LOGGER.debug("group %r: looking for due retries failed: %s", session.group.name, failure)
            await self._wait(wait)

    async def _look(self, lanes: Lanes) -> timedelta:
        """Hand what is due to the lanes; how long to wait before the next look."""
        session = self._session
        self._wake_rested()
        while (room := session.settings.concurrency - len(self._queued)) > 0:
            count = min(room + len(self._queued) + self._passed_over, _MOST_PASSED_OVER)
            due = await session.broker.failures.due(self._where, count=count)
            ours = [each for each in due if self._is_for_us(each.key)]
            self._passed_over = len(due) - len(ours)
            fresh = [each for each in ours if each.key not in self._queued]
            for each in fresh[:room]:
                self._queued.add(each.key)
                lanes.put_retry(each)
            if fresh or len(due) < count or count == _MOST_PASSED_OVER:
                break  # else there are more behind those that are not for us
        if self._queued:
            return _LOOK_EVERY
        next_due = await session.broker.failures.next_due(self._where)
        self._nothing_due = not session.retries_changed.is_set()
        return min(_LOOK_EVERY, next_due) if next_due else _LOOK_EVERY

    async def _wait(self, duration: timedelta) -> None:
        changed = self._session.retries_changed
        await wait_set(changed, self._session.clock, at_most=duration)
        if changed.is_set():
            self._nothing_due = False
            changed.clear()

    def _is_for_us(self, key: FailureKey) -> bool:
        """Whether this process has the listener, and may run it now. Another version of the app may have others."""
        if key in self._resting:
            return False
        if key.listener == _WHOLE_MESSAGE or self._session.group.listener(key.listener):
            return True
        if key.listener not in self._unknown:
            self._unknown.add(key.listener)
            LOGGER.warning(
                "group %r has retries due for listener %r, which this app does not have; they wait for one that does",
                key.group,
                key.listener,
            )
        return False

    # -- leaving alone ------------------------------------------------------------------------------------------

    def _kept(self, key: FailureKey, release: bool) -> None:
        """Its record is due at once: taken up at once it would run for ever, and the worker would never be idle."""
        min_idle = self._session.settings.min_idle
        self._rest(key, min(min_idle / 3, _LONGEST_REST) if release else min_idle)

    def _rest(self, key: FailureKey, duration: timedelta) -> None:
        self._resting[key] = self._session.clock.monotonic() + duration.total_seconds()

    def _wake_rested(self) -> None:
        if self._resting:
            now = self._session.clock.monotonic()
            self._resting = {key: until for key, until in self._resting.items() if until > now}

    # -- in a lane ----------------------------------------------------------------------------------------------

    async def work(self, due: DueRetry) -> None:
        """Claim a due retry and run it."""
        session, key = self._session, due.key
        try:
            claim = await self._claim(key)
            if claim is not None:
                self._claims[key] = claim
                await self._runner.run(claim)
                session.counts.retried += 1
                session.progressed()
        finally:
            self._claims.pop(key, None)
            self._queued.discard(key)
            if len(self._queued) <= session.settings.concurrency // 2:
                session.retries_changed.set()

    async def _claim(self, key: FailureKey) -> RetryClaim | None:
        session = self._session
        try:
            return await session.broker.failures.claim_retry(
                key,
                token=uuid.uuid4().hex,
                visibility=session.settings.retry_visibility,
                max_attempts=self._attempts_for(key),
            )
        except TransientError as failure:
            LOGGER.debug("group %r: claiming a retry failed: %s", session.group.name, failure)
            self._rest(key, _LOOK_EVERY)
            return None

    def _attempts_for(self, key: FailureKey) -> int:
        own = [each.retry for each in self._session.group.listener(key.listener) if each.retry is not None]
        return (own[0] if own else self._session.settings.retry).attempts

    async def renew(self) -> None:
        """Hide the claimed retries for longer; forget those that are not ours any more."""
        for key, claim in list(self._claims.items()):
            settled = await self._session.broker.failures.extend_retry(
                claim, visibility=self._session.settings.retry_visibility
            )
            if settled is Settled.NOT_YOURS:
                self._claims.pop(key, None)

    @property
    def is_idle(self) -> bool:
        """Whether the last look found nothing to run, and nothing has changed since."""
        return self._nothing_due and not self._queued and not self._session.retries_changed.is_set()
