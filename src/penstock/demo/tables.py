"""The tables of the demo: what failed, and what was folded."""

from collections.abc import Mapping, Sequence
from typing import cast

from penstock.demo.data import airlines
from penstock.demo.figures import Figures
from penstock.demo.screen import Screen
from penstock.operations import FailedDetail

__all__ = ["show_failed", "show_figures"]

_BUSIEST = 8


def show_failed(screen: Screen, failed: Sequence[FailedDetail]) -> None:
    """One row for each failed message: where it stands, which flight it is about, what went wrong where."""
    rows: list[tuple[object, ...]] = []
    for each in failed:
        about: Mapping[str, object] = {}
        if each.message is not None:
            about = cast("Mapping[str, object]", each.message.payload)
        error = f"{each.failed.error_type}: {each.failed.error}"
        # As text: a time of day has no thousands.
        rows.append(
            (each.failed.entry_id, about.get("flight"), str(about.get("time")), each.failed.listener, error)
        )
    screen.table(("entry ", "flight ", "time", "listener ", "error "), rows)


def show_figures(screen: Screen, figures: Figures) -> None:
    """Every carrier, by its number of flights, and the busiest airports."""
    names = airlines()
    screen.table(
        ("carrier ", "departed", "minutes late", "arrived", "minutes late", "diverted", "cancelled"),
        [
            (
                names.get(code, code),
                carrier.departed,
                _mean(carrier.departure_delay, carrier.departed),
                carrier.arrived,
                _mean(carrier.arrival_delay, carrier.arrived),
                carrier.diverted,
                carrier.cancelled,
            )
            for code, carrier in sorted(figures.carriers.items(), key=lambda item: -item[1].departed)
        ],
    )
    airports = sorted(figures.airports.items(), key=lambda item: -item[1].departed - item[1].arrived)
    screen.table(
        ("airport ", "departed", "arrived", "cancelled", "last movement"),
        [
            (code, airport.departed, airport.arrived, airport.cancelled, airport.latest)
            for code, airport in airports[:_BUSIEST]
        ],
    )


def _mean(total: int, count: int) -> str:
    return f"{total / count:.1f}" if count else ""
