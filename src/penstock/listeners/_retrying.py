"""Retries: due records are claimed and run again, only the listener that failed, from the record's own payload."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from penstock.errors import ConfigurationError, TransientError, UndecodableEntryError
from penstock.listeners._handling import Failed, Handled, Handling, Kept, Route, failure_of
from penstock.listeners._lanes import Lanes
from penstock.listeners._session import Session
from penstock.listeners._settling import log_failure
from penstock.message import Message
from penstock.retry import Keep, Record, decide
from penstock.streams.abc import FailureKey, FailureStore, ListenerFailure, RetryClaim, Settled
from penstock.streams.layouts import Layout
from penstock.telemetry import LOGGER, Observer

__all__ = ["RetryRunner", "Retrying"]

_LOOK_EVERY = timedelta(seconds=1)
_WHOLE_MESSAGE = "*"


async def _once(action: Callable[[], Awaitable[Settled]]) -> Settled:
    return await action()


@dataclass(frozen=True, slots=True)
class RetryRunner:
    """Runs one claimed retry and updates its record; a worker's retries and a person's go the same way."""

    failures: FailureStore
    handling: Handling
    layout: Layout
    observer: Observer | None = None
    settle: Callable[[Callable[[], Awaitable[Settled]]], Awaitable[Settled]] = _once
    """How the record is updated; a worker insists until the server has answered."""

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
            await self.settle(lambda: self.failures.return_retry(claim))
            return False
        match decide(outcome, claim.attempts, route.policy):
            case Keep():
                await self.settle(lambda: self.failures.return_retry(claim))
                return False
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
            case Kept():
                await self.settle(lambda: self.failures.return_retry(claim))
                return False
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

    def __init__(self, session: Session, layout: Layout) -> None:
        self._session = session
        self._runner = RetryRunner(
            session.broker.failures,
            session.handling,
            layout,
            session.observer,
            lambda action: session.insist("settling a retry", action),
        )
        self._claims: dict[FailureKey, RetryClaim] = {}
        self._unknown: set[str] = set()
        self._where = [(stream, session.group.name) for stream in session.streams]
        self.nothing_due = asyncio.Event()
        """Set when the last look found nothing due."""

    async def run(self, lanes: Lanes) -> None:
        """Look for due retries until the session is quiet."""
        session = self._session
        while not session.is_quiet:
            wait = _LOOK_EVERY
            try:
                found = await self._claim_due(lanes)
                if not found:
                    next_due = await session.broker.failures.next_due(self._where)
                    if next_due is not None and next_due > timedelta(0):
                        wait = min(wait, next_due)
                    self.nothing_due.set()
            except TransientError as failure:
                found = False
                LOGGER.debug("group %r: looking for due retries failed: %s", session.group.name, failure)
            if found:
                await lanes.wait_hungry()
                continue
            await self._wait(wait)

    async def _wait(self, duration: timedelta) -> None:
        changed = self._session.retries_changed
        waits = {
            asyncio.ensure_future(self._session.clock.sleep(duration)),
            asyncio.ensure_future(changed.wait()),
        }
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
        changed.clear()

    async def _claim_due(self, lanes: Lanes) -> bool:
        """Claim as many due retries as there are free lanes; whether there was one to run."""
        session, found = self._session, False
        count = max(1, lanes.free)
        for due in await session.broker.failures.due(self._where, count=count + len(self._unknown)):
            key = due.key
            if session.is_quiet or not lanes.free:
                break
            if not self._is_known(key):
                continue
            self.nothing_due.clear()
            claim = await session.broker.failures.claim_retry(
                key,
                token=uuid.uuid4().hex,
                visibility=session.settings.retry_visibility,
                max_attempts=self._attempts_for(key),
            )
            if claim is not None:
                found = True
                self._claims[key] = claim
                lanes.put_retry(claim)
        return found

    def _is_known(self, key: FailureKey) -> bool:
        """Whether this process has the listener. Another version of the app may: it is left for that one."""
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

    def _attempts_for(self, key: FailureKey) -> int:
        own = [each.retry for each in self._session.group.listener(key.listener) if each.retry is not None]
        return (own[0] if own else self._session.settings.retry).attempts

    async def work(self, claim: RetryClaim) -> None:
        """Run a claimed retry in a lane."""
        session = self._session
        try:
            if claim.key not in self._claims:
                return  # lost while it waited
            await self._runner.run(claim)
            session.counts.retried += 1
            session.progressed()
        finally:
            self._claims.pop(claim.key, None)
            session.retries_changed.set()

    async def renew(self) -> None:
        """Hide the claimed retries for longer; forget those that are not ours any more."""
        for key, claim in list(self._claims.items()):
            settled = await self._session.broker.failures.extend_retry(
                claim, visibility=self._session.settings.retry_visibility
            )
            if settled is Settled.NOT_YOURS:
                self._claims.pop(key, None)

    async def give_back(self, claim: RetryClaim) -> None:
        """Return a claimed retry that no lane has begun."""
        self._claims.pop(claim.key, None)
        await self._session.broker.failures.return_retry(claim)

    @property
    def count(self) -> int:
        """Retries claimed and not settled."""
        return len(self._claims)
