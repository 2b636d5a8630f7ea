"""The events: what an airport would tell about a flight."""

from collections.abc import Iterator
from datetime import date

from penstock import Event
from penstock.demo.data import Flight

__all__ = ["FlightArrived", "FlightCancelled", "FlightDeparted", "FlightEvent", "events_of"]


class FlightEvent(Event):
    """What all three say. Without a name of its own it is a base, and cannot be emitted."""

    flight: str
    day: date
    """The day it was scheduled for."""
    carrier: str
    airport: str
    """Where it happened."""


class FlightDeparted(FlightEvent, name="flight.departed", key="flight", stream="flights"):
    """A flight left its gate."""

    time: int
    """Local time of day in the table's notation: 517 is 5:17."""
    delay: int
    """Minutes; below zero is early."""


class FlightArrived(FlightEvent, name="flight.arrived", key="flight", stream="flights"):
    """A flight came in."""

    time: int
    delay: int | None
    """``None`` for one that was diverted: the table knows when it landed, and not how late that was."""


class FlightCancelled(FlightEvent, name="flight.cancelled", key="flight", stream="flights"):
    """A flight did not leave."""

    scheduled: int


def events_of(flight: Flight) -> Iterator[FlightEvent]:
    """What there is to tell about one row: a cancellation, or a departure and mostly an arrival."""
    if flight.departed is None or flight.departure_delay is None:
        yield FlightCancelled(
            flight=flight.key,
            day=flight.day,
            carrier=flight.carrier,
            airport=flight.origin,
            scheduled=flight.scheduled,
        )
        return
    yield FlightDeparted(
        flight=flight.key,
        day=flight.day,
        carrier=flight.carrier,
        airport=flight.origin,
        time=flight.departed,
        delay=flight.departure_delay,
    )
    if flight.arrived is not None:
        yield FlightArrived(
            flight=flight.key,
            day=flight.day,
            carrier=flight.carrier,
            airport=flight.destination,
            time=flight.arrived,
            delay=flight.arrival_delay,
        )
