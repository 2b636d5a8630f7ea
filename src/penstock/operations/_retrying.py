"""Running failed messages again because a person says so, through the same `RetryRunner` that workers use."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from penstock.app import App
from penstock.errors import TransientError, UsageError
from penstock.listeners import AfterAcknowledged, Group, Handling, RetryRunner
from penstock.operations._failures import FailedWhich, Found, records, shown, times
from penstock.operations._noting import Noting, Person
from penstock.operations._scope import Place, Scope
from penstock.operations._values import FailedMessage, PlanPart, RetryOutcome, RetryPlan, RetryResult
from penstock.streams.abc import FailureKey, FailureState, FailureStore, RetryClaim

__all__ = ["flush", "plan", "retry", "retry_noted"]

_WHOLE_MESSAGE = "*"
_PARKED = "it is parked, in the order of its key: unpark the key instead"


async def plan(scope: Scope, which: FailedWhich, *, to_run: bool) -> RetryPlan:
    """What matches, counted by listener; and, if it is *to_run*, which of it this app could."""
    app = scope.app if to_run else None
    counts: dict[tuple[str, str, str, str, bool], int] = {}
    async for found in records(scope, which, until=await times(scope)):
        key = found.record.key
        is_parked = to_run and found.record.state is FailureState.PARKED
        part = found.place.pool, key.stream, key.group, key.listener, is_parked
        counts[part] = counts.get(part, 0) + 1
    return RetryPlan(
        tuple(
            PlanPart(
                pool, stream, group, listener, count, _PARKED if is_parked else _missing(app, group, listener)
            )
            for (pool, stream, group, listener, is_parked), count in sorted(counts.items())
        )
    )


async def flush(scope: Scope, which: FailedWhich, *, by: Person | None = None) -> int:
    """Forget what matches; how many there were. Streams are not touched."""
    count, noting = 0, Noting(scope, "flush", which, by)
    try:
        async for found in records(scope, which, until=await times(scope)):
            forgotten = await _forget(found)
            noting.count(found.place, forgotten)
            count += forgotten
    finally:
        await noting.write()
    return count


async def _forget(found: Found) -> int:
    key, record = found.record.key, found.record
    if record.state is not FailureState.PARKED or record.parked_key is None:
        return int(await found.broker.failures.delete(key))
    lanes = found.broker.lanes
    return await lanes.discard_parked(key.stream, key.group, record.parked_key, key.entry_id)


async def retry_noted(
    scope: Scope,
    which: FailedWhich,
    *,
    concurrency: int,
    after: AfterAcknowledged | None,
    by: Person | None,
    stop_on_failure: bool,
) -> AsyncGenerator[RetryResult, None]:
    """As `retry`, up to the first that fails if it is to stop there; what was run is noted when it ends."""
    noting = Noting(scope, "retry", which, by)
    results = retry(scope, which, concurrency=1 if stop_on_failure else concurrency, after=after)
    try:
        async with contextlib.aclosing(results):
            async for result in results:
                if result.outcome in (RetryOutcome.SUCCEEDED, RetryOutcome.FAILED):
                    noting.count(Place(result.failed.pool, result.failed.stream))
                yield result
                if stop_on_failure and result.outcome is RetryOutcome.FAILED:
                    return
    finally:
        await noting.write()


async def retry(
    scope: Scope, which: FailedWhich, *, concurrency: int, after: AfterAcknowledged | None = None
) -> AsyncGenerator[RetryResult, None]:
    """Run what matches, up to *concurrency* at once; what became of each, in the order of their last failures."""
    if concurrency < 1:
        raise UsageError(f"concurrency is {concurrency}; at least one record is run at a time")
    if scope.app is None:
        raise UsageError("running failed messages again needs the app that has their listeners")
    scope.app.dependencies.check()
    started = await times(scope)
    with ThreadPoolExecutor(concurrency, thread_name_prefix="penstock-retry") as executor:
        runs = _Runs(scope.app, executor, started, after)
        window: list[Found] = []
        async for found in records(scope, which, until=started):
            if found.record.key in runs.failed_again:
                continue
            window.append(found)
            if len(window) == concurrency:
                for result in await runs.run(window):
                    yield result
                window = []
        for result in await runs.run(window):
            yield result


@dataclass
class _Runs:
    """One pass over the records with the listeners of one app."""

    app: App
    executor: ThreadPoolExecutor
    started: Mapping[str, datetime]
    after: AfterAcknowledged | None = None
    """Called with entries whose last failure was settled."""
    failed_again: set[FailureKey] = field(default_factory=set[FailureKey])
    """Those that a clock which stands still would show to this pass again."""
    handlings: dict[str, Handling] = field(default_factory=dict[str, Handling])

    async def run(self, window: list[Found]) -> list[RetryResult]:
        for found in window:
            # A declaration that cannot work is found before anything is claimed.
            if _missing(self.app, found.record.key.group, found.record.key.listener) is None:
                self._handling(self.app.registry.groups[found.record.key.group])
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(self._run(found)) for found in window]
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [task.result() for task in running]

    async def _run(self, found: Found) -> RetryResult:
        key, failures = found.record.key, found.broker.failures
        before = shown(found.place.pool, found.record)
        if found.record.state is FailureState.PARKED:
            return RetryResult(before, RetryOutcome.KEPT, _PARKED)
        missing = _missing(self.app, key.group, key.listener)
        if missing is not None:
            return RetryResult(before, RetryOutcome.KEPT, missing)
        group = self.app.registry.groups[key.group]
        claim = await failures.claim_retry(
            key,
            token=uuid.uuid4().hex,
            visibility=group.settings.retry_visibility,
            max_attempts=group.settings.retry.attempts,
            force=True,
        )
        if claim is None:
            return RetryResult(
                before, RetryOutcome.BUSY, "another process runs it at this moment, or it is gone"
            )
        runner = RetryRunner(failures, self._handling(group), self.app.layouts.reader, self.app.observer)
        async with _hidden(failures, claim, group.settings.retry_visibility):
            succeeded = await runner.run(claim)
        if succeeded:
            if self.after is not None and not await failures.groups_of(key.stream, key.entry_id):
                await self.after(found.broker, key.stream, [bytes(key.entry_id)])
            return RetryResult(before, RetryOutcome.SUCCEEDED)
        return await self._not_succeeded(found, before)

    async def _not_succeeded(self, found: Found, before: FailedMessage) -> RetryResult:
        after = await found.broker.failures.get(found.record.key)
        if after is None:
            text = "its listeners failed; each has a record of its own now"
            return RetryResult(before, RetryOutcome.FAILED, text)
        if after.last_failed <= self.started[found.place.pool]:
            self.failed_again.add(found.record.key)
        if after.attempts == found.record.attempts:
            return RetryResult(before, RetryOutcome.KEPT, "its listener asked for it to be left")
        return RetryResult(before, RetryOutcome.FAILED, f"{after.error_type}: {after.error}")

    def _handling(self, group: Group) -> Handling:
        if group.name not in self.handlings:
            self.handlings[group.name] = Handling(
                group,
                self.app.dependencies,
                middleware=self.app.registry.middleware,
                executor=self.executor,
            )
        return self.handlings[group.name]


def _missing(app: App | None, group: str, listener: str) -> str | None:
    """Why this app cannot run the records of a listener; ``None`` if it can, or if there is no app to ask."""
    if app is None:
        return None
    declared = app.registry.groups.get(group)
    if declared is None or not declared.listeners:
        return f"app {app.name!r} has no group {group!r} with listeners"
    if listener != _WHOLE_MESSAGE and not declared.listener(listener):
        return f"group {group!r} of app {app.name!r} has no listener {listener!r}"
    return None


@contextlib.asynccontextmanager
async def _hidden(failures: FailureStore, claim: RetryClaim, visibility: timedelta) -> AsyncIterator[None]:
    """Keep a claimed retry ours for as long as its handler runs."""

    async def extend() -> None:
        while True:
            await asyncio.sleep(visibility.total_seconds() / 3)
            with contextlib.suppress(TransientError):
                await failures.extend_retry(claim, visibility=visibility)

    extending = asyncio.create_task(extend())
    try:
        yield
    finally:
        extending.cancel()
        await asyncio.gather(extending, return_exceptions=True)
