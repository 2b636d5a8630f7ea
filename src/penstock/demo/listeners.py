"""The app: two consumer groups that fold the flights, each in processes of its own.

`delays` sums up how late each carrier is, `board` keeps the present state of each airport. Both take events in batches,
because a transaction for five hundred events costs little more than one for a single event.
"""

import os
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta

from penstock import App, Message, Retry
from penstock.demo.book import Book
from penstock.demo.events import FlightArrived, FlightCancelled, FlightDeparted

__all__ = ["app", "board", "delays", "moment"]

app = App("flights")
"""What `penstock run` in the demo's folder runs."""

delays = app.group("delays", concurrency=1, min_idle="3s")
"""How late each carrier is. One batch at a time, since SQLite has a single writer; after three seconds without a sign
of life what a worker held is free for others."""

board = app.group("board", concurrency=1, min_idle="3s", retry=Retry(attempts=1))
"""The present state of each airport. A time that cannot be read gets no better by waiting, so its first failure is
final, and waits for a person."""


@app.provide(Book, shared=True)
def open_book(app: App) -> Iterator[Book]:
    """One book a process, in the data folder, closed when the app is."""
    with Book(app.settings.data_folder / "flights.sqlite") as book:
        yield book


# -- delays per carrier ---------------------------------------------------------------------------------------------


@delays.on(FlightDeparted, batch=500)
def count_departures(flights: list[FlightDeparted], messages: list[Message], book: Book) -> None:
    """A carrier's departures and their delay."""
    change = """INSERT INTO carriers (code, departed, departure_delay) VALUES (?, 1, ?)
        ON CONFLICT DO UPDATE SET departed = departed + 1,
        departure_delay = departure_delay + excluded.departure_delay"""
    book.count("delays", messages, change, [(flight.carrier, flight.delay) for flight in flights])


@delays.on(FlightArrived, batch=500)
def count_arrivals(flights: list[FlightArrived], messages: list[Message], book: Book) -> None:
    """A carrier's arrivals and their delay; a diverted flight has none."""
    change = """INSERT INTO carriers (code, arrived, arrival_delay, diverted) VALUES (?, ?, ?, ?)
        ON CONFLICT DO UPDATE SET arrived = arrived + excluded.arrived,
        arrival_delay = arrival_delay + excluded.arrival_delay, diverted = diverted + excluded.diverted"""
    values = [
        (flight.carrier, 0, 0, 1) if flight.delay is None else (flight.carrier, 1, flight.delay, 0)
        for flight in flights
    ]
    book.count("delays", messages, change, values)


@delays.on(FlightCancelled, batch=500)
def count_cancellations(flights: list[FlightCancelled], messages: list[Message], book: Book) -> None:
    """A carrier's cancelled flights."""
    change = """INSERT INTO carriers (code, cancelled) VALUES (?, 1)
        ON CONFLICT DO UPDATE SET cancelled = cancelled + 1"""
    book.count("delays", messages, change, [(flight.carrier,) for flight in flights])


# -- the airports' board --------------------------------------------------------------------------------------------


@board.on(FlightDeparted, batch=100)
def show_departures(flights: list[FlightDeparted], messages: list[Message], book: Book) -> None:
    """The airport that a flight left, and when."""
    change = """INSERT INTO airports (code, departed, latest) VALUES (?, 1, ?)
        ON CONFLICT DO UPDATE SET departed = departed + 1, latest = max(latest, excluded.latest)"""
    book.count("board", messages, change, [(each.airport, moment(each.day, each.time)) for each in flights])


@board.on(FlightArrived, batch=100)
def show_arrivals(flights: list[FlightArrived], messages: list[Message], book: Book) -> None:
    """The airport that a flight came to, and when."""
    change = """INSERT INTO airports (code, arrived, latest) VALUES (?, 1, ?)
        ON CONFLICT DO UPDATE SET arrived = arrived + 1, latest = max(latest, excluded.latest)"""
    book.count("board", messages, change, [(each.airport, moment(each.day, each.time)) for each in flights])


@board.on(FlightCancelled, batch=100)
def show_cancellations(flights: list[FlightCancelled], messages: list[Message], book: Book) -> None:
    """The airport that a flight did not leave."""
    change = """INSERT INTO airports (code, cancelled) VALUES (?, 1)
        ON CONFLICT DO UPDATE SET cancelled = cancelled + 1"""
    book.count("board", messages, change, [(flight.airport,) for flight in flights])


def moment(day: date, clock: int) -> str:
    """When it was: 517 on the second of January is ``2013-01-02 05:17``.

    The first release fails on real data: midnight is 2400 in the table, and no time has an hour of 24. It looks right,
    and is so for all but 179 events of the year. The second release adds hours and minutes to the day.
    """
    hour, minute = divmod(clock, 100)
    if os.environ.get("FLIGHTS_RELEASE") == "1":
        return f"{datetime.combine(day, time(hour, minute)):%Y-%m-%d %H:%M}"
    return f"{datetime.combine(day, time()) + timedelta(hours=hour, minutes=minute):%Y-%m-%d %H:%M}"
