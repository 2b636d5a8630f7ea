"""What people ask of projections, written where their runners look: it works without loading any code."""

from collections.abc import Sequence
from datetime import timedelta

from penstock.errors import ProjectionBusyError, UnknownProjectionError
from penstock.projections._engine import _checkpoints, _failures, _lease, _log
from penstock.projections._engine._sql import NOW, dumps, lock_of, one, rows, transaction
from penstock.projections.abc import LIVE, Deed
from penstock.store.database import Connection, Database

__all__ = ["discard", "forget", "reload", "request", "retry", "retry_failures", "try_now", "want"]


def _ensure(database: Database, connection: Connection, name: str, generation: str) -> None:
    database.execute(
        connection,
        "INSERT INTO penstock_projections (projection, generation) VALUES (?, ?) ON CONFLICT DO NOTHING",
        (name, generation),
    )


def want(
    database: Database,
    connection: Connection,
    names: Sequence[str],
    wanted: str,
    *,
    generation: str = LIVE,
    deed: Deed | None = None,
) -> None:
    """Have these run (``run``) or stand still (``stop``), whoever runs them, until the opposite is said."""
    with transaction(database, connection):
        for name in sorted(names):
            _ensure(database, connection, name, generation)
            database.execute(
                connection,
                "UPDATE penstock_projections SET wanted = ? WHERE projection = ? AND generation = ?",
                (wanted, name, generation),
            )
        _log.note(database, connection, names, generation, deed)


def request(
    database: Database,
    connection: Connection,
    name: str,
    what: str,
    *,
    read_model: bool = True,
    emitted: bool = False,
    generation: str = LIVE,
    deed: Deed | None = None,
) -> None:
    """Have its runner ``reset`` or ``delete`` it, as soon as it is between two events."""
    with transaction(database, connection):
        _ensure(database, connection, name, generation)
        database.execute(
            connection,
            "UPDATE penstock_projections SET request = ?, options = ? WHERE projection = ? AND generation = ?",
            (what, dumps({"read_model": read_model, "emitted": emitted}), name, generation),
        )
        _log.note(database, connection, [name], generation, deed)


def forget(
    database: Database,
    connection: Connection,
    name: str,
    *,
    generation: str = LIVE,
    deed: Deed | None = None,
) -> None:
    """Remove what is recorded of a projection that nobody declares any more; its read model stays.

    Raises:
        UnknownProjectionError: Nothing is recorded of it.
        ProjectionBusyError: Somebody runs it.
    """
    with transaction(database, connection):
        row = one(
            database,
            connection,
            f"SELECT holder, lease_until - {NOW[database.dialect]} FROM penstock_projections "
            "WHERE projection = ? AND generation = ?",
            (name, generation),
        )
        checkpoint = _checkpoints.read(database, connection, name, generation)
        if row is None and checkpoint is None:
            raise UnknownProjectionError(name)
        if row is not None and _lease.is_alive(database, connection, name, generation):
            raise ProjectionBusyError(name, row[0], remaining=timedelta(microseconds=row[1]))
        _checkpoints.remove(database, connection, name, generation)
        _log.note(database, connection, [name], generation, deed)


def reload(
    database: Database, connection: Connection, names: Sequence[str] | None = None, *, generation: str = LIVE
) -> list[str]:
    """Have these (all, if none are named) drain and begin again; which ones are recorded."""
    with transaction(database, connection):
        found = rows(
            database,
            connection,
            f"UPDATE penstock_projections SET reload_at = {NOW[database.dialect]} WHERE generation = ?"
            f"{_named(names)} RETURNING projection",
            (generation, *(names or ())),
        )
    return sorted(name for [name] in found)


def retry(
    database: Database,
    connection: Connection,
    names: Sequence[str] | None = None,
    *,
    generation: str = LIVE,
    deed: Deed | None = None,
) -> list[str]:
    """Have those of these (of all) that failed or halted go on at once, with all their attempts; which ones these are.

    One that cannot go on for another reason is tried again as well. Its position is where it was.
    """
    with transaction(database, connection):
        found = rows(
            database,
            connection,
            "UPDATE penstock_projections SET stands = 0, attempts = 0, retry_at = 0 "
            f"WHERE generation = ? AND (error IS NOT NULL OR stands = 1){_named(names)} RETURNING projection",
            (generation, *(names or ())),
        )
        _log.note(database, connection, [name for [name] in found], generation, deed)
    return sorted(name for [name] in found)


def try_now(
    database: Database, connection: Connection, names: Sequence[str], *, generation: str = LIVE
) -> None:
    """Have nobody wait before an event in which a process has ended: somebody is there now who tries it."""
    with transaction(database, connection):
        database.execute(
            connection,
            f"UPDATE penstock_projections SET retry_at = 0 WHERE generation = ? AND retry_at > 0{_named(names)}",
            (generation, *names),
        )


def _named(names: Sequence[str] | None) -> str:
    return "" if not names else f" AND projection IN ({', '.join('?' * len(names))})"


def retry_failures(
    database: Database,
    connection: Connection,
    name: str,
    ids: Sequence[str] | None = None,
    *,
    generation: str = LIVE,
    deed: Deed | None = None,
) -> int:
    """Have its runner try these failures (all) again, those of one key in their order; how many that will be.

    With one of a key all that wait behind it are tried as well.
    """
    chosen, parameters = "", [name, generation]
    if ids is not None:
        chosen = (
            " AND (id IN ({0}) OR (state <> 'failed' AND lane IN (SELECT e.lane FROM penstock_projection_failures e "
            "WHERE e.projection = ? AND e.generation = ? AND e.state <> 'failed' AND e.id IN ({0}))))"
        ).format(", ".join("?" * len(ids)) or "NULL")
        parameters += [*ids, name, generation, *ids]
    with transaction(database, connection):
        count = database.execute(
            connection,
            f"UPDATE penstock_projection_failures SET wanted = 1 WHERE projection = ? AND generation = ?{chosen}",
            parameters,
        ).rowcount
        _log.note(database, connection, [name] if count else [], generation, deed, count=count)
    return count


def discard(
    database: Database,
    connection: Connection,
    name: str,
    ids: Sequence[str],
    *,
    generation: str = LIVE,
    deed: Deed | None = None,
) -> int:
    """Remove failures without handling them; how many. What waits behind a parked one goes on waiting for its retry."""
    if not ids:
        return 0
    with transaction(database, connection):
        # With the checkpoint locked no page can put an event behind one that goes at this moment.
        rows(
            database,
            connection,
            "SELECT 1 FROM penstock_checkpoints WHERE projection = ? AND generation = ?" + lock_of(database),
            (name, generation),
        )
        count = _failures.remove(database, connection, (name, generation), ids)
        _log.note(database, connection, [name] if count else [], generation, deed, count=count)
    return count
