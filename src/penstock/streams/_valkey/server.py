"""The server as the commands see it: ask it, run a script on it, and get an answer or one of our errors.

Three lasting connections, so that nothing waits behind what it should not: one for adding entries, one for settling,
renewing and claiming (a big publish never delays a renewal), one for looking (a long reply delays neither). Each
waiting group reader and each waiting plain reader has one more of its own.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from penstock.errors import BrokerError, BrokerUnavailableError
from penstock.streams._valkey.connector import Connector
from penstock.streams._valkey.errors import ReplyError, translate
from penstock.streams._valkey.line import Line
from penstock.streams._valkey.packing import pack
from penstock.streams._valkey.scripts import Script, script
from penstock.streams._valkey.wire import Wire
from penstock.streams.abc import Capabilities
from penstock.streams.keys import Keys
from penstock.telemetry import LOGGER

__all__ = ["Server"]

_LOG: Final = LOGGER.getChild("streams.valkey")
_REMIND_AFTER_S: Final = 60.0


class Server:
    """The connections of one broker, and the ways to speak over them."""

    def __init__(self, connector: Connector, keys: Keys) -> None:
        self.keys = keys
        self.capabilities: Capabilities | None = None
        self.appends = Line(connector, "adding")
        self.settles = Line(connector, "settling")
        self.looks = Line(connector, "looking")
        self._connector = connector
        self._readers: dict[tuple[str, str], Line] = {}
        self._idle_lines: list[Line] = []
        self._busy_lines: set[Line] = set()
        self.known: dict[str, bytes] = {}
        """Streams that were put on the list of streams less than a minute ago, with their keys; see `remember`."""
        self._reminder: asyncio.TimerHandle | None = None

    @property
    def name(self) -> str:
        """Where the server is, without credentials."""
        return self._connector.server

    async def open(self) -> None:
        """Connect with one try; from now on lines connect when they are used."""
        self._connector.closed = False
        await self.looks.open()

    async def close(self) -> None:
        """Finish what was sent, then disconnect everything."""
        self._connector.closed = True
        waiting = [*self._readers.values(), *self._busy_lines]
        for line in waiting:
            # These may wait for entries for long; what they were handed stays pending.
            line.drop("the broker was closed")
        lines = [self.appends, self.settles, self.looks, *waiting, *self._idle_lines]
        self._readers.clear()
        self._idle_lines.clear()
        await asyncio.gather(*(line.close() for line in lines))
        await self._connector.aclose()
        self.capabilities = None
        self._remind()

    # -- lines for those who wait -------------------------------------------------------------------------------

    def reader(self, group: str, consumer: str) -> Line:
        """The line on which this consumer reads."""
        line = self._readers.get((group, consumer))
        if line is None:
            line = self._readers[group, consumer] = Line(
                self._connector, f"consumer {consumer!r} of {group!r}"
            )
        return line

    def reader_if_any(self, group: str, consumer: str) -> Line | None:
        """The line on which this consumer has read, if it has."""
        return self._readers.get((group, consumer))

    async def close_reader(self, group: str, consumer: str) -> None:
        """Disconnect the line of a consumer that reads no more."""
        line = self._readers.pop((group, consumer), None)
        if line is not None:
            line.drop("the consumer has left")
            await line.close()

    def borrow(self) -> Line:
        """A line to wait on, for oneself until `give_back`."""
        line = self._idle_lines.pop() if self._idle_lines else Line(self._connector, "waiting")
        self._busy_lines.add(line)
        return line

    def give_back(self, line: Line) -> None:
        """The line may wait for another."""
        self._busy_lines.discard(line)
        self._idle_lines.append(line)

    # -- asking -------------------------------------------------------------------------------------------------

    async def try_ask(self, line: Line, *command: bytes | str | int) -> Any:
        """The reply to one command, or `ReplyError` as a value."""
        wire = await line.ready()
        return await wire.send(pack(command))

    async def ask(self, line: Line, *command: bytes | str | int, stream: str = "", group: str = "") -> Any:
        """The reply to one command; an error reply is raised as what it means for *stream* and *group*."""
        reply = await self.try_ask(line, *command)
        if isinstance(reply, ReplyError):
            raise self.error(reply, _shown(command[0]), stream, group, _key_of(command))
        return reply

    async def ask_all(self, line: Line, commands: Sequence[tuple[bytes | str | int, ...]]) -> list[Any]:
        """The replies to commands sent in one write; error replies are values."""
        if not commands:
            return []
        wire = await line.ready()
        return await wire.send_many(b"".join([pack(command) for command in commands]), len(commands)).done

    async def run(
        self,
        line: Line,
        name: str,
        keys: Sequence[bytes],
        arguments: Sequence[bytes | str | int] = (),
        *,
        stream: str = "",
        group: str = "",
    ) -> Any:
        """What the script *name* answers; an error reply is raised as what it means for *stream* and *group*."""
        called = script(name)
        command = pack((b"EVALSHA", called.digest, len(keys), *keys, *arguments))
        wire = await line.ready()
        reply = await wire.send(command)
        if isinstance(reply, ReplyError) and reply.code == "NOSCRIPT":
            reply = await self._load_and_run(wire, called, command)
        if isinstance(reply, ReplyError):
            key = self.keys.stream(stream) if stream else keys[0]
            raise self.error(reply, f"the script {name!r}", stream, group, key)
        return reply

    async def run_all(
        self, line: Line, name: str, calls: Sequence[tuple[Sequence[bytes], Sequence[bytes | str | int]]]
    ) -> list[Any]:
        """What a script that changes nothing answers to several calls, in one write."""
        called = script(name)
        commands = [(b"EVALSHA", called.digest, len(keys), *keys, *arguments) for keys, arguments in calls]
        replies = await self.ask_all(line, commands)
        if any(isinstance(reply, ReplyError) and reply.code == "NOSCRIPT" for reply in replies):
            replies = (await self.ask_all(line, [self.load(called), *commands]))[1:]
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise self.error(reply, f"the script {name!r}")
        return replies

    def load(self, called: Script) -> tuple[bytes, ...]:
        """The command that makes a script known."""
        return (b"SCRIPT", b"LOAD", called.text)

    def error(
        self, reply: ReplyError, command: str, stream: str = "", group: str = "", key: bytes = b""
    ) -> BrokerError:
        """The error that an error reply means."""
        return translate(
            reply, command, user=self._connector.user, server=self.name, stream=stream, group=group, key=key
        )

    # -- the list of streams ------------------------------------------------------------------------------------

    def remember(self, stream: str, wire: Wire) -> None:
        """Put *stream* on the list of known streams, without waiting; where the list may not be written, leave it out.

        It is put there again every minute, because another process may have deleted the stream, and with it its place
        on the list, before we wrote to it again.
        """
        if self._reminder is None:
            self._reminder = asyncio.get_running_loop().call_later(_REMIND_AFTER_S, self._remind)
        self.known[stream] = self.keys.stream(stream)
        reply = wire.send(pack((b"SADD", self.keys.streams, stream)))
        reply.add_done_callback(lambda done: self._remembered(stream, done))

    # -- helpers ------------------------------------------------------------------------------------------------

    async def _load_and_run(self, wire: Wire, called: Script, command: bytes) -> Any:
        # Nothing has run, so that calling again is safe for a script that writes, too.
        loaded, reply = await wire.send_many(pack(self.load(called)) + command, 2).done
        return loaded if isinstance(loaded, ReplyError) else reply

    def _remind(self) -> None:
        self.known.clear()
        if self._reminder is not None:
            self._reminder.cancel()
            self._reminder = None

    def _remembered(self, stream: str, done: "asyncio.Future[Any]") -> None:
        if done.cancelled():
            return
        if isinstance(error := done.exception(), BrokerUnavailableError):
            self.known.pop(stream, None)
        elif isinstance(error or done.result(), ReplyError):
            _LOG.debug(
                "stream %r could not be put on the list %r: %s", stream, self.keys.streams, done.result()
            )


def _shown(word: bytes | str | int) -> str:
    return word.decode() if isinstance(word, bytes) else str(word)


def _key_of(command: Sequence[bytes | str | int]) -> bytes:
    return command[1] if len(command) > 1 and isinstance(command[1], bytes) else b""
