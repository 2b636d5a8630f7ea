"""What a process does for all its projections of one database: renewing leases, reading what people ask for.

Each has a thread of its own, so that neither a slow handler nor the other keeps it waiting.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

from penstock.errors import PenstockError
from penstock.projections._engine import _lease
from penstock.projections._engine._holding import Holding
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._sql import NOW, rows, transaction
from penstock.projections._engine._threads import OwnThread
from penstock.store.database import Connection, Database
from penstock.telemetry import LOGGER

__all__ = ["Control", "Keeper"]

T = TypeVar("T")

_CLOSING_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class Control:
    """What the row of one projection said when it was last read."""

    wanted: str = "run"
    """``run`` or ``stop``."""
    request: str = ""
    """``reset`` or ``delete``, once."""
    options: str = "{}"
    reload_at: int = 0
    token: str | None = None
    remaining_us: int = 0
    """How long the lease of `token` lasts; 0 when its holder is surely dead."""
    retry_at: int = 0
    stands: bool = False
    position: int = 0
    """Where the checkpoint is."""
    wanted_failures: int = 0
    """How many failures are to be tried again."""
    version: int = 0
    """Which version the checkpoint is of; 0 where there is none."""

    def is_with_another(self, terms: LeaseTerms) -> bool:
        """Whether another process has the lease."""
        return self.token not in (None, terms.token) and self.remaining_us > 0


class Keeper:
    """Renews the leases under one token, and keeps the rows of control of one database at hand."""

    def __init__(
        self,
        database: Database,
        terms: LeaseTerms,
        *,
        poll: timedelta,
        looked: Callable[[], None],
    ) -> None:
        self.database, self.terms = database, terms
        self.rows: Mapping[tuple[str, str], Control] = {}
        self.held: set[tuple[str, str]] = set()
        """Whose leases are to be renewed."""
        self.now_us = 0
        """The database's time at the first look."""
        self._poll = poll.total_seconds()
        self._looked = looked
        self._looking = OwnThread(f"penstock control {database.name}")
        self._renewing = OwnThread(f"penstock leases {database.name}")
        self._connections: dict[OwnThread, Connection] = {}

    @property
    def has_looked(self) -> bool:
        """Whether the rows were read at all."""
        return self.now_us != 0

    async def run(self) -> None:
        """Look and renew until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._look_on(), name=f"control {self.database.name}")
                tasks.create_task(self._renew_on(), name=f"leases {self.database.name}")
        finally:
            for thread in (self._looking, self._renewing):
                await self._close(thread)

    async def look(self) -> None:
        """Read the rows now. Raises what the database raises."""
        now_us, self.rows = await self._looking.call(lambda: self._with(self._looking, self._read))
        self.now_us = self.now_us or now_us
        self._looked()

    async def ask(self, question: Callable[[Database, Connection], T]) -> T:
        """What *question* answers, between two looks and over the same connection. Raises what the database raises."""
        return await self._looking.call(
            lambda: self._with(self._looking, lambda connection: question(self.database, connection))
        )

    async def first_look(self) -> None:
        """Read the rows once; a database that is away is left for later."""
        await self._unless_away(self.look)

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(self._poll)
            await self._unless_away(self.look)

    async def _renew_on(self) -> None:
        while True:
            await asyncio.sleep(self.terms.length.total_seconds() / 3)
            if self.held:
                await self._unless_away(self._renew)

    async def _renew(self) -> None:
        before = frozenset(self.held)
        renewed = await self._renewing.call(
            lambda: self._with(self._renewing, lambda each: _lease.renew(self.database, each, self.terms))
        )
        for name, _ in before.intersection(self.held).difference(renewed):
            LOGGER.warning("projection %r: the lease has gone to another", name)

    async def _unless_away(self, act: Callable[[], Awaitable[None]]) -> None:
        try:
            await act()
        except PenstockError as failure:
            LOGGER.debug("projections of database %r: %s", self.database.name, failure)
        except Exception as failure:  # noqa: BLE001  a driver's own; the next look may do
            LOGGER.warning(
                "projections of database %r cannot be looked after: %s", self.database.name, failure
            )

    # -- in the threads -----------------------------------------------------------------------------------------

    def _with(self, thread: OwnThread, act: Callable[[Connection], T]) -> T:
        connection = self._connections.get(thread)
        if connection is None:
            connection = self._connections[thread] = self.database.connect(application="penstock projections")
        try:
            return act(connection)
        except BaseException:
            self._connections.pop(thread, None)
            connection.close()
            raise

    def _read(self, connection: Connection) -> tuple[int, Mapping[tuple[str, str], Control]]:
        now = NOW[self.database.dialect]
        found = rows(
            self.database,
            connection,
            "SELECT p.projection, p.generation, p.wanted, p.request, p.options, p.reload_at, p.token, "
            f"p.lease_until - {now}, p.retry_at, p.stands, coalesce(c.position, 0), "
            "(SELECT count(*) FROM penstock_projection_failures f WHERE f.projection = p.projection "
            "AND f.generation = p.generation AND f.wanted = 1), p.session, coalesce(c.version, 0) "
            "FROM penstock_projections p LEFT JOIN penstock_checkpoints c "
            "ON c.projection = p.projection AND c.generation = p.generation",
        )
        [[now_us]] = rows(self.database, connection, f"SELECT {now}")
        return now_us, {
            (row[0], row[1]): Control(
                wanted=row[2],
                request=row[3],
                options=row[4],
                reload_at=row[5],
                token=row[6],
                remaining_us=self._left(connection, (row[0], row[1]), row[6], row[7], row[12]),
                retry_at=row[8],
                stands=bool(row[9]),
                position=row[10],
                wanted_failures=row[11],
                version=row[13],
            )
            for row in found
        }

    def _left(
        self, connection: Connection, key: tuple[str, str], token: str | None, remaining_us: int, session: str
    ) -> int:
        """How long the lease of another has to be waited for."""
        if token in (None, self.terms.token) or remaining_us <= 0:
            return remaining_us
        holding = Holding.read(session)
        if remaining_us > holding.length_us > 0:
            with transaction(self.database, connection):
                remaining_us = _lease.shorten(self.database, connection, key)
        return _lease.left_us(self.database, connection, holding, remaining_us)

    async def _close(self, thread: OwnThread) -> None:
        """Close its connection when what runs there has ended; who waits for a lock is not waited for."""

        def close() -> None:
            connection = self._connections.pop(thread, None)
            if connection is not None:
                connection.close()

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await thread.call(close)
        thread.end()
