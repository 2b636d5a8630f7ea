"""The board: what carriers and airports have seen, in two versions of the code. The second has a column more.

Both tables are written in the same pages, and both get the new column. So whoever reads them together can tell whether
he was shown two generations at once: the sums would not be the same, or one table would have the column and the other
would not.
"""

import os
from typing import Final

from sqlalchemy import Column, Integer, MetaData, String, Table

from penstock import App
from penstock.demo.events import FlightDeparted
from penstock.projections import Rows

__all__ = ["NEW_COLUMN", "PROJECTION", "app", "make_app"]

PROJECTION: Final = "board"
"""Its name, and that of the processes that run it."""
NEW_COLUMN: Final = "on_time"
"""What the second version counts besides."""
_LATE_MINUTES: Final = 15


def make_app(version: int) -> App:
    """The app as the code of that version declares it."""
    made = App("board")
    carriers, airports = _tables(version)
    board = made.projection(PROJECTION, version=version, tables=[carriers, airports])

    @board.on(FlightDeparted)
    def depart(flight: FlightDeparted, rows: Rows) -> None:
        """A departure from its gate, with what it was late; from the second version on also whether it was on time."""
        seen = {"departed": 1, "minutes": flight.delay}
        if version > 1:
            seen[NEW_COLUMN] = int(flight.delay < _LATE_MINUTES)
        rows.increment(carriers, {"code": flight.carrier}, **seen)
        rows.increment(airports, {"code": flight.airport}, **seen)

    return made


def _tables(version: int) -> tuple[Table, Table]:
    """The tables of a version; from the second on with the new column."""
    names = ["departed", "minutes", *([NEW_COLUMN] if version > 1 else [])]
    metadata = MetaData()

    def made(name: str) -> Table:
        counts = [Column(each, Integer, nullable=False, default=0, server_default="0") for each in names]
        return Table(name, metadata, Column("code", String, primary_key=True), *counts)

    return made("carriers"), made("airports")


app = make_app(int(os.environ.get("FLIGHTS_RELEASE", "2")))
"""What a process of the demo runs, in the version that it is told."""
