"""What is to come out: the figures straight from the table, without events, to compare the folded ones with."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from penstock.demo.data import Flight

__all__ = ["Airport", "Carrier", "Figures", "compute", "differences"]


@dataclass(slots=True)
class Carrier:
    """How a carrier's flights fared. Delays are sums of minutes; `diverted` ones arrived, but not where they should."""

    departed: int = 0
    departure_delay: int = 0
    arrived: int = 0
    arrival_delay: int = 0
    diverted: int = 0
    cancelled: int = 0


@dataclass(slots=True)
class Airport:
    """What an airport has seen. `latest` is the local time of its last movement: ``2013-01-31 23:55``."""

    departed: int = 0
    arrived: int = 0
    cancelled: int = 0
    latest: str = ""


@dataclass(slots=True)
class Figures:
    """Both tables, by carrier code and by airport code."""

    carriers: dict[str, Carrier] = field(default_factory=dict[str, Carrier])
    airports: dict[str, Airport] = field(default_factory=dict[str, Airport])


def compute(flights: Iterable[Flight]) -> Figures:
    """The figures of these flights, in one pass."""
    figures = Figures()
    for flight in flights:
        carrier = figures.carriers.setdefault(flight.carrier, Carrier())
        origin = figures.airports.setdefault(flight.origin, Airport())
        if flight.departed is None or flight.departure_delay is None:
            carrier.cancelled += 1
            origin.cancelled += 1
            continue
        carrier.departed += 1
        carrier.departure_delay += flight.departure_delay
        origin.departed += 1
        origin.latest = max(origin.latest, _moment(flight, flight.departed))
        if flight.arrived is None:
            continue
        destination = figures.airports.setdefault(flight.destination, Airport())
        destination.arrived += 1
        destination.latest = max(destination.latest, _moment(flight, flight.arrived))
        if flight.arrival_delay is None:
            carrier.diverted += 1
        else:
            carrier.arrived += 1
            carrier.arrival_delay += flight.arrival_delay
    return figures


def differences(folded: Figures, computed: Figures) -> list[str]:
    """One line for each carrier and airport whose figures are not the same; none when all are equal."""
    return [
        *_different("carrier", folded.carriers, computed.carriers),
        *_different("airport", folded.airports, computed.airports),
    ]


def _different(what: str, folded: Mapping[str, object], computed: Mapping[str, object]) -> Iterator[str]:
    for code in sorted(folded.keys() | computed.keys()):
        if folded.get(code) != computed.get(code):
            yield f"{what} {code}: folded {folded.get(code)}, computed {computed.get(code)}"


def _moment(flight: Flight, clock: int) -> str:
    if clock < 2400:
        return f"{flight.day} {clock // 100:02}:{clock % 100:02}"
    return f"{flight.day + timedelta(days=1)} 00:00"
