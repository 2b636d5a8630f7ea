"""What appending needs of a caller's connection, whatever library it is of."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias, TypeVar

from penstock.store.abc import Statement
from penstock.store.database import Dialect

__all__ = ["Aside", "AsyncCaller", "Caller", "Rows", "Steps", "drive", "drive_async"]

T = TypeVar("T")

Rows: TypeAlias = Sequence[Sequence[Any]]
"""What a statement answers; empty for one that answers nothing."""

Aside: TypeAlias = Callable[[], None]
"""Something that waits for something else than the caller's connection."""

Steps: TypeAlias = Generator[Statement | Aside, Rows, T]
"""Work without its I/O: yields statements for the caller's connection and is sent the rows of each, or an `Aside`."""


class _AnyCaller(ABC):
    dialect: Dialect
    place: object = None
    """What stands for the caller's database and can be remembered weakly; ``None`` where nothing can."""

    @abstractmethod
    def check(self) -> None:
        """Raises `UsageError` where what is run would be committed at once."""

    def has_begun(self) -> bool:
        """Whether the transaction may have begun in the database, too; some libraries wait for the first change."""
        return True

    def after_commit(self, ring: Callable[[], None]) -> None:  # noqa: B027  most drivers tell nobody of a commit
        """Call *ring* once the caller has committed, where the library tells; never after a rollback."""


class Caller(_AnyCaller):
    """A connection that works at once."""

    @abstractmethod
    def run(self, sql: str, parameters: tuple[object, ...]) -> Rows:
        """The rows of one statement with ``?`` for its parameters. Raises what the driver raises."""


class AsyncCaller(_AnyCaller):
    """A connection that is awaited."""

    @abstractmethod
    async def run(self, sql: str, parameters: tuple[object, ...]) -> Rows:
        """The rows of one statement with ``?`` for its parameters. Raises what the driver raises."""


def drive(steps: Steps[T], caller: Caller) -> T:
    """Do what *steps* ask for. What the driver raises is thrown into them, and from there to whoever called."""
    try:
        step = next(steps)
        while True:
            try:
                rows = _aside(step) if callable(step) else caller.run(*step)
            except Exception as failure:  # noqa: BLE001  the steps know what it means
                step = steps.throw(failure)
            else:
                step = steps.send(rows)
    except StopIteration as done:
        outcome: T = done.value
        return outcome
    finally:
        steps.close()


async def drive_async(steps: Steps[T], caller: AsyncCaller) -> T:
    """As `drive`; asides wait in a thread."""
    try:
        step = next(steps)
        while True:
            try:
                rows = await asyncio.to_thread(_aside, step) if callable(step) else await caller.run(*step)
            except Exception as failure:  # noqa: BLE001  the steps know what it means
                step = steps.throw(failure)
            else:
                step = steps.send(rows)
    except StopIteration as done:
        outcome: T = done.value
        return outcome
    finally:
        steps.close()


def _aside(step: Aside) -> Rows:
    step()
    return ()
