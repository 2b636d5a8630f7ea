"""The record of each replay, in the database of its read models. It is changed by compare-and-set of its revision.

Every change of state is one short transaction, with a row in the log that says who did it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from penstock.errors import ReplayBusyError, ReplayExistsError, UnknownReplayError
from penstock.projections._engine._sql import NOW, dumps, moment, one, rows, transaction
from penstock.replays import _moves
from penstock.replays._connecting import connected
from penstock.replays._moves import Step
from penstock.replays.abc import CopiedTable, Part, Replay
from penstock.replays.values import ReplayDeed
from penstock.store.database import Connection, Database

__all__ = ["Record", "Records", "awaited_versions", "change", "delete", "note", "read", "read_all"]

T = TypeVar("T")

_COLUMNS = (
    "key, state, store, projections, versions, former_versions, place, tables, part, processes, is_fed, revision, "
    "created_at, created_by, verified_at, verified_position, is_verified, promoted_at, override, error"
)
_TRIES = 20
"""So often a change is tried that others were faster with."""


@dataclass(frozen=True, slots=True)
class Record:
    """A replay as it was read."""

    replay: Replay
    tables: tuple[CopiedTable, ...]
    """As they are named; without definitions."""
    revision: int

    @property
    def generation_versions(self) -> Mapping[str, int]:
        """The version of each projection that the copy under the replay's key is of at this moment."""
        replay = self.replay
        return replay.former_versions if replay.state == "promoted" else replay.versions

    @property
    def is_fed(self) -> bool:
        """Whether whoever runs a projection also feeds the copy that is not live."""
        return self.replay.state in ("following", "promoted") and self.replay.is_fed


def _record(row: Any) -> Record:
    (
        key,
        state,
        store,
        projections,
        versions,
        former_versions,
        place,
        tables,
        part,
        processes,
        is_fed,
        revision,
        *rest,
    ) = row
    created_at, created_by, verified_at, verified_position, is_verified, promoted_at, override, error = rest
    named = [
        CopiedTable(name, schema)
        for schema, name in msgspec.json.decode(tables, type=list[tuple[str | None, str]])
    ]
    replay = Replay(
        key=key,
        state=state,
        store=store,
        projections=msgspec.json.decode(projections, type=tuple[str, ...]),
        versions=msgspec.json.decode(versions, type=dict[str, int]),
        former_versions=msgspec.json.decode(former_versions, type=dict[str, int]),
        place=place,
        tables=tuple(table.shown for table in named),
        part=msgspec.json.decode(part, type=Part),
        processes=processes,
        is_fed=bool(is_fed),
        created_at=moment(created_at),
        created_by=created_by,
        verified_at=moment(verified_at),
        verified_position=verified_position,
        is_verified=bool(is_verified),
        promoted_at=moment(promoted_at),
        override=override,
        error=error,
    )
    return Record(replay, tuple(named), revision)


def read(database: Database, connection: Connection, key: str) -> Record | None:
    """The record of one replay; ``None`` where there is none."""
    row = one(database, connection, f"SELECT {_COLUMNS} FROM penstock_replays WHERE key = ?", (key,))
    return None if row is None else _record(row)


def read_all(database: Database, connection: Connection) -> list[Record]:
    """The records of all replays, by key."""
    found = rows(database, connection, f"SELECT {_COLUMNS} FROM penstock_replays ORDER BY key")
    return [_record(row) for row in found]


def awaited_versions(records: Iterable[Record]) -> frozenset[tuple[str, int]]:
    """Projections with the versions that some copy is of: a live one of another version waits for these."""
    return frozenset(fact for record in records for fact in record.generation_versions.items())


def change(database: Database, connection: Connection, record: Record, **changes: object) -> bool:
    """Change columns of a record, inside the caller's transaction; whether it was still as it had been read."""
    values = {name: int(value) if isinstance(value, bool) else value for name, value in changes.items()}
    changed = database.execute(
        connection,
        f"UPDATE penstock_replays SET {''.join(f'{name} = ?, ' for name in values)}revision = revision + 1 "
        "WHERE key = ? AND revision = ?",
        (*values.values(), record.replay.key, record.revision),
    )
    return changed.rowcount == 1


def delete(database: Database, connection: Connection, key: str) -> None:
    """Remove a record with its plays and reports, and what is left of its generation; the log stays."""
    database.execute(connection, "DELETE FROM penstock_replays WHERE key = ?", (key,))
    for table in ("penstock_replay_plays", "penstock_replay_reports"):
        database.execute(connection, f"DELETE FROM {table} WHERE replay = ?", (key,))


def note(
    database: Database,
    connection: Connection,
    key: str,
    what: str,
    *,
    who: str = "",
    which: str = "",
    why: str = "",
) -> None:
    """Add to the log who did what, inside the caller's transaction."""
    database.execute(
        connection,
        "INSERT INTO penstock_replay_log (replay, at, who, what, which, why) "
        f"VALUES (?, {NOW[database.dialect]}, ?, ?, ?, ?)",
        (key, who, what, which, why),
    )


