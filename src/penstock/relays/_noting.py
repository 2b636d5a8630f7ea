"""What the relays ask of the engine's tables."""

from penstock.projections._engine import _checkpoints
from penstock.projections.abc import LIVE, Checkpoint
from penstock.store.database import Connection, Database

__all__ = ["has_failure", "lowest_failure", "read_through", "reading"]


def lowest_failure(database: Database, connection: Connection, relay: str, generation: str) -> int | None:
    """The position of the first event that failed or is parked, and may be tried again; ``None`` without any."""
    [position] = database.execute(
        connection,
        "SELECT min(position) FROM penstock_projection_failures WHERE projection = ? AND generation = ?",
        (relay, generation),
    ).fetchone()
    return None if position is None else int(position)


def has_failure(
    database: Database, connection: Connection, relay: str, generation: str, event_id: str
) -> bool:
    """Whether an event is among the failures."""
    return (
        database.execute(
            connection,
            "SELECT 1 FROM penstock_projection_failures WHERE projection = ? AND generation = ? AND event_id = ?",
            (relay, generation, event_id),
        ).fetchone()
        is not None
    )


def reading(database: Database, connection: Connection, name: str) -> tuple[Checkpoint | None, int]:
    """The checkpoint of a reader, and the position up to which it needs no event any more.

    It needs what it has not read, of sources that were added later too, and what failed, for another try.
    """
    # The checkpoint first: who puts an event aside moves the checkpoint past it in the same transaction.
    checkpoint = _checkpoints.read(database, connection, name, LIVE)
    if checkpoint is None:
        return None, 0
    held = lowest_failure(database, connection, name, LIVE)
    failures = [] if held is None else [held - 1]
    return checkpoint, min([checkpoint.position, *checkpoint.behind.values(), *failures])


def read_through(database: Database, connection: Connection, name: str) -> int:
    """The position up to which a reader needs no event any more; 0 if it has not begun."""
    return reading(database, connection, name)[1]
