"""The ledger: flights kept for good beside the business data, projected into read models, and told to others.

`penstock run` works it in a process of its own: two projections count, one relay announces the flights on a stream, and
another shares them with a second store, as if that were another service's. The process is killed in the middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from penstock import App
from penstock.demo.data import Flight
from penstock.demo.events import FlightArrived, FlightCancelled, FlightDeparted, FlightEvent, events_of
from penstock.demo.figures import Carrier
from penstock.projections import Rows

__all__ = ["ANNOUNCED", "Counted", "Ledger", "app"]

ANNOUNCED = "announced"
"""The stream on which the relay tells of flights."""

_TABLES = (
    "CREATE TABLE IF NOT EXISTS flights (flight TEXT PRIMARY KEY, carrier TEXT NOT NULL, origin TEXT NOT NULL)",
    """CREATE TABLE IF NOT EXISTS carriers (code TEXT PRIMARY KEY,
        departed INTEGER NOT NULL DEFAULT 0, departure_delay INTEGER NOT NULL DEFAULT 0,
        arrived INTEGER NOT NULL DEFAULT 0, arrival_delay INTEGER NOT NULL DEFAULT 0,
        diverted INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE IF NOT EXISTS airports (code TEXT PRIMARY KEY, departed INTEGER NOT NULL DEFAULT 0,
        arrived INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0)""",
)

app = App("ledger")
"""What `penstock run --app penstock.demo.ledger:app` runs in the demo's folder."""

carriers = app.projection("carriers")
airports = app.projection("airports")
app.relay("announce", events=[FlightDeparted, FlightArrived, FlightCancelled], to=ANNOUNCED)
app.relay("share", source="local", target="shared")


@carriers.on(FlightDeparted)
def count_departure(flight: FlightDeparted, rows: Rows) -> None:
    """A carrier's departures and their delay."""
    rows.increment("carriers", {"code": flight.carrier}, departed=1, departure_delay=flight.delay)


@carriers.on(FlightArrived)
def count_arrival(flight: FlightArrived, rows: Rows) -> None:
    """A carrier's arrivals and their delay; a diverted flight has none."""
    if flight.delay is None:
        rows.increment("carriers", {"code": flight.carrier}, diverted=1)
    else:
        rows.increment("carriers", {"code": flight.carrier}, arrived=1, arrival_delay=flight.delay)


@carriers.on(FlightCancelled)
def count_cancellation(flight: FlightCancelled, rows: Rows) -> None:
    """A carrier's cancelled flights."""
    rows.increment("carriers", {"code": flight.carrier}, cancelled=1)


@airports.on(FlightDeparted)
def leave(flight: FlightDeparted, rows: Rows) -> None:
    """The airport that a flight left."""
    rows.increment("airports", {"code": flight.airport}, departed=1)


@airports.on(FlightArrived)
def land(flight: FlightArrived, rows: Rows) -> None:
    """The airport that a flight came to."""
    rows.increment("airports", {"code": flight.airport}, arrived=1)


@airports.on(FlightCancelled)
def stay(flight: FlightCancelled, rows: Rows) -> None:
    """The airport that a flight did not leave."""
    rows.increment("airports", {"code": flight.airport}, cancelled=1)


@dataclass(frozen=True, slots=True)
class Counted:
    """What the read models say."""

    carriers: dict[str, Carrier]
    airports: dict[str, tuple[int, int, int]]
    """Departed, arrived, cancelled."""


class Ledger:
    """The business side: flights go into a table of its own, and their events into the store, in one transaction."""

    def __init__(self) -> None:
        self._store = app.store()
        self._database = self._store.database

    def prepare(self) -> None:
        """Make the business table and the read models'."""
        connection = self._database.connect(application="ledger")
        try:
            self._database.begin(connection)
            for table in _TABLES:
                self._database.execute(connection, table)
            connection.commit()
        finally:
            connection.close()

    def book(self, flights: Sequence[Flight], *, give_up: bool = False) -> list[FlightEvent]:
        """Write flights and their events in one transaction; with *give_up* it is rolled back at the end."""
        events = [event for flight in flights for event in events_of(flight)]
        connection: Any = self._database.connect(application="ledger")
        try:
            self._database.begin(connection)
            for flight in flights:
                self._database.execute(
                    connection,
                    "INSERT INTO flights VALUES (?, ?, ?)",
                    (flight.key, flight.carrier, flight.origin),
                )
            self._store.append(events, within=connection)
            if give_up:
                connection.rollback()
            else:
                connection.commit()
        finally:
            connection.close()
        return events

    def counted(self) -> Counted:
        """What the projections have counted."""
        connection = self._database.connect(application="ledger")
        try:
            self._database.begin(connection, write=False)
            rows = self._database.execute(
                connection,
                "SELECT code, departed, departure_delay, arrived, arrival_delay, diverted, cancelled FROM carriers",
            ).fetchall()
            places = self._database.execute(
                connection, "SELECT code, departed, arrived, cancelled FROM airports"
            ).fetchall()
            connection.rollback()
        finally:
            connection.close()
        return Counted(
            {code: Carrier(*numbers) for code, *numbers in rows},
            {code: (departed, arrived, cancelled) for code, departed, arrived, cancelled in places},
        )