class Records:
    """The records in one database. Blocking; each call connects.

    Everything may raise `StoreUnavailableError`, `StoreRefusedError`.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def call(self, act: Callable[[Connection], T]) -> T:
        """What *act* returns, given a connection in no transaction."""
        with connected(self.database) as connection:
            return act(connection)

    def within(self, act: Callable[[Connection], T]) -> T:
        """What *act* returns, given a connection in a transaction that is then committed."""

        def done(connection: Connection) -> T:
            with transaction(self.database, connection):
                return act(connection)

        return self.call(done)

    def all(self) -> list[Record]:
        """All of them, by key."""
        return self.call(lambda connection: read_all(self.database, connection))

    def find(self, key: str) -> Record | None:
        """One; ``None`` where there is none."""
        return self.call(lambda connection: read(self.database, connection, key))

    def get(self, key: str) -> Record:
        """One. Raises `UnknownReplayError`."""
        found = self.find(key)
        if found is None:
            raise UnknownReplayError(key)
        return found

    def insert(self, replay: Replay, *, why: str = "") -> None:
        """Add a new one, in state ``created``. Raises `ReplayExistsError`."""
        database = self.database

        def inserted(connection: Connection) -> None:
            added = database.execute(
                connection,
                "INSERT INTO penstock_replays (key, state, store, projections, versions, part, processes, created_at, "
                f"created_by) VALUES (?, 'created', ?, ?, ?, ?, ?, {NOW[database.dialect]}, ?) "
                "ON CONFLICT (key) DO NOTHING",
                (
                    replay.key,
                    replay.store,
                    dumps(sorted(replay.projections)),
                    dumps(replay.versions),
                    dumps(replay.part),
                    replay.processes,
                    replay.created_by,
                ),
            )
            if added.rowcount != 1:
                raise ReplayExistsError(replay.key)
            note(
                database,
                connection,
                replay.key,
                "create",
                who=replay.created_by,
                which=", ".join(replay.projections),
                why=why,
            )

        self.within(inserted)

    def move(
        self,
        key: str,
        step: Step,
        *,
        who: str | None = None,
        which: str = "",
        why: str = "",
        changes: Mapping[str, object] | None = None,
        also: Callable[[Connection], None] | None = None,
        revision: int | None = None,
    ) -> None:
        """Take a step, and change columns with it.

        *who*: note it under that name. *also* is done in the same transaction. *revision*: only if it is still of that.

        Raises `UnknownReplayError`, `ReplayMoveError`, `ReplayBusyError`.
        """
        database = self.database

        def moved(connection: Connection, record: Record | None) -> bool:
            if record is None:
                raise UnknownReplayError(key)
            if revision not in (None, record.revision):
                raise ReplayBusyError(key, step=_moves.said(step), reason="its record was changed meanwhile")
            state = _moves.after(key, step, record.replay.state)
            if not change(database, connection, record, state=state, **(changes or {})):
                return False
            if who is not None:
                note(database, connection, key, step, who=who, which=which, why=why)
            if also is not None:
                also(connection)
            return True

        self.changed(key, step, moved)

    def set(self, key: str, *, also: Callable[[Connection], None] | None = None, **changes: object) -> None:
        """Change columns that are no state, and do *also* with it. Nothing happens to one that is gone."""
        database = self.database

        def changed(connection: Connection, record: Record | None) -> bool:
            if record is None:
                return True
            if not change(database, connection, record, **changes):
                return False
            if also is not None:
                also(connection)
            return True

        self.changed(key, "be noted", changed)

    def changed(self, key: str, step: str, act: Callable[[Connection, Record | None], bool]) -> None:
        """Have *act* change a record, which it is given as it stands, in a transaction.

        It answers whether the record was still like that when it changed it, and is called again until it was. Raises
        `ReplayBusyError`.
        """
        for _ in range(_TRIES):
            if self.within(lambda connection: act(connection, read(self.database, connection, key))):
                return
        raise ReplayBusyError(key, step=_moves.said(step), reason="others keep changing its record")

    def place(self, key: str, place: str, tables: Sequence[CopiedTable]) -> None:
        """Remember where the copy is, and which tables it has."""
        self.set(key, place=place, tables=dumps([(table.schema, table.name) for table in tables]))

    def forget(self, key: str) -> None:
        """Remove every trace of one that was never made."""

        def forgotten(connection: Connection) -> None:
            delete(self.database, connection, key)
            self.database.execute(connection, "DELETE FROM penstock_replay_log WHERE replay = ?", (key,))

        self.within(forgotten)

    def remove(self, key: str, *, who: str, why: str = "") -> None:
        """Remove it, its plays and its reports; the log says who did, and why."""

        def removed(connection: Connection) -> None:
            delete(self.database, connection, key)
            note(self.database, connection, key, "remove", who=who, why=why)

        self.within(removed)

    def log(self, key: str, *, limit: int = 1000) -> list[ReplayDeed]:
        """What was done to it, latest first."""
        found = self.call(
            lambda connection: rows(
                self.database,
                connection,
                "SELECT replay, at, who, what, which, why FROM penstock_replay_log WHERE replay = ? "
                "ORDER BY id DESC LIMIT ?",
                (key, limit),
            )
        )
        return [
            ReplayDeed(replay, _when(at), who, what, which, why)
            for replay, at, who, what, which, why in found
        ]


def _when(at: int) -> datetime:
    found = moment(at)
    assert found is not None
    return found
