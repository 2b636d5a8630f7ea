"""Getting connections, and getting them again: where they come from, with what patience, and what is told meanwhile.

All connections of one broker are made here, one at a time, so that an outage is met by one row of growing delays and
not by one row a connection. redis-py's own retries are off.
"""

import asyncio
import random
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from inspect import Parameter, signature
from typing import Any, Final

from redis import exceptions

from penstock.errors import (
    BrokerRefusedError,
    BrokerUnavailableError,
    PenstockError,
    UnsupportedClientError,
    UsageError,
)
from penstock.streams._valkey.errors import NodeAwayError, ReplyError, translate
from penstock.streams._valkey.packing import HAS_HIREDIS, pack
from penstock.streams._valkey.plain import PlainWire
from penstock.streams._valkey.wire import AdoptedWire, Wire, adopt
from penstock.telemetry import LOGGER, Observer

__all__ = ["Connector", "Reconnect"]

_LOG: Final = LOGGER.getChild("streams.valkey")
_POOL_IS_EMPTY: Final = ("Too many connections", "No connection available")
"""What redis-py's pools say; it has had no exception of its own for it in all versions."""


@dataclass(frozen=True, slots=True)
class Reconnect:
    """How a lost connection is made again.

    `attempts` bounds the tries of one outage (``None``: endless); then whoever waits gets `BrokerUnavailableError`, and
    the next call begins anew. The wait after try *n* is ``initial * factor ** (n - 1)``, at most `longest`, spread by
    ``± jitter`` (a share of the wait) so that many processes do not come back in one moment.
    """

    attempts: int | None = None
    initial: timedelta = timedelta(milliseconds=50)
    factor: float = 2.0
    longest: timedelta = timedelta(seconds=5)
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.attempts is not None and self.attempts < 1:
            raise UsageError(f"reconnect attempts is {self.attempts}; use at least 1, or None for endless")
        if self.initial <= timedelta(0) or self.factor < 1 or not 0 <= self.jitter < 1:
            raise UsageError(f"{self}: use initial above 0, factor at least 1, and jitter from 0 to below 1")

    def delay(self, attempt: int, spread: float) -> timedelta:
        """The wait after the failed try number *attempt*; *spread* in [-1, 1] places it within the jitter."""
        wait = min(
            self.initial.total_seconds() * self.factor ** min(attempt - 1, 64), self.longest.total_seconds()
        )
        return timedelta(seconds=wait * (1 + self.jitter * spread))


