"""Exchanging the live tables and the copy's: in one transaction, each goes to the schema of the other.

Nothing is renamed and no row is touched, so it takes as long for a thousand rows as for a million. What hangs on a live
table by more than its name is made to hang on the new one in the same transaction, or the switch is refused.

Everything is read and written down before the tables are locked; under the lock there are a few round trips.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from penstock.errors import (
    PenstockError,
    ReplayBusyError,
    ReplayRefusedError,
    StoreRefusedError,
    StoreUnavailableError,
)
from penstock.projections._engine._sql import commit
from penstock.replays._connecting import connected
from penstock.replays._postgres.switching_labels import exchange_labels, note_layout
from penstock.replays._postgres.switching_locks import (
    ChangedMeanwhileError,
    be_brief,
    is_lock_missed,
    lock_all,
    shoo_vacuum,
)
from penstock.replays._postgres.switching_materialised import prepare_materialised
from penstock.replays._postgres.switching_numbers import advance
from penstock.replays._postgres.switching_pairs import moves, take_steps
from penstock.replays._postgres.switching_part import exchange_part
from penstock.replays._postgres.switching_plan import Plan, read_marks, read_plan, unqualified
from penstock.replays._postgres.switching_rights import read_rights
from penstock.replays._postgres.switching_validating import validate_keys
from penstock.replays.abc import Held, Switched
from penstock.store.database import Connection, Database
from penstock.telemetry import LOGGER

if TYPE_CHECKING:
    from penstock.replays._postgres.copy import PostgresCopy

__all__ = ["prepare_switch", "switch"]

_SECONDS: Final = 30.0
"""How long locks are tried for."""
_SHORTEST_PAUSE: Final = 0.05
_LONGEST_PAUSE: Final = 1.0
_STEP: Final = "be switched"


def prepare_switch(copy: "PostgresCopy", say: Callable[[str], None]) -> None:
    """What takes long, beside readers and writers: foreign keys, statistics, materialised views of the copy's tables.

    Repeatable. Raises `ReplayError`, `ReplayBusyError`.
    """
    say("making the foreign keys of the copy, and counting its rows")
    copy.finish()
    database = copy.live_database
    with connected(database) as connection:
        database.execute(connection, "SET statement_timeout = 0")
        validate_keys(database, connection, copy.where, copy.key)
        if copy.part.is_whole:
            advance(database, connection, copy.where, copy.key)
            prepare_materialised(database, connection, copy.where, copy.key, say)


def switch(
    copy: "PostgresCopy",
    meet: Callable[[], AbstractContextManager[Held]],
    record: Callable[[Held], None],
) -> Switched:
    """Exchange live and copy, tables and checkpoints; the same call leads back.

    The checkpoints are held first, as every page does; then all tables are locked. A lock that is not had in a tenth of
    a second is given up with all others, and tried again later. Raises `ReplayBusyError`, `ReplayRefusedError`.
    """
    done = _patiently(copy, meet, record)
    try:
        _validate(copy)
    except (StoreUnavailableError, StoreRefusedError) as failure:
        LOGGER.warning(
            "replay %s is switched; foreign keys that point to its tables are looked at later: %s",
            copy.key,
            failure,
        )
    return done


def _validate(copy: "PostgresCopy") -> None:
    database = copy.live_database
    with connected(database) as connection:
        database.execute(connection, "SET statement_timeout = 0")
        validate_keys(database, connection, copy.where, copy.key)


def _patiently(
    copy: "PostgresCopy",
    meet: Callable[[], AbstractContextManager[Held]],
    record: Callable[[Held], None],
) -> Switched:
    ends, pause, tries = time.monotonic() + _SECONDS, _SHORTEST_PAUSE, 0
    while True:
        tries += 1
        try:
            return _tried(copy, meet, record, tries)
        except PenstockError as failure:
            if not is_lock_missed(failure):
                raise
            if time.monotonic() >= ends:
                raise ReplayBusyError(
                    copy.key, step=_STEP, reason=f"others use its tables all the time ({_last_said(failure)})"
                ) from failure
        if tries == 1:
            shoo_vacuum(copy)
        time.sleep(pause * random.uniform(0.5, 1.5))
        pause = min(pause * 2, _LONGEST_PAUSE)


def _tried(
    copy: "PostgresCopy",
    meet: Callable[[], AbstractContextManager[Held]],
    record: Callable[[Held], None],
    tries: int,
) -> Switched:
    """One try, committed or undone."""
    with meet() as held:
        position = min(held.positions.values(), default=0)
        began, tables = _exchanged(copy, held.live, sorted(held.positions), lambda: record(held))
        # Committed here, so that the time is that during which others were kept out.
        commit(copy.live_database, held.live)
        locked = timedelta(seconds=time.monotonic() - began)
    return Switched(position, tables, locked, tries)


def _last_said(failure: BaseException) -> str:
    return " ".join(str(failure.__cause__ or failure).split())


def _exchanged(
    copy: "PostgresCopy", connection: Connection, projections: list[str], record: Callable[[], None]
) -> tuple[float, tuple[str, ...]]:
    """When the tables began to be locked, and their names."""
    database, schema, key = copy.live_database, copy.where, copy.key
    be_brief(database, connection)
    if not copy.part.is_whole:
        began = time.monotonic()
        exchange_part(database, connection, copy)
        record()
        return began, tuple(sorted(copy.part.rows))
    exchange_labels(database, connection, key, schema, projections)
    plan = read_plan(database, connection, schema, key)
    note_layout(database, connection, plan)
    began = lock_all(database, connection, plan)
    if read_marks(database, connection, plan) != plan.marks:
        raise ChangedMeanwhileError
    _run(database, connection, key, plan)
    record()
    return began, tuple(sorted(each.name for each in plan.pairs.live if each.is_table))


def _run(database: Database, connection: Connection, key: str, plan: Plan) -> None:
    """Everything that is done under the locks."""
    with unqualified(database, connection):
        with _naming(key, "the exchange of the tables"):
            take_steps(database, connection, plan.before)
            parking = f"penstock_parking_{plan.pairs.schema[-8:]}"
            take_steps(database, connection, [*moves(plan.pairs, parking)])
        # Rights can be given without the locks; from here on nobody can.
        if read_rights(database, connection, plan.pairs) != plan.rights:
            raise ChangedMeanwhileError
        for step in plan.after:
            with _naming(key, step.subject):
                take_steps(database, connection, [step])


@contextmanager
def _naming(key: str, subject: str) -> Iterator[None]:
    """Within the block *subject* is carried over: what fails in it names it, and who was quicker is given way to."""
    try:
        yield
    except StoreUnavailableError:
        raise
    except Exception as failure:
        if is_lock_missed(failure):
            raise ChangedMeanwhileError from failure
        said = " ".join(str(failure).split())
        raise ReplayRefusedError(
            key, step=_STEP, reasons=[f"{subject} cannot be carried over ({said}); nothing was switched"]
        ) from failure
