"""The server as the commands see it: ask it, run a script on it, and get an answer or one of our errors.

Three lasting connections, so that nothing waits behind what it should not: one for adding entries, one for settling,
renewing and claiming (a big publish never delays a renewal), one for looking (a long reply delays neither). Each
waiting group reader and each waiting plain reader has one more of its own. In a cluster these are as many to each node
that is used.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from penstock.errors import BrokerError, BrokerUnavailableError
from penstock.streams._valkey.cluster import Cluster, Lines, NodeLines
from penstock.streams._valkey.connector import Connector
from penstock.streams._valkey.errors import ReplyError, translate
from penstock.streams._valkey.exchange import Exchange
from penstock.streams._valkey.line import Line
from penstock.streams._valkey.packing import pack
from penstock.streams._valkey.reading import Reader
from penstock.streams._valkey.redirections import key_of
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

    def __init__(self, source: Connector | Cluster, keys: Keys) -> None:
        self.keys = keys
        self.capabilities: Capabilities | None = None
        self.exchange = Exchange(source)
        self._source = source
        self.appends = self._lines("adding")
        self.settles = self._lines("settling")
        self.looks: Lines = source.looks if isinstance(source, Cluster) else self._lines("looking")
        self._readers: dict[tuple[str, str], Reader] = {}
        self._idle_readers: list[Reader] = []
        self._busy_readers: set[Reader] = set()
        self.known: dict[str, bytes] = {}
        """Streams that were put on the list of streams less than a minute ago, with their keys; see `remember`."""
        self._reminder: asyncio.TimerHandle | None = None
        self._remembering: set[asyncio.Task[Any]] = set()

    @property
    def name(self) -> str:
        """Where the server is, without credentials."""
        return self._source.server

    async def open(self) -> None:
        """Connect with one try; from now on lines connect when they are used."""
        self._source.closed = False
        await self.looks.open()

    async def close(self) -> None:
        """Finish what was sent, then disconnect everything."""
        self._source.closed = True
        # These may wait for entries for long; what they were handed stays pending.
        readers = [*self._readers.values(), *self._busy_readers, *self._idle_readers]
        self._readers.clear()
        self._idle_readers.clear()
        await asyncio.gather(*(reader.close("the broker was closed") for reader in readers))
        await asyncio.gather(*(lines.close() for lines in (self.appends, self.settles, self.looks)))
        await self._source.aclose()
        self.capabilities = None
        self._remind()

    # -- lines for those who wait -------------------------------------------------------------------------------

    def reader(self, group: str, consumer: str) -> Reader:
        """What this consumer reads with."""
        reader = self._readers.get((group, consumer))
        if reader is None:
            reader = self._readers[group, consumer] = Reader(
                self.exchange, self._lines(f"consumer {consumer!r} of {group!r}")
            )
        return reader

    async def interrupt(self, group: str, consumer: str) -> None:
        """End a read of this consumer that waits. Raises `BrokerUnavailableError`."""
        reader = self._readers.get((group, consumer))
        if reader is None:
            return
        reader.interrupt()
        line = reader.waits_on
        wire = line.wire if line is not None else None
        if line is None or wire is None or wire.client_id is None:
            return
        settling = await self.settles.beside(line).ready()
        await settling.send(pack((b"CLIENT", b"UNBLOCK", wire.client_id)))

    async def close_reader(self, group: str, consumer: str) -> None:
        """Disconnect the lines of a consumer that reads no more."""
        reader = self._readers.pop((group, consumer), None)
        if reader is not None:
            await reader.close("the consumer has left")

    def borrow(self) -> Reader:
        """Something to read with, for oneself until `give_back`."""
        reader = (
            self._idle_readers.pop() if self._idle_readers else Reader(self.exchange, self._lines("waiting"))
        )
        self._busy_readers.add(reader)
        return reader

    def give_back(self, reader: Reader) -> None:
        """It may serve another."""
        self._busy_readers.discard(reader)
        self._idle_readers.append(reader)

    # -- asking -------------------------------------------------------------------------------------------------

    async def try_ask(self, lines: Lines, *command: bytes | str | int) -> Any:
        """The reply to one command, or `ReplyError` as a value."""
        return await self.exchange.one(lines, command)

    async def ask(self, lines: Lines, *command: bytes | str | int, stream: str = "", group: str = "") -> Any:
        """The reply to one command; an error reply is raised as what it means for *stream* and *group*."""
        reply = await self.exchange.one(lines, command)
        if isinstance(reply, ReplyError):
            raise self.error(reply, _shown(command[0]), stream, group, key_of(command))
        return reply

    async def ask_all(self, lines: Lines, commands: Sequence[tuple[bytes | str | int, ...]]) -> list[Any]:
        """The replies to commands sent in one write to each node; error replies are values."""
        return await self.exchange.many(lines, commands)

    async def run(
        self,
        lines: Lines,
        name: str,
        keys: Sequence[bytes],
        arguments: Sequence[bytes | str | int] = (),
        *,
        stream: str = "",
        group: str = "",
    ) -> Any:
        """What the script *name* answers; an error reply is raised as what it means for *stream* and *group*."""
        called = script(name)
        command = (b"EVALSHA", called.digest, len(keys), *keys, *arguments)
        reply = await self.exchange.one(lines, command)
        if isinstance(reply, ReplyError):
            key = self.keys.stream(stream) if stream else keys[0]
            raise self.error(reply, f"the script {name!r}", stream, group, key)
        return reply

    async def run_all(
        self, lines: Lines, name: str, calls: Sequence[tuple[Sequence[bytes], Sequence[bytes | str | int]]]
    ) -> list[Any]:
        """What a script that changes nothing answers to several calls, in one write to each node."""
        called = script(name)
        commands = [(b"EVALSHA", called.digest, len(keys), *keys, *arguments) for keys, arguments in calls]
        replies = await self.exchange.many(lines, commands)
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
        if isinstance(self._source, Cluster) and reply.code in ("MOVED", "ASK"):
            return BrokerUnavailableError(
                f"{self.name} cannot serve {command} at present, its slots are moving: {reply.text}"
            )
        return translate(
            reply, command, user=self._source.user, server=self.name, stream=stream, group=group, key=key
        )

    # -- the list of streams ------------------------------------------------------------------------------------

    def remember(self, stream: str, wire: Wire) -> None:
        """Put *stream* on the list of known streams, without waiting; where the list may not be written, leave it out.

        On a single server it is on the list before what is sent over *wire* next has its effect.

        It is put there again every minute, because another process may have deleted the stream, and with it its place
        on the list, before we wrote to it again.
        """
        if self._reminder is None:
            self._reminder = asyncio.get_running_loop().call_later(_REMIND_AFTER_S, self._remind)
        self.known[stream] = self.keys.stream(stream)
        command = (b"SADD", self.keys.streams, stream)
        if isinstance(self._source, Cluster):
            # The list has a slot of its own.
            task = asyncio.get_running_loop().create_task(self.exchange.one(self.looks, command))
            self._remembering.add(task)
            task.add_done_callback(self._remembering.discard)
            task.add_done_callback(lambda done: self._remembered(stream, done))
        else:
            wire.send(pack(command)).add_done_callback(lambda done: self._remembered(stream, done))

    async def remembered(self) -> None:
        """Wait until what we put on the list is there."""
        if self._remembering:
            await asyncio.wait(list(self._remembering))

    # -- helpers ------------------------------------------------------------------------------------------------

    def _lines(self, name: str) -> Lines:
        source = self._source
        return NodeLines(source, name) if isinstance(source, Cluster) else Line(source, name)

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
