"""Taking entries in: what is pending with this consumer first, then new ones, as many as are soon handled."""

import asyncio
from collections import deque
from datetime import timedelta

from penstock.errors import TransientError, UnknownGroupError
from penstock.listeners._backoff import Backoff
from penstock.listeners._lanes import Lanes
from penstock.listeners._session import Session
from penstock.listeners._settling import Settling
from penstock.position import EntryId
from penstock.streams.abc import RawEntry

__all__ = ["Appetite", "Intake"]

_FIRST_READ = 8
_BLOCK = timedelta(seconds=1)
_QUICK_SECONDS = 0.1
_SLOW_SECONDS = 0.5
_PAGE = 100


class Appetite:
    """How many entries the next read asks for, and when.

    Bounded by bytes: the budget over the largest entry seen. Bounded by time: doubled while a read is worked off within
    a tenth of a second, halved when it takes half a second, so that a slow consumer does not sit on what others could
    be doing; never below what its lanes can take at once. A quick consumer reads one batch ahead, so that the server
    works while it does.
    """

    def __init__(self, *, byte_budget: int, most: int, lanes: int) -> None:
        self._byte_budget = byte_budget
        self._most = most
        self._lanes = lanes
        self._largest = 1
        self._count = _FIRST_READ
        self._is_quick = False

    def saw(self, entries: list[RawEntry]) -> None:
        """Learn the size of entries; the first and the last of a read stand for the rest when there are many."""
        some = (
            entries if len(entries) <= _FIRST_READ else (entries[0], entries[len(entries) // 2], entries[-1])
        )
        for entry in some:
            if entry[1] is not None:
                self._largest = max(self._largest, sum(map(len, entry[1])))

    def took(self, seconds: float, count: int) -> None:
        """The last read, of *count* entries, was worked off in *seconds*."""
        self._is_quick = seconds < _QUICK_SECONDS
        if seconds > _SLOW_SECONDS:
            self._count = max(1, self._count // 2)
        elif self._is_quick and count >= self._count:
            self._count = min(self._most, self._count * 2)

    def next_count(self, free_lanes: int) -> int:
        """How many to ask for now, at least one."""
        wanted = max(self._count, min(free_lanes, self._lanes))
        return max(1, min(wanted, self._most, self._byte_budget // self._largest))

    @property
    def ahead(self) -> int:
        """How many entries may still wait when the next read is sent."""
        return self._count if self._is_quick else 0


class Intake:
    """Reads for one consumer."""

    def __init__(
        self, session: Session, settling: Settling, lanes: Lanes, *, reclaim: timedelta | None = None
    ) -> None:
        self._reclaim = reclaim
        self._session = session
        self._settling = settling
        self._lanes = lanes
        self._appetite = Appetite(
            byte_budget=session.settings.byte_budget,
            most=session.settings.max_batch,
            lanes=session.settings.concurrency,
        )
        self.suspects: deque[tuple[str, RawEntry]] = deque()
        """Entries delivered more than once, to be handled alone."""
        self.handling = 0
        """How many of them are being handled: one alone, and those that took so long that others came in."""
        self._turn = asyncio.Lock()
        self._is_one_alone = False
        self._last_read = 0.0
        self._last_total = 0
        self._recovery_due = True
        self._suspects_came = asyncio.Event()
        self._suspects_went = asyncio.Event()
        self.caught_up = asyncio.Event()
        """Set whenever a read has found nothing more; cleared when one finds something."""

    async def run(self) -> None:
        """Read until the session is quiet."""
        session = self._session
        backoff = Backoff(
            f"reading as {session.group.name}/{session.consumer}",
            session.clock,
            attempts=session.reconnect_attempts,
            observer=session.observer,
        )
        while not session.is_quiet:
            try:
                await self._read_once()
            except TransientError as failure:
                session.paused_by = failure
                self._recovery_due = True
                await backoff.wait(failure)
            else:
                if backoff.failures:
                    session.paused_by = None
                backoff.succeeded()

    async def _read_once(self) -> None:
        try:
            if self._recovery_due:
                self._recovery_due = False
                await self._recover()
            await self._read_new()
        except UnknownGroupError as failure:
            self._recovery_due = True
            await self._session.recreate_group(failure.stream, failure)
            # What was in hand is delivered again.
            self._lanes.forget(failure.stream)
            self.suspects = deque(each for each in self.suspects if each[0] != failure.stream)

    async def _recover(self) -> None:
        """Take up what is pending with this consumer, less what is in hand; all of it before anything new."""
        session = self._session
        if self._reclaim is not None:
            for stream in session.streams:
                await self._take_over(stream, self._reclaim)
            self._reclaim = None
        for stream in session.streams:
            after = b"0-0"
            while not session.is_quiet:
                entries = await session.broker.own_pending(
                    stream, session.group.name, session.consumer, after=after, count=_PAGE
                )
                if not entries:
                    break
                after = entries[-1][0]
                self.suspect(stream, [entry for entry in entries if not session.hand.knows(stream, entry[0])])
                await self.wait_unsuspicious()

    async def _take_over(self, stream: str, min_idle: timedelta) -> None:
        """Move what others have left idle for *min_idle* to us, to be found among our own."""
        session = self._session
        start: EntryId | None = None
        while not session.is_quiet:
            claimed = await session.broker.claim(
                stream, session.group.name, session.consumer, min_idle=min_idle, count=_PAGE, start=start
            )
            for entry_id in claimed.vanished:
                await self._settling.vanished(stream, entry_id)
            start = claimed.next_start
            if start is None:
                return

    def recover_soon(self) -> None:
        """Look through the own pending entries again before the next read: some may have been moved to us."""
        self._recovery_due = True

    def suspect(self, stream: str, entries: list[RawEntry]) -> None:
        """Take entries in that were delivered before."""
        if entries:
            self._session.hand.take(stream, (entry[0] for entry in entries))
            self.suspects.extend((stream, entry) for entry in entries)
            self._suspects_came.set()
            self.caught_up.clear()

    async def wait_unsuspicious(self) -> None:
        """Wait until every suspicious entry has had its time alone, or the session is quiet."""
        while (self.suspects or self._is_one_alone) and not self._session.is_quiet:
            self._suspects_went.clear()
            await self._suspects_went.wait()

    @property
    def has_suspects(self) -> bool:
        """Whether suspicious entries wait or are being handled."""
        return bool(self.suspects or self._is_one_alone or self.handling)

    def hurry(self) -> None:
        """The session is quiet: nobody waits for suspicious entries any more."""
        self._suspects_went.set()

    async def _read_new(self) -> None:
        session, lanes = self._session, self._lanes
        await lanes.wait_hungry(self._appetite.ahead)
        if not session.streams:
            self.caught_up.set()
            session.streams_changed.clear()
            await session.streams_changed.wait()
        if session.is_quiet:
            return
        now = session.clock.monotonic()
        if self._last_total:
            self._appetite.took(now - self._last_read, self._last_total)
        self._last_read, self._last_total = now, 0
        count = self._appetite.next_count(lanes.free)
        done = self._settling.take_along()
        try:
            read = await session.broker.read_group(
                session.group.name,
                session.consumer,
                session.streams,
                count=count,
                # A read that waits would also keep the answer to its acknowledgements waiting.
                block=_BLOCK if self.caught_up.is_set() and not done else None,
                acknowledge=done,
            )
        except BaseException:
            session.hand.put_back(done)
            raise
        self._settling.confirm(done, dict(read.acknowledged))
        total = 0
        for stream, entries in read.batches:
            total += len(entries)
            session.hand.take(stream, [entry[0] for entry in entries])
            self._appetite.saw(entries)
            if session.observer is not None:
                session.observer.delivered(session.group.name, stream, len(entries))
        if not total:
            self.caught_up.set()
            return
        self.caught_up.clear()
        session.counts.delivered += total
        session.progressed()
        if session.is_quiet:
            # The stop came while the server was handing these over: they were never begun.
            for stream, entries in read.batches:
                await self._settling.release(stream, [entry[0] for entry in entries])
            return
        self._last_total = total
        for stream, entries in read.batches:
            lanes.put(stream, entries)
        if total < count:
            # Nothing more is there, so reading ahead can wait: the handlers go first, and the next read takes their
            # acknowledgements along.
            await asyncio.sleep(0)

    # -- suspects -----------------------------------------------------------------------------------------------

    async def run_suspects(self) -> None:
        """Handle suspicious entries until the session is quiet; one of several such tasks, which take turns."""
        session = self._session
        while not session.is_quiet:
            await self._turn.acquire()
            has_turn = True

            def next_turn() -> None:
                nonlocal has_turn
                if has_turn:
                    has_turn = False
                    self._is_one_alone = False
                    self._suspects_went.set()
                    self._turn.release()

            try:
                while not self.suspects:
                    self._suspects_came.clear()
                    await self._suspects_came.wait()
                stream, entry = self.suspects.popleft()
                self._is_one_alone = True
                async with session.gate.alone(next_turn) as is_alone:
                    if not session.is_quiet:
                        await self._handle_suspect(stream, entry, is_alone=is_alone)
            finally:
                next_turn()

    async def _handle_suspect(self, stream: str, entry: RawEntry, *, is_alone: bool) -> None:
        session, entry_id = self._session, entry[0]
        if not session.hand.has(stream, entry_id):
            return  # lost while it waited
        self.handling += 1
        try:
            await self._judge_suspect(stream, entry, is_alone=is_alone)
        finally:
            self.handling -= 1

    async def _judge_suspect(self, stream: str, entry: RawEntry, *, is_alone: bool) -> None:
        session, entry_id = self._session, entry[0]
        if entry[1] is None:
            await self._settling.vanished(stream, entry_id)
            return
        if is_alone:
            count = await session.insist(
                "counting a delivery",
                lambda: session.broker.begin_alone(stream, session.group.name, session.consumer, entry_id),
            )
            if count is None:
                session.hand.drop(stream, entry_id)
                session.lost(stream, 1)
                return
            if count > session.settings.max_deliveries:
                await self._settling.poison(stream, entry, count - 1)
                return
        await self._lanes.handle(stream, entry, alone=True)
