"""Back to the beginning, or away for good: one transaction over read model, checkpoint, failures and notes."""

import contextlib

from penstock.errors import StaleRunnerError
from penstock.projections._engine import _checkpoints, _failures, _lease, _log, _notes
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._run import Supervised
from penstock.projections._engine._sql import one, transaction
from penstock.projections.abc import Deed
from penstock.store.database import Connection, Database

__all__ = ["reset"]


def reset(
    supervised: Supervised,
    database: Database,
    terms: LeaseTerms,
    *,
    delete: bool = False,
    read_model: bool = True,
    emitted: bool = False,
    asked: str | None = None,
    deed: Deed | None = None,
) -> None:
    """Empty the read model and put the checkpoint to 0, under the version that is declared now.

    Args:
        supervised: The projection, with the handlers that know its read model.
        database: Where the read model is.
        terms: Who does it.
        delete: Remove everything that is recorded of it, and the read model with it. It stays stopped until somebody
            starts it.
        read_model: When deleting, whether the read model goes too.
        emitted: Whether its derived streams go with the read model.
        asked: The request that this answers; nothing is done if another process has answered it meanwhile.
        deed: What is noted of it, where it is no answer to a request, which was noted itself.

    Raises:
        ProjectionBusyError: Another process runs it.
        Exception: What the read model's own functions raise; nothing was changed.
    """
    connection = database.connect(application=_lease.application(terms, supervised.plan.name))
    try:
        _lease.take(database, connection, *supervised.key, terms)
        try:
            if asked is None or _is_asked(database, connection, supervised, asked):
                _reset(supervised, database, connection, delete, read_model, emitted, deed)
        finally:
            with contextlib.suppress(Exception):
                _lease.release(database, connection, [supervised.key], terms)
    finally:
        connection.close()


def _is_asked(database: Database, connection: Connection, supervised: Supervised, asked: str) -> bool:
    row = one(
        database,
        connection,
        "SELECT request FROM penstock_projections WHERE projection = ? AND generation = ?",
        supervised.key,
    )
    return row is not None and row[0] == asked


def _reset(
    supervised: Supervised,
    database: Database,
    connection: Connection,
    delete: bool,
    read_model: bool,
    emitted: bool,
    deed: Deed | None,
) -> None:
    key = supervised.key
    with transaction(database, connection):
        _log.note(database, connection, [key[0]], key[1], deed)
        before = _checkpoints.read(database, connection, *key)
        if before is not None:
            _checkpoints.hold(database, connection, before)
        if read_model or not delete:
            supervised.handlers.reset(connection, delete=delete, emitted=emitted)
        if delete:
            _checkpoints.remove(database, connection, *key)
            # It is declared: without this, whoever looks next would begin it anew.
            database.execute(
                connection,
                "INSERT INTO penstock_projections (projection, generation, wanted) VALUES (?, ?, 'stop')",
                key,
            )
            return
        database.execute(
            connection,
            "UPDATE penstock_projections SET request = '', options = '{}' WHERE projection = ? AND generation = ?",
            key,
        )
        _failures.remove(database, connection, key)
        _notes.clear(database, connection, key)
        if before is not None and _checkpoints.rewind(database, connection, supervised.plan, key[1]) is None:
            raise StaleRunnerError(supervised.plan.name)
