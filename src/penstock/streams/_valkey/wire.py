"""One connection to the server at full speed: many tasks' commands in one write, replies read by hiredis.

redis-py makes the connection (TLS, credentials, database); then its transport is adopted by a protocol of ours, since
redis-py packs in Python and takes one command a connection at a time. Its private side is touched in `adopt` alone;
where that does not work, or hiredis is missing, `penstock.streams._valkey.plain` does the same by public calls.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Protocol, cast, final

from penstock.errors import BrokerUnavailableError
from penstock.streams._valkey.errors import ConnectionLostError, ReplyError

__all__ = ["AdoptedWire", "Replies", "Wire", "adopt"]

_GATHERED: Final = 256
_LARGE_BYTES: Final = 16 * 1024
"""So many commands, none larger than that, are gathered for one write; it is not put off further then."""
_HIGH_WATER_BYTES: Final = 1024 * 1024
_NOTHING: Final = object()
_WATCHES_A_TIMEOUT: Final = 8


@final
class Replies:
    """The replies to a pipeline, in order. `done` resolves with all of them; `got` holds what came before a break."""

    __slots__ = ("done", "got", "wanted")

    def __init__(self, done: "asyncio.Future[list[Any]]", wanted: int) -> None:
        self.done, self.wanted = done, wanted
        self.got: list[Any] = []


class Wire(Protocol):
    """A connection that many tasks may use at once. It never reconnects; `on_lost` is called once when it is gone."""

    client_id: int | None
    """The server's number for this connection, ``None`` when it does not tell."""
    crowded: bool
    """More is waiting to be sent than should: wait for `room` before sending more."""

    def send(self, data: bytes) -> "asyncio.Future[Any]":
        """Send one packed command; its reply, or `ReplyError` as a value.

        The future fails with `ConnectionLostError` when the answer cannot come any more, and with a plain
        `BrokerUnavailableError` when the command certainly had not left.
        """
        ...

    def send_many(self, data: bytes, count: int) -> Replies:
        """Send *count* packed commands in one go."""
        ...

    def allow(self, block_s: float) -> None:
        """From now on an answer may take that much longer than the answer timeout: a blocking read follows."""

    async def room(self) -> None:
        """Wait until there is room for more."""

    async def finish(self) -> None:
        """Wait until everything sent is answered (or the wire is lost), then close it."""

    def drop(self, cause: BaseException) -> None:
        """Close at once; whatever waits fails because of *cause*."""


