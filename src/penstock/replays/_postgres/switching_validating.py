"""After a switch: foreign keys of other tables were made for rows to come; now those that are there are looked at.

Which ones are to be looked at is in the note of the copy, so that a process that is killed here leaves it to the next.
"""

from dataclasses import replace
from typing import Final

from penstock.projections._engine._sql import one, transaction
from penstock.replays._postgres.layout import read_layout, write_layout
from penstock.replays._postgres.names import quoted, written
from penstock.store.database import Connection, Database
from penstock.telemetry import LOGGER

__all__ = ["validate_keys"]

_THERE: Final = """\
SELECT NOT k.convalidated FROM pg_catalog.pg_constraint AS k
 WHERE k.conrelid = pg_catalog.to_regclass(?::text) AND k.conname = ?"""


def validate_keys(database: Database, connection: Connection, schema: str, key: str) -> None:
    """Look at the rows of foreign keys that a switch has made again, beside readers and writers. Repeatable.

    A key that its rows do not keep stays as it is, for rows to come; that is logged, and preflight names it.
    """
    layout = read_layout(database, connection, schema, key)
    if layout is None or not layout.unvalidated:
        return
    left = [each for each in layout.unvalidated if not _validated(database, connection, each)]
    with transaction(database, connection):
        current = read_layout(database, connection, schema, key)
        if current == layout:
            write_layout(database, connection, schema, replace(layout, unvalidated=tuple(left)))


def _validated(database: Database, connection: Connection, place: tuple[str, str, str]) -> bool:
    schema, table, name = place
    shown = written(schema, table)
    row = one(database, connection, _THERE, (shown, name))
    if row is None or not row[0]:
        return True
    try:
        database.execute(connection, f"ALTER TABLE {shown} VALIDATE CONSTRAINT {quoted(name)}")
    except Exception as failure:  # noqa: BLE001  the switch is done; what is left is said, and can be repeated
        said = " ".join(str(failure).split())
        LOGGER.warning("foreign key %s of %s.%s is kept for new rows only: %s", name, schema, table, said)
        return False
    return True
