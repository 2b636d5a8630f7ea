"""The same connection by redis-py's public calls alone: slower, and independent of what redis-py keeps to itself.

Used when hiredis is not installed, or when `penstock.streams._valkey.wire.adopt` finds a redis-py it does not know.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from redis import exceptions

from penstock.errors import BrokerUnavailableError
from penstock.streams._valkey.errors import ConnectionLostError, ReplyError
from penstock.streams._valkey.wire import Replies

__all__ = ["PlainWire"]

_GATHER_BYTES: Final = 1024 * 1024
# redis-py makes classes of these codes and takes the code off the text.
_CODES: Final = (
    (exceptions.NoScriptError, "NOSCRIPT"),
    (exceptions.OutOfMemoryError, "OOM"),
    (exceptions.ReadOnlyError, "READONLY"),
    (exceptions.BusyLoadingError, "LOADING"),
    (exceptions.NoPermissionError, "NOPERM"),
    (exceptions.AuthenticationError, "NOAUTH"),
    (exceptions.MasterDownError, "MASTERDOWN"),
    (exceptions.TryAgainError, "TRYAGAIN"),
    (exceptions.MovedError, "MOVED"),
    (exceptions.AskError, "ASK"),
    (exceptions.ClusterCrossSlotError, "CROSSSLOT"),
    (exceptions.ClusterDownError, "CLUSTERDOWN"),
)
_DEMOTED: Final = "The previous master is now a slave"
"""What redis-py makes of READONLY on a connection to a master that Sentinel named; it has disconnected by then."""


class PlainWire:
    """`Wire` over a redis-py connection: writes what has gathered, reads all its replies, and so on."""

    def __init__(
        self, connection: Any, server: str, answer_timeout_s: float, on_lost: Callable[[BaseException], None]
    ) -> None:
        self.client_id: int | None = None
        self.crowded = False
        self._connection, self._server, self._on_lost = connection, server, on_lost
        self._timeout_s, self._block_s = answer_timeout_s, 0.0
        # An injected client may have a time-out shorter than a blocking read; ours rules while the connection is ours.
        self._its_timeout, connection.socket_timeout = connection.socket_timeout, None
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[tuple[bytes, Replies]] = deque()
        self._unsent_bytes = 0
        self._sent: deque[Replies] = deque()
        self._lost: BaseException | None = None
        self._leave: ReplyError | None = None
        self._work = asyncio.Event()
        self._roomy = asyncio.Event()
        self._pump = self._loop.create_task(self._pump_forever(), name=f"connection to {server}")

    def send(self, data: bytes) -> "asyncio.Future[Any]":
        """Send one packed command; its reply, or `ReplyError` as a value."""
        replies = self.send_many(data, 1)
        waiter: asyncio.Future[Any] = self._loop.create_future()
        replies.done.add_done_callback(lambda done: _hand_over(done, waiter))
        return waiter

    def send_many(self, data: bytes, count: int) -> Replies:
        """Send *count* packed commands in one go."""
        replies = Replies(self._loop.create_future(), count)
        if self._lost is not None:
            replies.done.set_exception(self._unsent_error())
            return replies
        self._unsent.append((data, replies))
        self._unsent_bytes += len(data)
        self.crowded = self._leave is not None or self._unsent_bytes > _GATHER_BYTES
        self._work.set()
        return replies

    def allow(self, block_s: float) -> None:
        """From now on an answer may take that much longer than the answer timeout."""
        self._block_s = block_s

    async def room(self) -> None:
        """Wait until there is room for more."""
        while self.crowded and self._lost is None:
            self._roomy.clear()
            await self._roomy.wait()

    async def finish(self) -> None:
        """Wait until everything sent is answered (or the wire is lost), then close it."""
        waiting = [replies.done for _, replies in self._unsent] or [replies.done for replies in self._sent]
        if waiting and self._lost is None:
            await asyncio.wait(waiting[-1:])
        self.drop(BrokerUnavailableError(f"the connection to {self._server} was closed by us"))
        await asyncio.wait([self._pump])

    def drop(self, cause: BaseException) -> None:
        """Close at once; whatever waits fails because of *cause*."""
        if self._lost is not None:
            return
        self._lost = cause
        self._connection.socket_timeout = self._its_timeout
        self._pump.cancel()
        self.crowded = False
        self._roomy.set()
        late = f"the connection to {self._server} broke before the answer came: {cause}"
        for replies in self._sent:
            self._fail(replies, ConnectionLostError(late))
        for _, replies in self._unsent:
            self._fail(replies, self._unsent_error())
        self._sent.clear()
        self._unsent.clear()
        self._on_lost(cause)

    # -- helpers ------------------------------------------------------------------------------------------------

    async def _pump_forever(self) -> None:
        try:
            while True:
                await self._work.wait()
                self._work.clear()
                if self._unsent:
                    data = b"".join(data for data, _ in self._unsent)
                    self._sent.extend(replies for _, replies in self._unsent)
                    self._unsent.clear()
                    self._unsent_bytes = 0
                    if self._leave is None:
                        self.crowded = False
                        self._roomy.set()
                    async with asyncio.timeout(self._timeout_s + self._block_s + len(data) / _GATHER_BYTES):
                        await self._connection.send_packed_command(data, check_health=False)
                    await self._read_all()
                    if self._leave is not None and not self._unsent:
                        self.drop(self._leave)
        except TimeoutError:
            self.drop(TimeoutError(f"no answer within {self._timeout_s + self._block_s:g} s"))
        except (OSError, exceptions.RedisError) as error:
            self.drop(error)

    async def _read_all(self) -> None:
        while self._sent:
            replies = self._sent[0]
            while len(replies.got) < replies.wanted:
                replies.got.append(await self._read_one())
            self._sent.popleft()
            if not replies.done.done():
                replies.done.set_result(replies.got)

    async def _read_one(self) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s + self._block_s):
                return await self._connection.read_response(disable_decoding=True)
        except exceptions.RedisError as error:
            reply = _as_reply_error(error)
            if reply is None:
                raise
            if reply.leads_astray:
                # What was sent is answered first, so that nobody has to guess what became of it.
                self._leave, self.crowded = reply, True
            return reply

    def _unsent_error(self) -> BrokerUnavailableError:
        return BrokerUnavailableError(f"{self._server} is not connected: {self._lost}")

    def _fail(self, replies: Replies, error: BrokerUnavailableError) -> None:
        if not replies.done.done():
            error.__cause__ = self._lost
            replies.done.set_exception(error)


def _as_reply_error(error: exceptions.RedisError) -> ReplyError | None:
    for kind, code in _CODES:
        if isinstance(error, kind):
            return ReplyError(f"{code} {error}")
    if str(error) == _DEMOTED:
        return ReplyError(f"READONLY {error}")
    if not isinstance(error, exceptions.ResponseError):
        return None
    text = str(error)
    # redis-py takes a leading ERR away as well, but leaves the codes it does not know.
    return ReplyError(text if text.partition(" ")[0].isupper() else f"ERR {text}")


def _hand_over(done: "asyncio.Future[list[Any]]", waiter: "asyncio.Future[Any]") -> None:
    if waiter.done():
        done.exception()
    elif error := done.exception():
        waiter.set_exception(error)
    else:
        waiter.set_result(done.result()[0])
