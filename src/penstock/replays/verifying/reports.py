"""The reports of comparisons, kept beside the read models in ``penstock_replay_reports``."""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from penstock.projections._engine._sql import dumps, rows
from penstock.replays.abc import Verification
from penstock.store.database import Connection, Database

__all__ = ["keep", "latest"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def keep(database: Database, connection: Connection, report: Verification) -> None:
    """Keep a report, inside the caller's transaction."""
    database.execute(
        connection,
        "INSERT INTO penstock_replay_reports (replay, at, position, is_green, report) VALUES (?, ?, ?, ?, ?)",
        (
            report.replay,
            (report.at - _EPOCH) // timedelta(microseconds=1),
            report.position,
            int(report.is_green),
            dumps(report),
        ),
    )


def latest(database: Database, connection: Connection, replay: str, *, limit: int = 20) -> list[Verification]:
    """The reports of one replay as they were made, the latest first."""
    found = rows(
        database,
        connection,
        "SELECT report FROM penstock_replay_reports WHERE replay = ? ORDER BY id DESC LIMIT ?",
        (replay, limit),
    )
    return [msgspec.json.decode(text, type=Verification) for [text] in found]
