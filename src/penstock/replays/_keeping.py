"""What work at a replay keeps while it goes on: its leases, and what it has begun in a thread.

Who plays has the leases of the generation (`leased`). Who makes or removes the copy has one of another kind, beside the
record (`alone_at`), and looks then whether somebody plays; who plays looks whether somebody removes (`check_free`) when
he has his own. So at least one of two sees the other.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from contextlib import closing
from datetime import timedelta
from typing import Final, TypeVar

from penstock.errors import ProjectionBusyError, ReplayBusyError, StaleRunnerError, UnknownReplayError
from penstock.projections._engine import _lease
from penstock.projections._engine._keeper import Keeper
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._sql import transaction
from penstock.store.database import Connection, Database

__all__ = ["alone_at", "check_free", "kept", "leased"]

T = TypeVar("T")

_MAKING: Final = "\x02making"
"""No key of a replay has such a character, so no generation has such a name."""
_LENGTH: Final = timedelta(minutes=2)
"""Nobody renews it: it is longer than a copy is made or waited for; whoever is killed is found out sooner, mostly."""
_PATIENCE_SECONDS: Final = 15.0
_LOOK_SECONDS: Final = 0.05


async def kept(work: Awaitable[T]) -> T:
    """What *work* returns; cancelled meanwhile, it is waited for, since it cannot be left in the middle."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.gather(task, return_exceptions=True)
        raise


@contextlib.asynccontextmanager
async def leased(
    key: str, projections: Sequence[str], database: Database, terms: LeaseTerms
) -> AsyncIterator[Connection]:
    """Have all leases of the generation *key* until the block ends; the connection over which they were taken.

    They are renewed meanwhile, whatever is done, so nobody else begins anything at the copy. Raises `ReplayBusyError`
    if somebody has one of them; none is left then.
    """
    leases = _Leases(key, sorted(projections), database, terms)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(leases.give_back)
        connection = await kept(asyncio.to_thread(leases.take))
        renewing = asyncio.create_task(leases.keeper.run(), name=f"leases of replay {key}")
        stack.push_async_callback(_ended, renewing)
        try:
            yield connection
        except UnknownReplayError:
            leases.are_of_nothing = True
            raise


class _Leases:
    """The leases of one generation. Their connection is used by one thread at a time."""

    def __init__(self, key: str, names: Sequence[str], database: Database, terms: LeaseTerms) -> None:
        self._key, self._keys = key, [(name, key) for name in names]
        self._database, self._terms = database, terms
        self.keeper = Keeper(database, terms, poll=terms.length, looked=lambda: None)
        self.keeper.held.update(self._keys)
        self.are_of_nothing = False
        """Whether the replay was removed before they were taken, so that even their rows are to go."""
        self._connection: Connection | None = None

    def take(self) -> Connection:
        """Have all of them, in one order."""
        application = _lease.application(self._terms, self._key)
        connection = self._connection = self._database.connect(application=application)
        for key in self._keys:
            try:
                _lease.take(self._database, connection, *key, self._terms)
            except ProjectionBusyError as busy:
                raise ReplayBusyError(
                    self._key, step="start", reason=f"it is played by {busy.holder}"
                ) from busy
            except StaleRunnerError as stale:
                raise ReplayBusyError(self._key, step="start", reason="its copy is being removed") from stale
        return connection

    async def give_back(self) -> None:
        """Give back those that are ours, and the connection."""
        await kept(asyncio.to_thread(self._give_back))

    def _give_back(self) -> None:
        if self._connection is None:
            return
        with closing(self._connection), contextlib.suppress(Exception):
            if self.are_of_nothing:
                _delete(self._database, self._connection, self._keys, self._terms)
            else:
                _lease.release(self._database, self._connection, self._keys, self._terms)


def _delete(
    database: Database, connection: Connection, keys: Sequence[tuple[str, str]], terms: LeaseTerms
) -> None:
    """Give leases back that nobody takes again, as far as they are ours: their rows are gone then."""
    with transaction(database, connection):
        for name, generation in keys:
            database.execute(
                connection,
                "DELETE FROM penstock_projections WHERE projection = ? AND generation = ? AND token = ?",
                (name, generation, terms.token),
            )


async def _ended(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# -- making and removing ------------------------------------------------------------------------------------------


@contextlib.contextmanager
def alone_at(database: Database, key: str, step: str) -> Iterator[None]:
    """Have nobody else make or remove the copy of a replay until the block ends; *database* has its record.

    Blocking. Others are waited for a while. Raises `ReplayBusyError`.
    """
    terms, lease = LeaseTerms(_LENGTH, work=key), ("", f"{key}{_MAKING}")
    ends = time.monotonic() + _PATIENCE_SECONDS
    with closing(database.connect(application=_lease.application(terms, key))) as connection:
        while True:
            try:
                _lease.take(database, connection, *lease, terms)
                break
            except ProjectionBusyError as busy:
                if time.monotonic() >= ends:
                    raise _is_changed(key, step, busy.holder) from busy
            except StaleRunnerError:
                pass  # the one before has just ended
            time.sleep(_LOOK_SECONDS)
        try:
            yield
        finally:
            with contextlib.suppress(Exception):
                _delete(database, connection, [lease], terms)


def check_free(database: Database, connection: Connection, key: str, step: str) -> None:
    """Raises `ReplayBusyError` if somebody makes or removes the copy, inside the caller's transaction."""
    if _lease.is_alive(database, connection, "", f"{key}{_MAKING}"):
        raise _is_changed(key, step, "another process")


def _is_changed(key: str, step: str, who: str) -> ReplayBusyError:
    return ReplayBusyError(key, step=step, reason=f"its copy is being made or removed by {who}")
