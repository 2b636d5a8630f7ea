"""Asking and being sent elsewhere: a command goes to the node that keeps its key, and on to where that node points.

What a server refused before it did anything is sent again, within the answer timeout; see
`penstock.streams._valkey.redirections`. What was sent and not answered never is.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from penstock.errors import BrokerError, BrokerUnavailableError
from penstock.streams._valkey.cluster import Cluster, Lines, NodeLines
from penstock.streams._valkey.connector import Connector
from penstock.streams._valkey.errors import NodeAwayError, ReplyError
from penstock.streams._valkey.line import Line
from penstock.streams._valkey.packing import pack
from penstock.streams._valkey.redirections import (
    Ask,
    Command,
    Load,
    Moved,
    Step,
    Wait,
    key_of,
    next_step,
)
from penstock.streams._valkey.scripts import script_of
from penstock.streams._valkey.wire import Replies, Wire

__all__ = ["Exchange", "Patience"]

_FIRST_PAUSE_S: Final = 0.005
_LONGEST_PAUSE_S: Final = 0.25
_HASTY_STEPS: Final = 8
"""So often in a row we go where we are sent without a pause; nodes that point at each other would keep us running."""


class Patience:
    """Growing pauses, up to a deadline."""

    def __init__(self, timeout_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline = self._loop.time() + timeout_s
        self._pause_s = _FIRST_PAUSE_S

    @property
    def is_over(self) -> bool:
        """The deadline has passed."""
        return self._loop.time() >= self._deadline

    def bound(self) -> asyncio.Timeout:
        """What takes longer than to the deadline is ended by `TimeoutError`."""
        return asyncio.timeout_at(self._deadline)

    def relax(self) -> None:
        """Something went well: pauses begin short again."""
        self._pause_s = _FIRST_PAUSE_S

    async def pause(self) -> bool:
        """Wait a while; ``False``, at once, when the deadline has passed."""
        left_s = self._deadline - self._loop.time()
        if left_s <= 0:
            return False
        await asyncio.sleep(min(self._pause_s, left_s))
        self._pause_s = min(self._pause_s * 2, _LONGEST_PAUSE_S)
        return True


@dataclass(frozen=True, slots=True)
class _Way:
    """The line that is asked next, ``None``: that to the keeper of the key; and what is said there first."""

    line: Line | None = None
    first: bytes = b""
    meanwhile: Line | None = None
    """A line that will be needed."""

    @property
    def is_open(self) -> bool:
        """Something can be sent at once."""
        return self.line is not None and self.line.wire is not None and not self.line.wire.crowded


class Exchange:
    """Commands out, replies in, over the lines of one broker."""

    def __init__(self, source: Connector | Cluster) -> None:
        self._cluster = source if isinstance(source, Cluster) else None
        self._timeout_s = source.answer_timeout_s

    def patience(self) -> Patience:
        """As long as one answer may take."""
        return Patience(self._timeout_s)

    async def wire(self, lines: Lines, key: bytes, patience: Patience | None = None) -> Wire:
        """A connected wire with room, to the node that keeps *key*. Raises `BrokerUnavailableError`."""
        while True:
            try:
                return await lines.at(key).ready()
            except NodeAwayError:
                patience = patience or self.patience()
                if not await self._wait(patience):
                    raise

    async def one(self, lines: Lines, command: Command, *, patience: Patience | None = None) -> Any:
        """The reply to one command; an error reply is a value."""
        key = key_of(command)
        line = lines.at(key)
        wire = line.wire
        if wire is None or wire.crowded:
            wire = await self.wire(lines, key, patience)
        reply = await wire.send(pack(tuple(command)))
        if isinstance(reply, ReplyError):
            return await self.again(lines, command, line, reply, patience=patience)
        return reply

    async def many(self, lines: Lines, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands, sent in one write to each node; error replies are values."""
        replies = await self.attempt(lines, commands)
        for reply in replies:
            if isinstance(reply, BrokerError):
                raise reply
        return replies

    async def attempt(self, lines: Lines, commands: Sequence[Command]) -> list[Any]:
        """As `many`; what broke on the way to one node is a value, too, so that the others' replies are not lost."""
        parts: dict[Line, list[int]] = {}
        for number, command in enumerate(commands):
            parts.setdefault(lines.at(key_of(command)), []).append(number)
        sent = [await self._send(line, [commands[number] for number in parts[line]]) for line in parts]
        found: list[Any] = [None] * len(commands)
        try:
            for numbers, replies in zip(parts.values(), sent, strict=True):
                try:
                    got = (await replies.done) if isinstance(replies, Replies) else [replies] * len(numbers)
                except BrokerUnavailableError as error:
                    got = [error] * len(numbers)
                for number, reply in zip(numbers, got, strict=True):
                    found[number] = reply
        finally:
            for replies in sent:
                if isinstance(replies, Replies):
                    # Only when we were cancelled: nobody will ask what became of the others.
                    replies.done.cancel()
        patience = self.patience()
        for line, numbers in parts.items():
            for number in numbers:
                found[number] = await self._settle(lines, commands[number], line, found[number], patience)
        return found

    async def again(
        self,
        lines: Lines,
        command: Command,
        line: Line,
        reply: ReplyError,
        *,
        patience: Patience | None = None,
        block_s: float | None = None,
    ) -> Any:
        """What becomes of a command that *line* answered with an error: sent again until it is done or refused.

        *block_s* is how long the answer to a blocking read may take on top of the answer timeout.
        """
        key, packed = key_of(command), pack(tuple(command))
        patience = patience or self.patience()
        steps = 0
        while (step := next_step(reply)) is not None:
            steps += 1
            way = self._way(step, lines, command, line)
            waits = isinstance(step, Wait) or patience.is_over or steps % _HASTY_STEPS == 0
            if way is None or (waits and not await self._wait(patience)):
                return reply
            if isinstance(step, Ask) and (waits or not way.is_open):
                # Where a key is on its way to is true for this moment only: a node that takes it up again later would
                # begin a second one beside it. So we get ready to go there, and ask again.
                way = _Way(meanwhile=way.line)
            try:
                async with patience.bound():
                    if way.meanwhile is not None:
                        await way.meanwhile.ready()
                    line = way.line or lines.at(key)
                    wire = await line.ready()
            except NodeAwayError:
                way = _Way()
                wire = await self.wire(lines, key, patience)
                line = lines.at(key)
            except TimeoutError:
                return reply
            if block_s is not None:
                wire.allow(block_s)
            if not way.first:
                reply = await wire.send(packed)
            else:
                said, reply = await wire.send_many(way.first + packed, 2).done
                if isinstance(step, Load) and isinstance(said, ReplyError):
                    return said
            if not isinstance(reply, ReplyError):
                patience.relax()
                return reply
        return reply

    # -- helpers ------------------------------------------------------------------------------------------------

    def _way(self, step: Step, lines: Lines, command: Command, line: Line) -> "_Way | None":
        """Where to send the command next; ``None`` when that is nowhere."""
        cluster = self._cluster
        match step:
            case Wait():
                return _Way()
            case Load():
                called = script_of(command[1]) if isinstance(command[1], bytes) else None
                return None if called is None else _Way(line, pack((b"SCRIPT", b"LOAD", called.text)))
            case Moved(slot, address) if cluster is not None:
                cluster.moved(slot, address, said_by=line.connector)
                return _Way()
            case Ask(address) if cluster is not None and isinstance(lines, NodeLines):
                node = cluster.node(cluster.complete(address, said_by=line.connector))
                return _Way(lines.to(node), pack((b"ASKING",)))
            case _:
                # A single server, which turned out to be a node of a cluster.
                return None

    async def _send(self, line: Line, commands: Sequence[Command]) -> Replies | BrokerError:
        try:
            wire = await line.ready()
        except BrokerError as error:
            return error
        return wire.send_many(b"".join([pack(tuple(command)) for command in commands]), len(commands))

    async def _settle(
        self, lines: Lines, command: Command, line: Line, reply: Any, patience: Patience
    ) -> Any:
        try:
            if isinstance(reply, NodeAwayError) or (isinstance(reply, ReplyError) and reply.code == "ASK"):
                return await self.one(lines, command, patience=patience)
            if isinstance(reply, ReplyError):
                return await self.again(lines, command, line, reply, patience=patience)
        except BrokerUnavailableError as error:
            return error
        return reply

    async def _wait(self, patience: Patience) -> bool:
        """Wait a while, and look who keeps what by then; ``False`` when it has been long enough."""
        if not await patience.pause():
            return False
        if self._cluster is not None:
            try:
                await self._cluster.learn()
            except BrokerUnavailableError:
                return not patience.is_over
        return True