class Connector:
    """Makes the wires of one broker over a redis-py connection pool, and gives the connections back."""

    def __init__(
        self,
        pool: Any,
        *,
        server: str,
        user: str,
        connect_timeout: timedelta,
        answer_timeout: timedelta,
        reconnect: Reconnect,
        observer: Observer,
        adopting: bool = True,
        patient: bool = True,
    ) -> None:
        """*patient*: whoever asks for a wire waits until there is one. Else, for a node of a cluster, whose slots
        another may have taken over, they are told at once that it is away; the delays between tries are kept.
        """
        self.server, self.user, self.answer_timeout_s = server, user, answer_timeout.total_seconds()
        self._pool, self._connect_timeout_s = pool, connect_timeout.total_seconds()
        self._reconnect, self._observer, self._adopting = reconnect, observer, adopting
        self._patient = patient
        self.closed = True
        """Nobody gets a connection: the broker is not open."""
        self._one_at_a_time = asyncio.Lock()
        self._failures = 0
        self._try_at = 0.0
        self._up_since = 0.0
        self._given_up = 0
        self._last_error: PenstockError | None = None
        self._returning: set[asyncio.Task[None]] = set()

    async def connect_once(self, on_lost: Callable[[BaseException], None]) -> Wire:
        """A new wire, or why not, without a second try. Raises `BrokerUnavailableError`, `BrokerRefusedError`."""
        async with self._one_at_a_time:
            return await self._connect(on_lost)

    async def connect(self, on_lost: Callable[[BaseException], None]) -> Wire:
        """A new wire, as often as it takes under the policy. Raises `BrokerUnavailableError`, `BrokerRefusedError`."""
        if self.closed:
            raise BrokerUnavailableError(f"the broker for {self.server} is not open; open it first")
        given_up = self._given_up
        loop = asyncio.get_running_loop()
        async with self._one_at_a_time:
            while True:
                if self._given_up != given_up and self._last_error is not None:
                    raise BrokerUnavailableError(str(self._last_error)) from self._last_error
                wait_s = self._try_at - loop.time()
                if wait_s > 0 and not self._patient:
                    raise NodeAwayError(f"{self.server} is away{self.why_away}") from self._last_error
                await asyncio.sleep(max(0.0, wait_s))
                try:
                    wire = await self._connect(on_lost)
                except BrokerUnavailableError as error:
                    self._failed(error)
                    if not self._patient:
                        raise NodeAwayError(str(error)) from error
                    if self._reconnect.attempts is not None and self._failures >= self._reconnect.attempts:
                        self._given_up += 1
                        self._failures, self._try_at = 0, 0.0
                        raise
                    continue
                if self._failures:
                    _LOG.info("connected to %s again after %d tries", self.server, self._failures)
                    self._observer.reconnected(self.server)
                self._up_since, self._try_at = loop.time(), 0.0
                return wire

    def lost(self, cause: BaseException) -> None:
        """Tell that a wire broke: when connections keep breaking at once, the next tries come later and later."""
        now = asyncio.get_running_loop().time()
        if now - self._up_since > self._reconnect.longest.total_seconds():
            self._failures = 0
        elif now >= self._try_at:
            self._failed(cause)

    @property
    def why_away(self) -> str:
        """What the last try to connect met, for messages."""
        return f": {self._last_error}" if self._last_error is not None else ""

    async def aclose(self) -> None:
        """Wait until every connection is back in its pool."""
        if self._returning:
            await asyncio.wait(self._returning)

    # -- helpers ------------------------------------------------------------------------------------------------

    def _failed(self, cause: BaseException) -> None:
        self._failures += 1
        delay = self._reconnect.delay(self._failures, random.uniform(-1, 1))
        self._try_at = asyncio.get_running_loop().time() + delay.total_seconds()
        if isinstance(cause, PenstockError):
            self._last_error = cause
        _LOG.warning(
            "%s is away (try %d): %s; next try in %.3f s",
            self.server,
            self._failures,
            cause,
            delay.total_seconds(),
        )
        self._observer.reconnecting(self.server, self._failures, delay, cause)

    async def _connect(self, on_lost: Callable[[BaseException], None]) -> Wire:
        try:
            async with asyncio.timeout(self._connect_timeout_s):
                connection = await self._get_connection()
                try:
                    return await self._take_over(connection, on_lost)
                except BaseException:
                    await self._give_back(connection)
                    raise
        except TimeoutError as error:
            late = f"{self.server} did not answer within {self._connect_timeout_s:g} s"
            raise BrokerUnavailableError(late) from error
        except (OSError, exceptions.RedisError) as error:
            raise self._why_not(error) from error

    async def _get_connection(self) -> Any:
        get: Callable[..., Any] = self._pool.get_connection
        # redis-py before 5.3 asks for the name of a command, and makes no use of it.
        wants_name = signature(get).parameters["command_name"].default is Parameter.empty
        return await (get("_") if wants_name else get())

    def _why_not(self, error: BaseException) -> PenstockError:
        # What redis-py met may be wrapped: on a Unix socket it reads the answer to AUTH while it still connects.
        met: BaseException | None = error
        while met is not None:
            match met:
                case exceptions.AuthenticationError() | exceptions.NoPermissionError():
                    return BrokerRefusedError(f"{self.server} refused to let user {self.user!r} in: {met}")
                case ssl.SSLCertVerificationError():
                    return BrokerRefusedError(f"{self.server} has a certificate we do not trust: {met}")
                case exceptions.ConnectionError() if str(met).startswith(_POOL_IS_EMPTY):
                    return self._pool_is_empty()
                case _:
                    pass
            met = met.__cause__ or met.__context__
        return BrokerUnavailableError(f"{self.server} cannot be reached: {error}")

    async def _take_over(self, connection: Any, on_lost: Callable[[BaseException], None]) -> Wire:
        ours = False  # until the greeting is through, whoever got the connection gives it back

        def lost(cause: BaseException) -> None:
            nonlocal ours
            if ours:
                ours = False
                returning = asyncio.get_running_loop().create_task(self._give_back(connection))
                self._returning.add(returning)
                returning.add_done_callback(self._returning.discard)
            on_lost(cause)

        # Only a client that was brought speaks RESP3; what comes after it has no use for its richer types.
        resp3 = str(getattr(connection, "protocol", 2)) == "3"
        wire = self._make_wire(connection, lost, resp3)
        try:
            await self._greet(wire, resp3)
        except BaseException as error:
            wire.drop(error)
            raise
        ours = True
        return wire

    def _make_wire(self, connection: Any, lost: Callable[[BaseException], None], resp3: bool) -> Wire:
        if self._adopting and HAS_HIREDIS:
            adopted = AdoptedWire(self.server, self.answer_timeout_s, lost)
            if adopt(connection, adopted):
                return adopted
        if resp3 and not HAS_HIREDIS:
            raise UnsupportedClientError(
                "the client speaks RESP3, which is read with hiredis only",
                "install hiredis, or use protocol=2",
            )
        return PlainWire(connection, self.server, self.answer_timeout_s, lost)

    async def _greet(self, wire: Wire, resp3: bool) -> None:
        # PING finds a server that still loads its files, or a replica that has lost its primary.
        # Sentinels may be behind, and the old master a replica by now: what it would tell is out of date.
        of_sentinel = getattr(self._pool, "service_name", None) is not None
        greetings = [pack((b"PING",)), pack((b"CLIENT", b"ID"))]
        greetings += [pack((b"ROLE",))] * of_sentinel + [pack((b"HELLO", b"2"))] * resp3
        ping, client_id, *others = await wire.send_many(b"".join(greetings), len(greetings)).done
        if of_sentinel and isinstance(role := others.pop(0), list) and role[0] != b"master":
            raise BrokerUnavailableError(f"{self.server} is no longer where the sentinels say")
        hello = others
        for command, reply in (("PING", ping), *(("HELLO", reply) for reply in hello)):
            if isinstance(reply, ReplyError) and (command, reply.code) != ("PING", "NOPERM"):
                raise translate(reply, command, user=self.user, server=self.server)
        wire.client_id = client_id if isinstance(client_id, int) else None

    async def _give_back(self, connection: Any) -> None:
        try:
            await connection.disconnect(nowait=True)
        except (OSError, exceptions.RedisError) as error:
            _LOG.debug("closing a connection to %s: %s", self.server, error)
        await self._pool.release(connection)

    def _pool_is_empty(self) -> UnsupportedClientError:
        most = getattr(self._pool, "max_connections", "?")
        return UnsupportedClientError(
            f"the client's pool has no connection left (max_connections={most})",
            "allow it more: penstock keeps three, and one for each reader that waits",
        )