class AdoptedWire(asyncio.Protocol):
    """`Wire` over a transport that redis-py connected. Needs hiredis."""

    def __init__(
        self, server: str, answer_timeout_s: float, on_lost: Callable[[BaseException], None]
    ) -> None:
        import hiredis

        self.client_id: int | None = None
        self.crowded = False
        self._server, self._timeout_s, self._on_lost = server, answer_timeout_s, on_lost
        self._loop = asyncio.get_running_loop()
        reader = hiredis.Reader(
            protocolError=ConnectionError, replyError=self._reply_error, notEnoughData=_NOTHING
        )
        self._feed, self._next_reply = reader.feed, reader.gets
        self._waiters: deque[asyncio.Future[Any] | Replies] = deque()
        self._gathered: list[bytes] = []
        self._transport: asyncio.Transport
        self._lost: BaseException | None = None
        self._leave: ReplyError | None = None
        self._closed = self._loop.create_future()
        self._roomy: asyncio.Future[None] | None = None
        self._block_s = 0.0
        self._received = self._seen_received = 0
        self._seen_unsent_bytes: int = 0
        self._silent_since = self._loop.time()
        self._watch_s = answer_timeout_s / _WATCHES_A_TIMEOUT
        self._watcher: asyncio.TimerHandle

    # -- what tasks do ------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> "asyncio.Future[Any]":
        """Send one packed command; its reply, or `ReplyError` as a value."""
        waiter: asyncio.Future[Any] = self._loop.create_future()
        if self._lost is not None:
            waiter.set_exception(self._unsent_error())
            return waiter
        # A caller on its own is served at once. When others' answers are still to come, whatever this turn of the
        # loop brings leaves together at its end.
        if self._waiters:
            gathered = self._gathered
            if not gathered:
                self._loop.call_soon(self._flush)
            gathered.append(data)
            if len(data) > _LARGE_BYTES or len(gathered) == _GATHERED:
                self._flush()
        else:
            self._transport.write(data)
        self._waiters.append(waiter)
        return waiter

    def send_many(self, data: bytes, count: int) -> Replies:
        """Send *count* packed commands in one go."""
        replies = Replies(self._loop.create_future(), count)
        if self._lost is not None:
            replies.done.set_exception(self._unsent_error())
            return replies
        if self._gathered:
            self._flush()
        self._transport.write(data)
        self._waiters.append(replies)
        return replies

    def allow(self, block_s: float) -> None:
        """From now on an answer may take that much longer than the answer timeout."""
        self._block_s = block_s

    async def room(self) -> None:
        """Wait until there is room for more."""
        while self.crowded and self._lost is None:
            if self._roomy is None:
                self._roomy = self._loop.create_future()
            await asyncio.shield(self._roomy)

    async def finish(self) -> None:
        """Wait until everything sent is answered (or the wire is lost), then close it."""
        if self._waiters and self._lost is None:
            last = self._waiters[-1]
            await asyncio.wait([last.done if isinstance(last, Replies) else last])
        if self._lost is None:
            self._lose(BrokerUnavailableError(f"the connection to {self._server} was closed by us"))
            self._transport.close()
        await asyncio.shield(self._closed)

    def drop(self, cause: BaseException) -> None:
        """Close at once; whatever waits fails because of *cause*."""
        self._lose(cause)
        self._transport.abort()

    # -- what the loop does -------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by `adopt`."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)
        self._watcher = self._loop.call_later(self._watch_s, self._watch)

    def data_received(self, data: bytes) -> None:
        """Hand the replies in *data* to those who wait for them, oldest first."""
        self._received += len(data)
        waiters, next_reply = self._waiters, self._next_reply
        try:
            self._feed(data)
            while (reply := next_reply()) is not _NOTHING:
                waiter = waiters[0]
                if type(waiter) is Replies:
                    got = waiter.got
                    got.append(reply)
                    if len(got) < waiter.wanted:
                        continue
                    future, reply = waiter.done, got
                else:
                    future = waiter
                waiters.popleft()
                if not future.done():
                    future.set_result(reply)
        except (ConnectionError, IndexError) as error:
            self.drop(error)
        if self._leave is not None:
            # What was sent is answered first, so that nobody has to guess what became of it.
            self.crowded = True
            if not waiters:
                self.drop(self._leave)

    def eof_received(self) -> None:
        """The server closed; `connection_lost` follows."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whatever waits."""
        self._lose(exc or ConnectionResetError("the server closed the connection"))
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        """The transport holds more than it should."""
        self.crowded = True

    def resume_writing(self) -> None:
        """The transport has sent enough of what it held."""
        if self._leave is not None and self._lost is None:
            return
        self.crowded = False
        if self._roomy is not None:
            self._roomy.set_result(None)
            self._roomy = None

    # -- helpers ------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        if self._gathered and self._lost is None:
            self._transport.write(b"".join(self._gathered) if len(self._gathered) > 1 else self._gathered[0])
            self._gathered.clear()

    def _reply_error(self, text: str) -> ReplyError:
        error = ReplyError(text)
        if error.leads_astray:
            self._leave = error
        return error

    def _watch(self) -> None:
        """Drop the connection when something waits and nothing has moved for the answer timeout.

        One timer for all: an answer is late after one to one and a quarter times its timeout. Bytes that arrive or
        leave are progress, so that a large body on a slow line is not taken for silence.
        """
        now = self._loop.time()
        unsent_bytes: int = self._transport.get_write_buffer_size()
        moved = self._received != self._seen_received or unsent_bytes != self._seen_unsent_bytes
        if moved or not self._waiters:
            self._seen_received, self._seen_unsent_bytes = self._received, unsent_bytes
            self._silent_since = now
        elif now - self._silent_since > self._timeout_s + self._block_s + self._watch_s:
            self.drop(TimeoutError(f"no answer within {self._timeout_s + self._block_s:g} s"))
            return
        self._watcher = self._loop.call_later(self._watch_s, self._watch)

    def _unsent_error(self) -> BrokerUnavailableError:
        return BrokerUnavailableError(f"{self._server} is not connected: {self._lost}")

    def _lose(self, cause: BaseException) -> None:
        if self._lost is not None:
            return
        self._lost = cause
        self._watcher.cancel()
        self.resume_writing()
        sent = len(self._waiters) - len(self._gathered)
        late = f"the connection to {self._server} broke before the answer came: {cause}"
        for number, waiter in enumerate(self._waiters):
            future = waiter.done if isinstance(waiter, Replies) else waiter
            if future.done():
                continue
            error = ConnectionLostError(late) if number < sent else self._unsent_error()
            error.__cause__ = cause
            future.set_exception(error)
        self._waiters.clear()
        self._gathered.clear()
        self._on_lost(cause)


def adopt(connection: Any, wire: AdoptedWire) -> bool:
    """Take the transport of a connected redis-py connection; whether that was possible (else nothing was changed).

    The one place that touches what redis-py keeps to itself: its stream reader and writer.
    """
    writer, reader = getattr(connection, "_writer", None), getattr(connection, "_reader", None)
    if not isinstance(writer, asyncio.StreamWriter) or not isinstance(reader, asyncio.StreamReader):
        return False
    transport: Any = writer.transport
    # Bytes that redis-py has already taken from the socket would be lost to us.
    if getattr(reader, "_buffer", None) != bytearray() or not hasattr(transport, "set_protocol"):
        return False
    wire.connection_made(transport)
    transport.set_protocol(wire)
    transport.resume_reading()
    return True
