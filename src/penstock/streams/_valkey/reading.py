"""Reading for one who waits: by one blocking read where one slot holds all streams, else by turns.

A command may not name keys of several slots. So streams in several slots are read without blocking, those of a node in
one write, with pauses that grow while nothing comes.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias

from penstock.errors import BrokerError
from penstock.streams._valkey.cluster import Lines, NodeLines
from penstock.streams._valkey.errors import ReplyError
from penstock.streams._valkey.exchange import Exchange
from penstock.streams._valkey.line import Line
from penstock.streams._valkey.packing import pack
from penstock.streams._valkey.redirections import Command, key_of, next_step

__all__ = ["Answers", "ReadCommand", "Reader"]

_FIRST_PAUSE_S: Final = 0.001
_LONGEST_PAUSE_S: Final = 0.05

ReadCommand: TypeAlias = Callable[[Sequence[bytes], timedelta | None], Command]
"""Makes the command that reads streams, all of one slot, by their keys; it waits so long for something to come."""


@dataclass(frozen=True, slots=True)
class Answers:
    """Replies to what was sent along, and to the reads: each with the keys it is about, of one slot."""

    along: list[Any]
    reads: list[tuple[Sequence[bytes], Any]]


class Reader:
    """One consumer, or another who waits for entries: it has lines of its own."""

    def __init__(self, exchange: Exchange, lines: Lines) -> None:
        self.lines = lines
        self._exchange = exchange
        self._one_at_a_time = asyncio.Lock()
        self._interrupted = asyncio.Event()
        self._waits_on: Line | None = None
        self._owed: BrokerError | None = None

    @property
    def waits_on(self) -> Line | None:
        """The line on which a blocking read may wait."""
        return self._waits_on

    def interrupt(self) -> None:
        """A read by turns ends with its present turn."""
        self._interrupted.set()

    async def read(
        self,
        keys: Sequence[bytes],
        read_command: ReadCommand,
        *,
        block: timedelta | None,
        along: Sequence[Command] = (),
    ) -> Answers:
        """Send what goes along, and read; in one write to each node. Error replies are values.

        Raises:
            BrokerUnavailableError: No answer came from one of the nodes, in this read, or in the last one, which had
                entries of others to hand over first.
        """
        async with self._one_at_a_time:
            if (owed := self._owed) is not None:
                self._owed = None
                raise owed
            try:
                slots = self.lines.by_slot(keys)
                if len(slots) == 1:
                    return await self._read_one(slots[0], read_command, block, along)
                return await self._read_by_turns(slots, read_command, block, along)
            except asyncio.CancelledError:
                # A server may hand over entries at any moment, and nobody else may take the answer for theirs.
                self.lines.drop("a read was cancelled")
                raise
            finally:
                self._waits_on = None

    async def close(self, reason: str) -> None:
        """Disconnect; what it was handed stays pending."""
        self.lines.drop(reason)
        await self.lines.close()

    # -- helpers ------------------------------------------------------------------------------------------------

    async def _read_one(
        self,
        keys: Sequence[bytes],
        read_command: ReadCommand,
        block: timedelta | None,
        along: Sequence[Command],
    ) -> Answers:
        lines, exchange = self.lines, self._exchange
        line = lines.at(keys[0])
        before: list[Any] = []
        if isinstance(lines, NodeLines) and any(lines.at(key_of(command)) is not line for command in along):
            before, along = await exchange.many(lines, along), ()
        wire = await exchange.wire(lines, keys[0])
        line = self._waits_on = lines.at(keys[0])
        block_s = block.total_seconds() if block else 0.0
        wire.allow(block_s)
        command = read_command(keys, block)
        packed = [pack(tuple(each)) for each in (*along, command)]
        replies = await wire.send_many(b"".join(packed), len(packed)).done
        for number, (sent, reply) in enumerate(zip((*along, command), replies, strict=True)):
            if isinstance(reply, ReplyError) and next_step(reply) is not None:
                replies[number] = await exchange.again(lines, sent, line, reply, block_s=block_s)
        if block and isinstance(lines, NodeLines) and _may_have_moved(replies[-1]):
            replies[-1] = await exchange.one(lines, read_command(keys, None))
        return Answers([*before, *replies[:-1]], [(keys, replies[-1])])

    async def _read_by_turns(
        self,
        slots: Sequence[Sequence[bytes]],
        read_command: ReadCommand,
        block: timedelta | None,
        along: Sequence[Command],
    ) -> Answers:
        loop = asyncio.get_running_loop()
        until = loop.time() + (block.total_seconds() if block else 0.0)
        reads = [read_command(keys, None) for keys in slots]
        before: list[Any] | None = None
        pause_s = _FIRST_PAUSE_S
        self._interrupted.clear()
        while True:
            answers = await self._exchange.attempt(self.lines, [*(along if before is None else ()), *reads])
            found = answers[-len(reads) :]
            before = answers[: -len(reads)] if before is None else before
            self._look_for_failures(before, found)
            left_s = until - loop.time()
            if any(found) or left_s <= 0 or self._interrupted.is_set():
                return Answers(before, list(zip(slots, found, strict=True)))
            await self._pause(min(pause_s, left_s))
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _look_for_failures(self, along: list[Any], found: list[Any]) -> None:
        """Raise what broke, unless entries came from elsewhere: those are handed over first."""
        failures = [answer for answer in (*along, *found) if isinstance(answer, BrokerError)]
        if not failures:
            return
        refused = any(isinstance(answer, (BrokerError, ReplyError)) for answer in along)
        if refused or not any(
            answer and not isinstance(answer, (BrokerError, ReplyError)) for answer in found
        ):
            raise failures[0]
        self._owed = failures[0]
        found[:] = [None if isinstance(answer, BrokerError) else answer for answer in found]

    async def _pause(self, pause_s: float) -> None:
        try:
            async with asyncio.timeout(pause_s):
                await self._interrupted.wait()
        except TimeoutError:
            return


def _may_have_moved(reply: Any) -> bool:
    """A key that moves is removed where reads wait for it. Redis 7.0 tells them no more; others say where it is."""
    return isinstance(reply, ReplyError) and (
        reply.code == "NOGROUP" or (reply.code == "UNBLOCKED" and "no longer exists" in reply.text)
    )
