"""The figures count every event once, however often it is delivered."""

from datetime import date
from pathlib import Path

import pytest

from penstock import Message
from penstock.demo.book import Book
from penstock.demo.events import FlightCancelled
from penstock.demo.figures import Airport
from penstock.demo.listeners import show_cancellations
from penstock.message import Meta, new_event_ids


def cancellations(count: int) -> tuple[list[FlightCancelled], list[Message]]:
    """So many cancelled flights, as a batch listener gets them."""
    flights = [
        FlightCancelled(
            flight=f"2013-01-01 UA{number} EWR",
            day=date(2013, 1, 1),
            carrier="UA",
            airport="EWR",
            scheduled=600,
        )
        for number in range(count)
    ]
    messages = [
        Message(
            id=event_id,
            name="flight.cancelled",
            stream="flights",
            raw_entry_id=b"1-1",
            meta=Meta(time=0),
            data=None,
        )
        for event_id in new_event_ids(count, 1_700_000_000_000_000)
    ]
    return flights, messages


def test_an_event_that_comes_again_counts_once(tmp_path: Path) -> None:
    """A batch that overlaps one counted before, by another process even, adds only what is new."""
    flights, messages = cancellations(5)
    with Book(tmp_path / "book") as one, Book(tmp_path / "book") as other:
        show_cancellations(flights[:3], messages[:3], one)
        show_cancellations(flights[1:], messages[1:], other)
        assert one.figures().airports == {"EWR": Airport(cancelled=5)}
        assert (one.counted("board"), one.repeats("board")) == (5, 2)


def test_a_batch_that_fails_has_counted_nothing(tmp_path: Path) -> None:
    """The ids and what they change are one transaction: the batch can be run again as if it had never been."""
    flights, messages = cancellations(3)
    change = "INSERT INTO airports (code, cancelled) VALUES (?, 1) ON CONFLICT DO UPDATE SET cancelled = cancelled + 1"
    with Book(tmp_path / "book") as book:
        with pytest.raises(ValueError, match="shorter"):
            book.count("board", messages, change, [("EWR",), ("EWR",)])
        assert (book.counted("board"), book.figures().airports) == (0, {})
        show_cancellations(flights, messages, book)
        assert book.figures().airports == {"EWR": Airport(cancelled=3)}
