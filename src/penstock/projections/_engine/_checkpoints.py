"""Checkpoints: the row that says how far a read model has come, and is the fence of those who move it.

Every page locks the row first and moves it last, in the transaction of its effects. Whoever finds another position or
epoch than the one it left knows that it is stale, and nothing of its transaction is kept.
"""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import msgspec

from penstock.errors import ProjectionChangedError, RenamedProjectionError, StaleRunnerError
from penstock.projections._engine._sources import declared_sources, reconciled
from penstock.projections._engine._sql import NOW, dumps, lock_of, one, rows
from penstock.projections.abc import Checkpoint, ProjectionPlan
from penstock.store.database import Connection, Database

__all__ = ["ensure", "hold", "move", "read", "remove", "rewind"]

_FIELDS = "projection, generation, version, position, epoch, sources, behind, former, state"


def read(database: Database, connection: Connection, name: str, generation: str) -> Checkpoint | None:
    """A checkpoint, or ``None`` where there is none."""
    row = one(
        database,
        connection,
        f"SELECT {_FIELDS} FROM penstock_checkpoints WHERE projection = ? AND generation = ?",
        (name, generation),
    )
    return None if row is None else _checkpoint(row)


def _checkpoint(row: Any) -> Checkpoint:
    name, generation, version, position, epoch, sources, behind, former, state = row
    return Checkpoint(
        name=name,
        generation=generation,
        version=version,
        position=position,
        epoch=epoch,
        sources=msgspec.json.decode(sources, type=tuple[str, ...]),
        behind=msgspec.json.decode(behind, type=dict[str, int]),
        former=msgspec.json.decode(former, type=dict[str, int]),
        state=None if state is None else bytes(state),
    )


def ensure(
    database: Database,
    connection: Connection,
    plan: ProjectionPlan,
    generation: str,
    *,
    declared: Collection[str] = (),
) -> Checkpoint:
    """The checkpoint of a declared projection, made where it is missing, with the sources as declared; locked.

    Inside a transaction. *declared* are the names that are known to be no former ones. Raises
    `ProjectionChangedError`, `RenamedProjectionError`, `StaleRunnerError`.
    """
    sources = declared_sources(plan.wanted)
    row = one(
        database,
        connection,
        f"SELECT kind, source, {_FIELDS} FROM penstock_checkpoints "
        f"WHERE projection = ? AND generation = ?{lock_of(database)}",
        (plan.name, generation),
    )
    if row is None:
        _check_not_renamed(database, connection, plan, generation, declared)
        made = database.execute(
            connection,
            "INSERT INTO penstock_checkpoints "
            "(projection, generation, kind, source, version, sources, tables, updated_at) "
            f"VALUES (?, ?, ?, ?, ?, ?, ?, {NOW[database.dialect]}) ON CONFLICT DO NOTHING",
            (
                plan.name,
                generation,
                plan.kind,
                plan.source,
                plan.version,
                dumps(sources),
                dumps(sorted(plan.tables)),
            ),
        )
        if made.rowcount != 1:
            # Another has made it since the look: it has taken over.
            raise StaleRunnerError(plan.name)
        return Checkpoint(plan.name, generation, plan.version, sources=sources)
    kind, source, *fields = row
    found = _checkpoint(fields)
    for fact, recorded, wanted in (
        ("kind", kind, plan.kind),
        ("source", source, plan.source),
        ("version", str(found.version), str(plan.version)),
    ):
        if recorded != wanted:
            raise ProjectionChangedError(plan.name, fact=fact, recorded=recorded, declared=wanted)
    current = reconciled(found, sources)
    return found if current == found else move(database, connection, found, current)


def _check_not_renamed(
    database: Database,
    connection: Connection,
    plan: ProjectionPlan,
    generation: str,
    declared: Collection[str],
) -> None:
    """A second name over the same tables, fed from the same sources, would count everything once more."""
    if not plan.tables:
        return
    former = rows(
        database,
        connection,
        "SELECT c.projection, c.tables, c.position FROM penstock_checkpoints c "
        "LEFT JOIN penstock_projections p ON p.projection = c.projection AND p.generation = c.generation "
        f"AND p.lease_until > {NOW[database.dialect]} "
        "WHERE c.projection <> ? AND c.generation = ? AND c.source = ? AND c.sources = ? AND c.position > 0 "
        "AND p.token IS NULL ORDER BY c.projection",
        (plan.name, generation, plan.source, dumps(declared_sources(plan.wanted))),
    )
    for name, recorded, position in former:
        common = sorted({*plan.tables}.intersection(msgspec.json.decode(recorded, type=list[str])))
        if common and name not in declared:
            raise RenamedProjectionError(plan.name, former=name, tables=", ".join(common), position=position)


def hold(database: Database, connection: Connection, last_seen: Checkpoint) -> None:
    """Lock the row for the rest of the transaction. Raises `StaleRunnerError` if it is not as it was left."""
    row = one(
        database,
        connection,
        "SELECT position, epoch FROM penstock_checkpoints "
        f"WHERE projection = ? AND generation = ?{lock_of(database)}",
        (last_seen.name, last_seen.generation),
    )
    if row is None or tuple(row) != (last_seen.position, last_seen.epoch):
        raise StaleRunnerError(last_seen.name)


def move(database: Database, connection: Connection, before: Checkpoint, after: Checkpoint) -> Checkpoint:
    """Move it from *before*, as the last statement of a transaction. Raises `StaleRunnerError`."""
    changes: dict[str, object] = {"position": after.position, "epoch": before.epoch + 1}
    if after.state != before.state:
        changes["state"] = after.state
    for field in ("sources", "behind", "former"):
        if getattr(after, field) != getattr(before, field):
            changes[field] = dumps(getattr(after, field))
    if after.version != before.version:
        changes["version"] = after.version
    moved = database.execute(
        connection,
        f"UPDATE penstock_checkpoints SET {', '.join(f'{field} = ?' for field in changes)}, "
        f"updated_at = {NOW[database.dialect]} "
        "WHERE projection = ? AND generation = ? AND position = ? AND epoch = ?",
        (*changes.values(), before.name, before.generation, before.position, before.epoch),
    )
    if moved.rowcount != 1:
        raise StaleRunnerError(before.name)
    return replace(after, epoch=before.epoch + 1)


def rewind(
    database: Database, connection: Connection, plan: ProjectionPlan, generation: str
) -> Checkpoint | None:
    """Put a checkpoint back to the beginning, under the declaration as it is now; ``None`` where there is none."""
    before = read(database, connection, plan.name, generation)
    if before is None:
        return None
    fresh = Checkpoint(plan.name, generation, plan.version, sources=declared_sources(plan.wanted))
    return move(database, connection, before, fresh)


def remove(database: Database, connection: Connection, name: str, generation: str) -> None:
    """Remove all that is recorded of a generation: checkpoint, failures, control."""
    for table in ("penstock_projection_failures", "penstock_projections", "penstock_checkpoints"):
        database.execute(
            connection, f"DELETE FROM {table} WHERE projection = ? AND generation = ?", (name, generation)
        )
