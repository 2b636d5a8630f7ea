"""Settling: acknowledgements gathered for the next write, and verdicts recorded by the server's scripts."""

import asyncio
import functools
from collections.abc import Sequence

from penstock.errors import UndecodableEntryError, WorkerStopped
from penstock.listeners._handling import Failed, Handled, Kept, Verdict, failure_of
from penstock.listeners._session import Session
from penstock.streams.abc import ListenerFailure, RawEntry, RawId, Settled
from penstock.telemetry import LOGGER, failure_facts

__all__ = ["Settling"]

_ACKNOWLEDGE_WITHIN_SECONDS = 0.020


class Settling:
    """Turns verdicts into what the server keeps."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._timer: asyncio.TimerHandle | None = None
        self._due = asyncio.Event()

    # -- acknowledgements ---------------------------------------------------------------------------------------

    def on_first_done(self) -> None:
        """The first acknowledgement of a batch waits: if no read takes it along in time, send it by itself."""
        self._timer = asyncio.get_running_loop().call_later(_ACKNOWLEDGE_WITHIN_SECONDS, self._due.set)

    def take_along(self) -> dict[str, list[RawId]]:
        """The acknowledgements for a write that is about to happen anyway."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due.clear()
        return self._session.hand.take_done()

    def confirm(self, done: dict[str, list[RawId]], counted: dict[str, int]) -> None:
        """The server answered the acknowledgements of *done* with these counts."""
        session = self._session
        session.hand.confirm(done)
        for stream, entry_ids in done.items():
            count = counted.get(stream, 0)
            session.counts.handled += len(entry_ids)
            session.handling.speeds.settled(stream, len(entry_ids))
            if entry_ids:
                session.note_settled(stream, entry_ids[-1])
            if session.observer is not None:
                session.observer.acknowledged(session.group.name, stream, count)
            if session.after is not None:
                session.after.note(stream, entry_ids)
            if count < len(entry_ids):
                session.lost(stream, len(entry_ids) - count)
        if done:
            session.progressed()

    async def run(self) -> None:
        """Send acknowledgements that no read took along in time, for ever."""
        while True:
            await self._due.wait()
            await self.flush()

    async def flush(self) -> None:
        """Send every acknowledgement that waits, now."""
        session = self._session
        done = self.take_along()
        try:
            while done:
                stream, entry_ids = next(iter(done.items()))
                count = await session.insist(
                    "acknowledging",
                    functools.partial(session.broker.acknowledge, stream, session.group.name, entry_ids),
                )
                del done[stream]
                self.confirm({stream: entry_ids}, {stream: count})
        except BaseException:
            session.hand.put_back(done)
            raise

    async def acknowledge_now(self, stream: str, entry_id: RawId, *, alone: bool) -> bool:
        """Settle one entry as handled and wait for the answer: the manual mode."""
        session, group = self._session, self._session.group.name
        if alone:
            settled = await session.broker.acknowledge_alone(stream, group, session.consumer, entry_id)
            count = 1 if settled is Settled.DONE else 0
        else:
            count = await session.broker.acknowledge(stream, group, [entry_id])
        self.confirm({stream: [entry_id]}, {stream: count})
        return count == 1

    # -- verdicts -----------------------------------------------------------------------------------------------

    async def settle(
        self, stream: str, entry: RawEntry, verdict: Verdict, *, name: str = "", alone: bool = False
    ) -> None:
        """Make a verdict true on the server."""
        session, entry_id = self._session, entry[0]
        if not session.hand.has(stream, entry_id):
            # Acknowledged by its handler, or taken over by another consumer: nothing can be recorded any more.
            if isinstance(verdict, Failed):
                self._log(stream, entry_id, name, verdict.failures, verdict.errors)
            return
        match verdict:
            case Handled():
                if alone:
                    await self._acknowledge_alone(stream, entry_id)
                else:
                    session.hand.finish(stream, entry_id)
            case Kept(release):
                if release:
                    await self.release(stream, [entry_id])
                else:
                    await self._leave(stream, entry_id, alone=alone)
            case Failed(failures, errors):
                if session.settings.on_failure == "halt":
                    await self._leave(stream, entry_id, alone=alone, halts=True)
                    session.stop(WorkerStopped(session.group.name, stream, entry_id.decode()))
                    self._log(stream, entry_id, name, failures, errors)
                else:
                    await self.record(stream, entry, failures, errors, name=name)

    async def _leave(self, stream: str, entry_id: RawId, *, alone: bool, halts: bool = False) -> None:
        """Leave an entry pending with this consumer. Its handler came to an end, so it is no suspect any more."""
        session = self._session
        if alone:
            # Nothing forgets the count by itself: give the entry back, and keep it for `min_idle` all the same.
            await self.release(stream, [entry_id])
            await session.insist(
                "leaving an entry pending",
                lambda: session.broker.renew(stream, session.group.name, session.consumer, [entry_id]),
            )
        if halts:
            session.hand.halt(stream, entry_id)
        else:
            session.hand.leave(stream, entry_id)

    async def _acknowledge_alone(self, stream: str, entry_id: RawId) -> None:
        session = self._session
        settled = await session.insist(
            "acknowledging",
            lambda: session.broker.acknowledge_alone(stream, session.group.name, session.consumer, entry_id),
        )
        self.confirm({stream: [entry_id]}, {stream: 1 if settled is Settled.DONE else 0})

    async def record(
        self,
        stream: str,
        entry: RawEntry,
        failures: Sequence[ListenerFailure],
        errors: Sequence[BaseException] = (),
        *,
        name: str = "",
    ) -> None:
        """Write failure records, then acknowledge: one script."""
        session, (entry_id, fields) = self._session, entry

        async def write() -> Settled:
            return await session.broker.failures.settle(
                stream, session.group.name, session.consumer, entry_id, fields, failures
            )

        settled = await session.insist("recording a failure", write)
        session.hand.drop(stream, entry_id)
        session.progressed()
        if settled is Settled.NOT_YOURS:
            session.lost(stream, 1)
            return
        session.counts.failed += 1
        session.handling.speeds.settled(stream, 1)
        session.note_settled(stream, entry_id)
        session.retries_changed.set()
        self._log(stream, entry_id, name, failures, errors)

    async def undecodable(self, stream: str, entry: RawEntry, failure: UndecodableEntryError) -> None:
        """Record an entry that is no message."""
        await self.record(stream, entry, [failure_of("*", failure, None, cause="undecodable")], [failure])

    async def poison(self, stream: str, entry: RawEntry, deliveries: int) -> None:
        """Condemn an entry: handled alone so many times, it never came to an end."""
        text = (
            f"handled alone {deliveries} times and never to an end: the process died, or was killed, "
            "while nothing else ran in it"
        )
        await self.record(stream, entry, [ListenerFailure("*", "poison", "penstock.Poison", text, "", None)])

    async def vanished(self, stream: str, entry_id: RawId) -> None:
        """Record a pending entry that is gone from the stream."""
        session = self._session
        settled = await session.insist(
            "recording a vanished entry",
            lambda: session.broker.failures.settle_vanished(stream, session.group.name, entry_id),
        )
        session.hand.drop(stream, entry_id)
        if settled is Settled.DONE:
            session.counts.failed += 1
            LOGGER.error(
                "entry %s of stream %r was deleted before group %r had handled it",
                entry_id.decode(),
                stream,
                session.group.name,
                extra={
                    "operation": "settle",
                    "stream": stream,
                    "group": session.group.name,
                    "cause": "vanished",
                },
            )

    async def release(self, stream: str, entry_ids: Sequence[RawId]) -> None:
        """Give entries back for anyone's next claim."""
        session = self._session
        await session.insist(
            "releasing",
            lambda: session.broker.release(stream, session.group.name, session.consumer, entry_ids),
        )
        for entry_id in entry_ids:
            session.hand.drop(stream, entry_id)

    def _log(
        self,
        stream: str,
        entry_id: RawId,
        name: str,
        failures: Sequence[ListenerFailure],
        errors: Sequence[BaseException],
    ) -> None:
        session = self._session
        for number, failure in enumerate(failures):
            error = errors[number] if number < len(errors) else None
            log_failure(session.group.name, stream, entry_id.decode(), name, failure, error)
            if session.observer is not None and error is not None:
                session.observer.failed(session.group.name, stream, failure.listener, error, 1)


def log_failure(
    group: str, stream: str, entry_id: str, name: str, failure: ListenerFailure, error: BaseException | None
) -> None:
    """One structured line per failure: what was done, where, to what, and whether a database was at fault."""
    LOGGER.error(
        "listener %r of group %r failed on entry %s of stream %r: %s: %s",
        failure.listener,
        group,
        entry_id,
        stream,
        failure.error_type,
        failure.error,
        extra={
            **failure_facts(
                "handle", stream=stream, event_name=name, error=error, error_class=failure.error_type
            ),
            "group": group,
            "entry_id": entry_id,
            "listener": failure.listener,
            "cause": failure.cause,
            "next_run": "none" if failure.due_in is None else f"in {failure.due_in.total_seconds():.1f} s",
        },
    )
