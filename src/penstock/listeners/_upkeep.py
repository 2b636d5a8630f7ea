"""What a worker does beside handling: keep what is in hand, take over what others left, clear away the dead."""

import uuid
from datetime import timedelta

from penstock.errors import TransientError, UnknownGroupError
from penstock.listeners._intake import Intake
from penstock.listeners._names import is_abandoned
from penstock.listeners._retrying import Retrying
from penstock.listeners._session import Session
from penstock.listeners._settling import Settling
from penstock.listeners.patterns import FindStreams
from penstock.position import BEGINNING, EntryId
from penstock.telemetry import LOGGER

__all__ = ["Upkeep"]

_LONGEST_CLAIM_INTERVAL = timedelta(seconds=15)
_CLAIM_PAGE = 32


class Upkeep:
    """The slow loops of one worker. A server that is away ends none of them: they try again next time."""

    def __init__(self, session: Session, settling: Settling, intake: Intake, retrying: Retrying) -> None:
        self._session = session
        self._settling = settling
        self._intake = intake
        self._retrying = retrying

    async def renew(self) -> None:
        """Restart the idle time of everything in hand every third of `min_idle`, or a living worker would be robbed."""
        session = self._session
        pause = min(session.settings.min_idle, session.settings.retry_visibility) / 3
        while True:
            await session.clock.sleep(pause)
            try:
                for stream, entry_ids in session.hand.held().items():
                    gone = await session.broker.renew(stream, session.group.name, session.consumer, entry_ids)
                    # Handled ones that were acknowledged meanwhile are gone too, and rightly so.
                    gone = [entry_id for entry_id in gone if session.hand.has(stream, entry_id)]
                    for entry_id in gone:
                        session.hand.drop(stream, entry_id)
                    if gone:
                        session.lost(stream, len(gone))
                await self._retrying.renew()
            except (TransientError, UnknownGroupError) as failure:
                LOGGER.debug("group %r: renewing failed: %s", session.group.name, failure)

    async def claim(self) -> None:
        """Take over entries that nobody has touched for `min_idle`, again and again, and see that they are handled."""
        session = self._session
        pause = min(session.settings.min_idle / 3, _LONGEST_CLAIM_INTERVAL)
        while not session.is_quiet:
            await session.clock.sleep(pause)
            for stream in session.streams:
                try:
                    await self._look_for_moved(stream)
                    await self._claim_from(stream)
                except (TransientError, UnknownGroupError) as failure:
                    LOGGER.debug("group %r: claiming failed: %s", session.group.name, failure)

    async def _look_for_moved(self, stream: str) -> None:
        """Take up what a person or another consumer has moved to us: more is pending with us than we have in hand."""
        session = self._session
        known = session.hand.count(stream)
        found = await session.broker.pending(
            stream, session.group.name, consumer=session.consumer, count=known + _CLAIM_PAGE
        )
        entry_ids = {bytes(each.entry_id) for each in found}
        if any(not session.hand.knows(stream, entry_id) for entry_id in entry_ids):
            self._intake.recover_soon()
        elif len(found) <= known:
            session.hand.forget_left(stream, entry_ids)

    async def _claim_from(self, stream: str) -> None:
        """Take over what has been idle for `min_idle` in one stream, page by page as it is handled."""
        session = self._session
        start: EntryId | None = None
        while not session.is_quiet:
            claimed = await session.broker.claim(
                stream,
                session.group.name,
                session.consumer,
                min_idle=session.settings.min_idle,
                count=_CLAIM_PAGE,
                start=start,
            )
            fresh = [entry for entry in claimed.entries if not session.hand.has(stream, entry[0])]
            self._intake.suspect(stream, fresh)
            for entry_id in claimed.vanished:
                await self._settling.vanished(stream, entry_id)
            if claimed.next_start is None:
                break
            start = claimed.next_start
            # More is only taken when this was handled: what waits here could be handled elsewhere.
            await self._intake.wait_unsuspicious()

    async def find(self, find_streams: FindStreams | None) -> None:
        """Read streams that have come to match a pattern of the group, from their beginning on."""
        session = self._session
        while find_streams is not None and not session.is_quiet:
            await session.clock.sleep(session.settings.refresh)
            try:
                came = [stream for stream in await find_streams() if stream not in session.streams]
                for stream in came:
                    await session.broker.removal.register_groups(stream, [session.group.name])
                    await session.broker.create_group(stream, session.group.name, BEGINNING)
            except TransientError as failure:
                LOGGER.debug("group %r: looking for streams failed: %s", session.group.name, failure)
                continue
            if came:
                LOGGER.info("group %r: found %s", session.group.name, ", ".join(came))
                session.read_also(came)
                self._intake.recover_soon()

    async def bury(self) -> None:
        """Remove consumers that nobody works under any more, after moving what they held to us."""
        session = self._session
        pause = session.settings.dead_after / 2
        token = uuid.uuid4().hex
        while not session.is_quiet:
            await session.clock.sleep(pause)
            for stream in session.streams:
                try:
                    await self._bury_in(stream, token)
                except (TransientError, UnknownGroupError) as failure:
                    LOGGER.debug("group %r: removing dead consumers failed: %s", session.group.name, failure)

    async def _bury_in(self, stream: str, token: str) -> None:
        session, group = self._session, self._session.group.name
        for consumer in await session.broker.consumers(stream, group):
            if consumer.name == session.consumer or consumer.idle < session.settings.dead_after:
                continue
            if not await is_abandoned(session.broker, group, consumer.name, token):
                continue
            try:
                moved = await session.broker.remove_consumer(
                    stream, group, consumer.name, heir=session.consumer
                )
            finally:
                await session.broker.free_name(group, consumer.name, token=token)
            LOGGER.info(
                "consumer %r of group %r on stream %r was dead for %s; removed, %d pending entries moved here",
                consumer.name,
                group,
                stream,
                consumer.idle,
                moved,
            )
            if moved:
                self._intake.recover_soon()
