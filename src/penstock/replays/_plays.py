"""Plays: every stretch of history that was played to a copy, recorded beside its replay.

A play whose process ended without a word is found out by the next one, which has all leases by then: nobody else can
be playing. What it had done is counted from the checkpoints, which never lie.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from penstock.projections._engine._sql import NOW, dumps, moment, one, rows
from penstock.replays.abc import Outcome, Play
from penstock.store.database import Connection, Database

__all__ = [
    "Begun",
    "Open",
    "begin",
    "begun",
    "died_in_vain",
    "emptied",
    "end",
    "is_to_be_emptied",
    "is_to_be_resumed",
    "latest",
    "move",
    "rate",
    "went_back",
]

_COLUMNS = (
    "id, replay, from_position, to_position, started_at, finished_at, outcome, events, who, error, token"
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FEWEST: Final = 200
"""A play of fewer events says nothing about speed."""
_DIED: Final = ("running", "died")
"""Outcomes of those whose process did not say how they ended, if it is not there any more."""
_IN_VAIN: Final = 5
"""So many deaths at one place are no coincidence."""


class Begun(msgspec.Struct, frozen=True):
    """What is noted of a play when it begins."""

    token: str = ""
    positions: dict[str, int] = {}
    """Where each projection stood."""
    anew: bool = False
    """Whether the copy is to be emptied first; taken back when that is done."""
    background: bool = False
    """Whether whoever runs the projections played, and not somebody who asked for it and waits."""


@dataclass(frozen=True, slots=True)
class Open:
    """A play that has not said how it ended."""

    id: int
    begun: Begun


def begin(
    database: Database,
    connection: Connection,
    replay: str,
    positions: Mapping[str, int],
    begun: Begun,
    who: str,
) -> int:
    """Record that a play begins, inside the caller's transaction; its number."""
    [number] = one(
        database,
        connection,
        "INSERT INTO penstock_replay_plays (replay, from_position, to_position, started_at, who, token) "
        f"VALUES (?, ?, ?, {NOW[database.dialect]}, ?, ?) RETURNING id",
        (replay, *[min(positions.values(), default=0)] * 2, who, dumps(begun)),
    )
    return int(number)


def begun(database: Database, connection: Connection, replay: str) -> list[Open]:
    """Those that have not said how they ended, inside the caller's transaction."""
    found = rows(
        database,
        connection,
        "SELECT id, token FROM penstock_replay_plays WHERE replay = ? AND finished_at IS NULL",
        (replay,),
    )
    return [Open(number, _read(token)) for number, token in found]


def emptied(
    database: Database, connection: Connection, number: int, positions: Mapping[str, int], begun: Begun
) -> None:
    """Record that a play that begins anew has emptied the copy, inside the caller's transaction."""
    place = min(positions.values(), default=0)
    database.execute(
        connection,
        "UPDATE penstock_replay_plays SET from_position = ?, to_position = ?, token = ? WHERE id = ?",
        (place, place, dumps(msgspec.structs.replace(begun, positions={**positions}, anew=False)), number),
    )


def move(database: Database, connection: Connection, number: int, *, position: int, events: int) -> None:
    """Record how far a play has come, inside the caller's transaction."""
    database.execute(
        connection,
        "UPDATE penstock_replay_plays SET to_position = ?, events = ? WHERE id = ? AND finished_at IS NULL",
        (position, events, number),
    )


def end(
    database: Database,
    connection: Connection,
    number: int,
    outcome: Outcome,
    *,
    position: int,
    events: int,
    error: str = "",
) -> bool:
    """Record how a play ended, inside the caller's transaction; whether nobody had done that yet."""
    ended = database.execute(
        connection,
        f"UPDATE penstock_replay_plays SET to_position = ?, events = ?, finished_at = {NOW[database.dialect]}, "
        "outcome = ?, error = ? WHERE id = ? AND finished_at IS NULL",
        (position, events, outcome, error, number),
    )
    return ended.rowcount == 1


def latest(database: Database, connection: Connection, replay: str, *, limit: int = 1000) -> list[Play]:
    """The plays of a replay, latest first."""
    found = rows(
        database,
        connection,
        f"SELECT {_COLUMNS} FROM penstock_replay_plays WHERE replay = ? ORDER BY id DESC LIMIT ?",
        (replay, limit),
    )
    return [
        Play(
            id=number,
            replay=key,
            from_position=from_position,
            to_position=to_position,
            started_at=_when(started_at),
            finished_at=moment(finished_at),
            outcome=outcome,
            events=events,
            who=who,
            error=error,
        )
        for (
            number,
            key,
            from_position,
            to_position,
            started_at,
            finished_at,
            outcome,
            events,
            who,
            error,
            _,
        ) in found
    ]


def is_to_be_resumed(database: Database, connection: Connection, replay: str) -> bool:
    """Whether the last play ended by no decision: its process was killed, or stopped while it played for nobody.

    Not where processes die again and again: the next one might be the one that runs what is live.
    """
    found = rows(
        database,
        connection,
        "SELECT outcome, token FROM penstock_replay_plays WHERE replay = ? ORDER BY id DESC LIMIT 1",
        (replay,),
    )
    if not found or died_in_vain(database, connection, replay) is not None:
        return False
    [(outcome, token)] = found
    return outcome in _DIED or (outcome == "stopped" and _read(token).background)


def died_in_vain(database: Database, connection: Connection, replay: str) -> int | None:
    """The position at which the last plays began, if all of them died and none came any further; else ``None``."""
    found = rows(
        database,
        connection,
        "SELECT outcome, from_position FROM penstock_replay_plays WHERE replay = ? ORDER BY id DESC LIMIT ?",
        (replay, _IN_VAIN),
    )
    places = {place for _, place in found}
    if len(found) < _IN_VAIN or len(places) > 1 or any(outcome not in _DIED for outcome, _ in found):
        return None
    return int(places.pop())


def is_to_be_emptied(database: Database, connection: Connection, replay: str) -> bool:
    """Whether the last play was to begin anew, and has not emptied the copy."""
    row = one(
        database,
        connection,
        "SELECT token FROM penstock_replay_plays WHERE replay = ? ORDER BY id DESC LIMIT 1",
        (replay,),
    )
    return row is not None and _read(row[0]).anew


def went_back(database: Database, connection: Connection, replay: str, *, since: int, to_before: int) -> bool:
    """Whether a play after the one numbered *since* began before that position: the copy was emptied for it."""
    sql = "SELECT 1 FROM penstock_replay_plays WHERE replay = ? AND id > ? AND from_position < ? LIMIT 1"
    return one(database, connection, sql, (replay, since, to_before)) is not None


def rate(found: Sequence[tuple[int, int, int]]) -> float:
    """Events a second over plays of so many events, from and to these times (microseconds)."""
    told = [(events, until - since) for events, since, until in found if events >= _FEWEST and until > since]
    took = sum(us for _, us in told)
    return sum(events for events, _ in told) / (took / 1e6) if took else 0.0


def _read(token: str) -> Begun:
    try:
        return msgspec.json.decode(token or "{}", type=Begun)
    except msgspec.DecodeError:
        return Begun()


def _when(at: int) -> datetime:
    return _EPOCH + timedelta(microseconds=at)
