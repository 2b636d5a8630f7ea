"""The reader: it asks for both tables again and again, as an application would, and writes down all that it sees."""

import asyncio
import json
import time
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TextIO

from penstock.demo.replaying.board import NEW_COLUMN, app

__all__ = ["LOG", "Read", "Reads", "read_on", "summed"]

LOG: Final = "reads.jsonl"
"""What the reader has seen, a line for each time."""
_PAUSE_SECONDS: Final = 0.004

_HAS_COLUMN: Final = {
    "sqlite": f"(SELECT count(*) FROM pragma_table_info('{{table}}') WHERE name = '{NEW_COLUMN}')",
    "postgresql": "(SELECT count(*) FROM pg_attribute WHERE attrelid = to_regclass('{table}') "
    f"AND attname = '{NEW_COLUMN}' AND NOT attisdropped)",
}
_QUERY: Final = (
    "SELECT coalesce((SELECT sum(departed) FROM carriers), 0), coalesce((SELECT sum(departed) FROM airports), 0), "
    "{carriers}, {airports}"
)
"""One statement over both tables, with their columns named."""


@dataclass(frozen=True, slots=True)
class Read:
    """One line of the log."""

    seconds: float
    """When, since the reader began."""
    carriers: int = 0
    """All departures by carrier, ..."""
    airports: int = 0
    """... and by airport, which is the same number."""
    carriers_new: bool = False
    """Whether the table has the new column."""
    airports_new: bool = False
    error: str = ""

    @property
    def is_torn(self) -> bool:
        """Whether the two tables were not of one generation, or not of one moment."""
        return (self.carriers, self.carriers_new) != (self.airports, self.airports_new)


@dataclass(frozen=True, slots=True)
class Reads:
    """What the whole log says."""

    count: int
    errors: tuple[str, ...]
    torn: tuple[Read, ...]
    backwards: tuple[Read, ...]
    """Those that saw fewer departures than one before."""
    switches: int
    """How often the new column came or went."""
    longest_pause: float
    """Seconds between two reads, at most."""

    @property
    def is_clean(self) -> bool:
        """Whether no reader would have noticed anything but a column."""
        return not (self.errors or self.torn or self.backwards)


def summed(reads: Iterable[Read]) -> Reads:
    """What these reads say together."""
    errors, torn, backwards = list[str](), list[Read](), list[Read]()
    count = switches = most = 0
    pause, before = 0.0, None
    for each in reads:
        count += 1
        if each.error:
            errors.append(each.error)
            continue
        if each.is_torn:
            torn.append(each)
        if each.carriers < most:
            backwards.append(each)
        most = max(most, each.carriers)
        if before is not None:
            switches += each.carriers_new != before.carriers_new
            pause = max(pause, each.seconds - before.seconds)
        before = each
    return Reads(count, tuple(errors), tuple(torn), tuple(backwards), switches, pause)


def read_log(path: Path) -> list[Read]:
    """The lines that a reader wrote."""
    return [Read(*json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


async def read_on(stop: asyncio.Event) -> None:
    """Read until *stop*, over one connection; the log is in the present folder."""
    database, began = app.store().database, time.monotonic()
    query = _QUERY.format(
        **{table: _HAS_COLUMN[database.dialect].format(table=table) for table in ("carriers", "airports")}
    )
    with _log() as log:
        while not stop.is_set():
            try:
                with closing(database.connect(application="reader")) as connection:
                    await _read_until_it_fails(stop, database, connection, query, began, log)
            except Exception as failure:  # noqa: BLE001  whatever a reader meets is what the log is for
                _write(log, Read(time.monotonic() - began, error=f"{type(failure).__name__}: {failure}"))
                await asyncio.sleep(_PAUSE_SECONDS)


def _log() -> TextIO:
    return Path(LOG).open("a", encoding="utf-8", buffering=1)


class _Database(Protocol):
    def begin(self, connection: Any, *, write: bool = True) -> None: ...

    def execute(self, connection: Any, sql: str) -> Any: ...


async def _read_until_it_fails(
    stop: asyncio.Event, database: _Database, connection: Any, query: str, began: float, log: TextIO
) -> None:
    while not stop.is_set():
        database.begin(connection, write=False)
        carriers, airports, carriers_new, airports_new = database.execute(connection, query).fetchone()
        connection.rollback()
        seconds = time.monotonic() - began
        _write(log, Read(seconds, int(carriers), int(airports), bool(carriers_new), bool(airports_new)))
        await asyncio.sleep(_PAUSE_SECONDS)


def _write(log: TextIO, read: Read) -> None:
    line = (read.seconds, read.carriers, read.airports, read.carriers_new, read.airports_new, read.error)
    log.write(json.dumps(line) + "\n")
