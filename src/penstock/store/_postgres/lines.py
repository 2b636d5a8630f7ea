"""The connections of a store in one event loop: one that appends, and a few that read."""

import asyncio
from typing import Final

import psycopg

from penstock.store._postgres.database import PostgresDatabase
from penstock.store._postgres.errors import speaking_of
from penstock.store._postgres.line import Line, Parameter, Row

__all__ = ["Lines", "is_lost"]

_READERS: Final = 4


def is_lost(failure: psycopg.Error) -> bool:
    """Whether the connection went, so that another one may do better."""
    return isinstance(failure, psycopg.OperationalError) and failure.sqlstate in {
        None,
        "57P01",
        "57P02",
        "57P03",
    }


class Lines:
    """Up to *most* connections, made when they are needed."""

    def __init__(self, database: PostgresDatabase, *, most: int = _READERS) -> None:
        self._database = database
        self._most = most
        self._lines: list[Line] = []
        self._making = asyncio.Lock()

    async def query(self, sql: str, *parameters: Parameter) -> list[Row]:
        """Run a statement on any of them, and on another one where the connection had gone.

        Only for statements that may run twice. Raises `StoreUnavailableError`, `StoreRefusedError`,
        `MissingMigrationError`.
        """
        with speaking_of(self._database.shown, store=self._database.name):
            for _ in range(self._most):
                try:
                    return await (await self._line()).query(sql, *parameters)
                except psycopg.OperationalError as failure:
                    if not is_lost(failure):
                        raise
            return await (await self._line()).query(sql, *parameters)

    async def _line(self) -> Line:
        if (line := self._idle()) is not None:
            return line
        async with self._making:
            if (line := self._idle()) is not None:
                return line
            if len(self._lines) >= self._most:
                line = self._lines.pop(0)
            else:
                line = await Line.connect(self._database)
            self._lines.append(line)
            return line

    def _idle(self) -> Line | None:
        if self._lines and not (first := self._lines[0]).is_busy and not first.is_closed:
            return first
        self._lines = [line for line in self._lines if not line.is_closed]
        return next((line for line in self._lines if not line.is_busy), None)

    def abandon(self) -> None:
        """Disconnect where the loop is closed already."""
        lines, self._lines = self._lines, []
        self._making = asyncio.Lock()
        for line in lines:
            line.abandon()

    async def close(self) -> None:
        """Disconnect."""
        lines, self._lines = self._lines, []
        for line in lines:
            await line.close()
