"""What the shop's read models have to be at a position: every event up to there exactly once."""

from contextlib import closing

from penstock import App
from penstock.projections._engine import _checkpoints
from penstock.replays.copies import copy_of
from penstock.store.database import Database
from tests.replays.core.shop import paid, totals

__all__ = ["check_copy", "check_exact", "expected"]


def expected(position: int) -> dict[str, tuple[int, int]]:
    """The totals of so many events."""
    found: dict[str, tuple[int, int]] = {}
    for event in paid(position):
        cents, payments = found.get(event.customer, (0, 0))
        found[event.customer] = cents + event.cents, payments + 1
    return found


def check_exact(database: Database, generation: str) -> None:
    """The rows of both read models are what the checkpoints of a generation say."""
    with closing(database.connect()) as connection:
        database.begin(connection, write=False)
        places = {
            name: _checkpoints.read(database, connection, name, generation) for name in ("totals", "counts")
        }
        connection.rollback()
    for name, place in places.items():
        if place is not None:
            rows = expected(place.position)
            found = totals(database, name)
            assert found == (rows if name == "totals" else {key: row[1:] for key, row in rows.items()})


def check_copy(app: App, key: str) -> None:
    """The same for the copy of a replay, as far as it was made."""
    projections = [app.projections["counts"], app.projections["totals"]]
    copy = copy_of(key, projections, live=app.store().database)
    if copy.exists():
        check_exact(copy.database, key)
