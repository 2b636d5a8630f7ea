"""The workbench for failures of projections: by error, by parked key, and who did what."""

from collections.abc import Iterator
from itertools import groupby

from penstock.operations._failures import FailedWhich
from penstock.operations._failures_of_projections import KeptFailure, ProjectionFailures
from penstock.operations._grouping import normalised
from penstock.operations._noting import Person
from penstock.operations._values import ParkedKeySummary
from penstock.operations._workbench_values import ErrorGroup, LoggedAction
from penstock.projections.abc import Deed

__all__ = ["deeds", "errors", "parked_keys", "unpark"]

_WAITS = "waits behind another event of its key"


async def errors(
    failures: ProjectionFailures, which: FailedWhich
) -> tuple[list[ErrorGroup], tuple[str, ...]]:
    """What matches by projection and error, and which stores could not be asked."""
    found, problems = await failures.matching(which)
    ordered = sorted(found, key=_kind_of)
    groups: list[ErrorGroup] = []
    for (store, projection, error_class, error), kept in groupby(ordered, key=_kind_of):
        each = sorted(kept, key=lambda one: one.failure.last_at)
        groups.append(
            ErrorGroup(
                store,
                "",
                projection,
                "*",
                error_class,
                error,
                len(each),
                min(one.failure.first_at for one in each),
                each[-1].failure.last_at,
                each[-1].entry_id,
                projection=projection,
            )
        )
    return groups, problems


def _kind_of(kept: KeptFailure) -> tuple[str, str, str, str]:
    failure = kept.failure
    said = _WAITS if failure.state == "waiting" else normalised(failure.message)
    return kept.store, failure.projection, failure.error_class, said


async def parked_keys(
    failures: ProjectionFailures, projection: str | None, key: str | None
) -> list[ParkedKeySummary]:
    """The keys whose events wait, by store, projection and key."""
    return [_shown(kept) for kept in await _lanes(failures, projection, key)]


async def unpark(
    failures: ProjectionFailures, projection: str | None, key: str | None, *, by: Person | None
) -> list[ParkedKeySummary]:
    """Ask whoever runs the projection to handle what waits under these keys, in order; which keys those are."""
    asked: list[ParkedKeySummary] = []
    for kept in await _lanes(failures, projection, key):
        first = kept[0]
        said = (
            f"key {first.failure.key}" if first.failure.key is not None else f"stream {first.failure.stream}"
        )
        deed = None if by is None else Deed(by.who, "unpark", said, by.why)
        control = failures.control(first.store, first.generation)
        ids = [each.failure.id for each in kept]
        if events := await control.retry_failures(first.failure.projection, ids, deed=deed):
            asked.append(_shown(kept, events=events, unparking=True))
    return asked


async def _lanes(
    failures: ProjectionFailures, projection: str | None, key: str | None
) -> list[list[KeptFailure]]:
    """What waits, in the order of each key; events without a key keep the order of their event stream."""
    found, _ = await failures.matching(FailedWhich(state="parked", projection=projection))
    chosen = [each for each in found if key is None or key == (each.failure.key or "")]
    return list(_by_lane(sorted(chosen, key=lambda each: (_lane_of(each), each.failure.position))))


def _by_lane(ordered: list[KeptFailure]) -> Iterator[list[KeptFailure]]:
    for _, kept in groupby(ordered, key=_lane_of):
        yield list(kept)


def _lane_of(kept: KeptFailure) -> tuple[str, str, str, bool, str]:
    failure = kept.failure
    has_key = failure.key is not None
    return (
        kept.store,
        kept.generation,
        failure.projection,
        has_key,
        failure.stream if failure.key is None else failure.key,
    )


def _shown(
    kept: list[KeptFailure], *, events: int | None = None, unparking: bool = False
) -> ParkedKeySummary:
    first = kept[0]
    return ParkedKeySummary(
        first.store,
        first.failure.stream,
        first.failure.projection,
        first.failure.key or "",
        len(kept) if events is None else events,
        min(each.failure.first_at for each in kept),
        first.entry_id,
        first.failure.error_class,
        first.failure.message,
        unparking,
        projection=first.failure.projection,
    )


async def deeds(
    failures: ProjectionFailures, projection: str | None, *, limit: int
) -> tuple[list[LoggedAction], tuple[str, ...]]:
    """Who did what to projections and relays, latest first, and which stores could not be asked."""
    stores, problems = await failures.reachable()
    found = [
        LoggedAction(
            store,
            "",
            each.when,
            each.deed.who,
            each.deed.what,
            each.deed.which,
            each.deed.why,
            each.count,
            projection=each.projection,
        )
        for store in stores
        for each in await failures.control(store).log(projection, limit=limit)
    ]
    return sorted(found, key=lambda each: each.when, reverse=True)[:limit], problems
