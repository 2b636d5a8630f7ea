"""What a replay would be about, found out before anything is made for it."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path
from typing import Final

from penstock.projections._engine._run import Supervised
from penstock.projections._engine._sql import rows
from penstock.replays import _plays
from penstock.replays._candidates import narrowed
from penstock.replays._connecting import connected
from penstock.replays._distance import wanted_by
from penstock.replays._records import Records
from penstock.replays._switching import read_live_versions
from penstock.replays.abc import CopiedTable, Finding, Part
from penstock.replays.values import ReplayPlan
from penstock.store._quoting import quoted
from penstock.store.abc import EventReader
from penstock.store.database import Connection, Database

__all__ = ["planned"]

_MOST_COUNTED: Final = 1_000_000_000
_RECENT: Final = 20
"""So many plays tell the rate."""


def planned(
    records: Records,
    supervised: Sequence[Supervised],
    tables: Sequence[CopiedTable],
    readers: Mapping[str, Callable[[], EventReader]],
    part: Part,
) -> ReplayPlan:
    """The plan of a replay of *supervised*. Blocking; nothing is changed."""
    database = records.database
    names = tuple(sorted(each.plan.name for each in supervised))
    events = sum(_events(each, readers[each.plan.source], part) for each in supervised)
    rate = _rate(records)
    with connected(database) as connection:
        disk = _size(database, connection, tables)
    live = read_live_versions(records, names)
    versions = {each.plan.name: each.plan.version for each in supervised}
    return ReplayPlan(
        projections=names,
        versions=versions,
        live_versions=live,
        tables=tuple(table.shown for table in tables),
        events=events,
        rate=rate,
        duration=timedelta(seconds=events / rate) if rate else None,
        disk_bytes=disk,
        findings=tuple(_findings(database, versions, live, disk, rate)),
    )


def _events(supervised: Supervised, open_reader: Callable[[], EventReader], part: Part) -> int:
    plan = narrowed(supervised.plan, part)
    wanted = wanted_by(Supervised(plan, supervised.handlers))
    if wanted is None:
        return 0
    with closing(open_reader()) as reader:
        return reader.count(wanted, after=part.after, through=reader.horizon().position, limit=_MOST_COUNTED)


def _rate(records: Records) -> float:
    """Events a second, over the last plays of this database."""
    database = records.database
    found = records.call(
        lambda connection: rows(
            database,
            connection,
            "SELECT events, started_at, finished_at FROM penstock_replay_plays WHERE outcome = 'finished' "
            "ORDER BY id DESC LIMIT ?",
            (_RECENT,),
        )
    )
    return _plays.rate([(events, since, until) for events, since, until in found])


def _size(database: Database, connection: Connection, tables: Sequence[CopiedTable]) -> int:
    """How large the live tables are with their indexes; on SQLite without ``dbstat``, the whole file at most."""
    if database.dialect == "postgresql":
        sql = "SELECT coalesce(pg_total_relation_size(to_regclass(?)), 0)"
        return sum(int(rows(database, connection, sql, (_quoted(table),))[0][0]) for table in tables)
    sql = (
        "SELECT coalesce(sum(pgsize), 0) FROM dbstat WHERE name IN "
        "(SELECT name FROM sqlite_master WHERE tbl_name = ?)"
    )
    with suppress(Exception):
        return sum(int(rows(database, connection, sql, (table.name,))[0][0]) for table in tables)
    [[pages]] = rows(database, connection, "PRAGMA page_count")
    [[size]] = rows(database, connection, "PRAGMA page_size")
    return int(pages) * int(size)


def _quoted(table: CopiedTable) -> str:
    parts = [table.name] if table.schema is None else [table.schema, table.name]
    return ".".join(map(quoted, parts))


def _findings(
    database: Database, versions: Mapping[str, int], live: Mapping[str, int], disk: int, rate: float
) -> list[Finding]:
    found: list[Finding] = []
    for name, version in sorted(versions.items()):
        if name not in live:
            found.append(
                Finding("note", f"projection {name}", "it never ran, so there is no live one to compare with")
            )
        elif live[name] == version:
            found.append(
                Finding(
                    "note",
                    f"projection {name}",
                    f"the live one is of version {version} as well: whoever runs that feeds both, with the same code",
                )
            )
        elif live[name] > version:
            found.append(
                Finding(
                    "warning",
                    f"projection {name}",
                    f"the live one is of version {live[name]}, and the code here is of the older version {version}",
                )
            )
    if not rate:
        found.append(Finding("note", "duration", "nothing was played in this database yet to estimate by"))
    path = getattr(database, "path", None)
    if isinstance(path, Path) and path.parent.exists():
        free = shutil.disk_usage(path.parent).free
        # The copy's file, and the shadow of its tables in the live one.
        if free < 3 * disk:
            found.append(
                Finding(
                    "warning",
                    "disk",
                    f"{free:,} bytes are free beside the database, and a copy may need {3 * disk:,}",
                )
            )
    return found
