"""Whose checkpoint is whose after a switch: labels, epochs, and what is noted about the content of a generation."""

from collections.abc import Sequence
from typing import Final

from penstock.projections.abc import LIVE
from penstock.replays._postgres.layout import write_layout
from penstock.replays._postgres.switching_plan import Plan
from penstock.store.database import Connection, Database

__all__ = ["exchange_labels", "note_layout"]

_NOTES: Final = (
    "plan, suspect, attempts, retry_at, stands, error, error_class, error_type, error_position, error_event_id, "
    "failed_at"
)
"""What is noted about the content of a generation; who runs it, and what people want of it, is about its name."""

_CONTENT: Final = "kind, source, version, position, sources, behind, former, state, tables, updated_at"
_SWAP: Final = f"""\
UPDATE penstock_checkpoints AS c
   SET ({_CONTENT}) = (SELECT {_CONTENT} FROM penstock_checkpoints AS o
                        WHERE o.projection = c.projection
                          AND o.generation = CASE c.generation WHEN ? THEN ? ELSE ? END),
       epoch = (SELECT max(o.epoch) + 1 FROM penstock_checkpoints AS o
                 WHERE o.projection = c.projection AND o.generation IN (?, ?)),
       schema_name = CASE c.generation WHEN ? THEN NULL ELSE ? END
 WHERE c.projection = ANY (?::text[]) AND c.generation IN (?, ?)
   AND 2 = (SELECT count(*) FROM penstock_checkpoints AS o
             WHERE o.projection = c.projection AND o.generation IN (?, ?))"""
"""The rows stay, since whoever waits for the lock of one looks at it again; their epochs become higher than either was,
so that whoever has run one of them finds that it is another's now, whatever he remembers."""

_FIRST: Final = """\
UPDATE penstock_checkpoints AS c SET generation = ?, epoch = epoch + 1, schema_name = NULL
 WHERE c.projection = ANY (?::text[]) AND c.generation = ?
   AND NOT EXISTS (SELECT FROM penstock_checkpoints AS o WHERE o.projection = c.projection AND o.generation = ?)"""

_MISSING: Final = """\
INSERT INTO penstock_projections (projection, generation)
SELECT projection, unnest(ARRAY[?, ?]::text[]) FROM penstock_projections
 WHERE projection = ANY (?::text[]) AND generation IN (?, ?)
ON CONFLICT (projection, generation) DO NOTHING"""

_SWAP_NOTES: Final = f"""\
UPDATE penstock_projections AS p
   SET ({_NOTES}) = (SELECT {_NOTES} FROM penstock_projections AS o
                      WHERE o.projection = p.projection AND o.generation = CASE p.generation WHEN ? THEN ? ELSE ? END)
 WHERE p.projection = ANY (?::text[]) AND p.generation IN (?, ?)"""


def exchange_labels(
    database: Database, connection: Connection, key: str, schema: str, projections: Sequence[str]
) -> None:
    """Make the copy's checkpoints the live ones and the other way round, inside the transaction that holds them."""
    names = list(projections)
    both = (LIVE, key)
    database.execute(connection, _SWAP, (LIVE, key, LIVE, *both, LIVE, schema, names, *both, *both))
    database.execute(connection, _FIRST, (LIVE, names, key, LIVE))
    between = f"{key}\x01"
    for before, after in ((LIVE, between), (key, LIVE), (between, key)):
        database.execute(
            connection,
            "UPDATE penstock_projection_failures SET generation = ? "
            "WHERE generation = ? AND projection = ANY (?::text[])",
            (after, before, names),
        )
    database.execute(connection, _MISSING, (LIVE, key, names, LIVE, key))
    database.execute(connection, _SWAP_NOTES, (LIVE, key, LIVE, names, LIVE, key))


def note_layout(database: Database, connection: Connection, plan: Plan) -> None:
    """Keep what the copy is made of after the switch."""
    write_layout(database, connection, plan.pairs.schema, plan.layout)
