"""A verification: both generations held at one position for a moment, then looked at as they were in it."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from datetime import UTC, datetime, timedelta

from penstock.replays.abc import Held, Part, ReadModelCopy, Verification
from penstock.replays.verifying._checks import Check, run_checks, run_samples
from penstock.replays.verifying._states import state_differences
from penstock.replays.verifying.differences import Only, differences

__all__ = ["rows_of", "verify"]


def rows_of(part: Part, keys: Sequence[str] = ()) -> Mapping[str, Only]:
    """For each table that says whose its rows are, those of a partial replay; *keys* where the part names none."""
    values = part.keys or tuple(keys)
    return {table: Only(column, values) for table, column in part.rows.items()} if values else {}


def verify(
    copy: ReadModelCopy,
    meeting: AbstractContextManager[Held],
    *,
    part: Part | None = None,
    keys: Sequence[str] = (),
    checks: Sequence[Check] = (),
    samples: Sequence[str] = (),
    rows: int = 20,
    say: Callable[[str], None] = lambda text: None,
) -> Verification:
    """Compare a copy with what is live, table by table, and run the checks; nothing is kept of it here.

    Args:
        copy: The copy.
        meeting: Holds both at one position (`meet`); it is left as soon as both can be looked at.
        part: Of a partial replay, only its rows are compared: by `Part.rows`, or those that the copy has.
        keys: The keys of the part's streams, where it names no keys.
        checks: SQL that must give no rows in the copy, or functions of the two sides.
        samples: SQL that must give the same rows on both sides; in their order, if it has an ``ORDER BY``.
        rows: So many differing rows are shown of each table.
        say: Is told what is being done.

    Raises what *meeting* raises, `StoreUnavailableError` and `StoreRefusedError`.
    """
    began, part = time.monotonic(), part or Part()
    with ExitStack() as looking:
        with meeting as held:
            stood = time.monotonic()
            position = min(held.positions.values(), default=0)
            comparing = looking.enter_context(copy.comparing(held))
        held_for = time.monotonic() - stood
        at = datetime.now(UTC)
        tables = differences(
            comparing,
            copy.tables,
            rows=rows,
            only=rows_of(part, keys),
            copy_only=not part.is_whole,
            say=lambda name: say(f"comparing table {name}"),
        )
        names, is_part = tuple(held.positions), not part.is_whole
        tables += state_differences(comparing, copy.key, names, rows=rows, copy_only=is_part)
        if checks or samples:
            say("running the checks")
        failed, passed = run_checks(comparing, checks)
        others_failed, others_passed = run_samples(comparing, samples)
    return Verification(
        replay=copy.key,
        at=at,
        position=position,
        tables=tuple(tables),
        failed_checks=(*failed, *others_failed),
        passed_checks=(*passed, *others_passed),
        held=timedelta(seconds=held_for),
        took=timedelta(seconds=time.monotonic() - began),
    )
