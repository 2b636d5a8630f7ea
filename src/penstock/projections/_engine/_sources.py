"""Which events come next: the streams and categories that a projection follows, and how far it has come in each.

A source is ``stream:NAME`` or ``category:NAME``; following everything is the source `EVERYTHING`. All of them stand at
the checkpoint's position, except those in `Checkpoint.behind`, which were added later and are read up to it by
themselves, from 0. Everything here is pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from penstock.projections.abc import Checkpoint
from penstock.store.abc import EventFilter, StoredEvent, category_of

__all__ = ["EVERYTHING", "Stretch", "advanced", "declared_sources", "next_stretch", "reconciled"]

EVERYTHING: Final = "*"
_STREAM: Final = "stream:"
_CATEGORY: Final = "category:"


def declared_sources(wanted: EventFilter) -> tuple[str, ...]:
    """The sources that a filter names; none for everything."""
    return tuple(
        sorted(
            {_STREAM + stream for stream in wanted.streams}
            | {_CATEGORY + category for category in wanted.categories}
        )
    )


def reconciled(checkpoint: Checkpoint, declared: tuple[str, ...]) -> Checkpoint:
    """The checkpoint under the sources that are *declared* now.

    A source that is new begins at 0, one that an earlier source held in it begins where that one was. Those that are
    gone are dropped; as long as something is behind, it is remembered how far they were, so that an event that they
    brought is not handled again on behalf of a new one.
    """
    if checkpoint.sources == declared:
        return checkpoint
    had, wants = checkpoint.sources or (EVERYTHING,), declared or (EVERYTHING,)
    if checkpoint.position == 0:
        return replace(checkpoint, sources=declared, behind={}, former={})
    places = {source: checkpoint.behind.get(source, checkpoint.position) for source in had}
    starts = {
        source: max((places[each] for each in had if _holds(each, source)), default=0) for source in wants
    }
    behind = {source: place for source, place in starts.items() if place < checkpoint.position}
    dropped = {source: place for source, place in places.items() if source not in wants}
    return replace(
        checkpoint,
        sources=declared,
        behind=behind,
        former={**checkpoint.former, **dropped} if behind else {},
    )


def _holds(larger: str, smaller: str) -> bool:
    """Whether every event of one source is one of the other."""
    if larger in (EVERYTHING, smaller):
        return True
    return (
        larger.startswith(_CATEGORY)
        and smaller.startswith(_STREAM)
        and category_of(smaller.removeprefix(_STREAM)) == larger.removeprefix(_CATEGORY)
    )


@dataclass(frozen=True, slots=True)
class Stretch:
    """The next part of a store to be read: above *after*, up to *through*."""

    wanted: EventFilter
    after: int
    through: int
    group: tuple[str, ...] = ()
    """The sources that are behind and come forward by this; none when the position itself does."""
    seen: tuple[str, ...] = ()
    """Sources whose events were handled here already."""

    def has_been_handled(self, event: StoredEvent) -> bool:
        """Whether another source has brought this event before."""
        return any(_is_of(source, event) for source in self.seen)


def _is_of(source: str, event: StoredEvent) -> bool:
    return _holds(source, _STREAM + event.stream)


def next_stretch(
    checkpoint: Checkpoint, wanted: EventFilter, *, through: int, behind_first: bool = True
) -> Stretch | None:
    """What to read next, no further than *through*; ``None`` when all of it is handled.

    With sources behind, these and the others take turns (*behind_first*), so that neither waits for the other.
    """
    main = _main_stretch(checkpoint, wanted, through)
    later = _later_stretch(checkpoint, wanted)
    if later is None or main is None:
        return main or later
    return later if behind_first else main


def _main_stretch(checkpoint: Checkpoint, wanted: EventFilter, through: int) -> Stretch | None:
    current = [each for each in checkpoint.sources or (EVERYTHING,) if each not in checkpoint.behind]
    if not current or checkpoint.position >= through:
        return None
    return Stretch(_narrowed(wanted, current), checkpoint.position, through)


def _later_stretch(checkpoint: Checkpoint, wanted: EventFilter) -> Stretch | None:
    behind = checkpoint.behind
    if not behind:
        return None
    lowest = min(behind.values())
    group = tuple(sorted(source for source, place in behind.items() if place == lowest))
    marks = [checkpoint.position, *behind.values(), *checkpoint.former.values()]
    through = min(mark for mark in marks if mark > lowest)
    current = [each for each in checkpoint.sources or (EVERYTHING,) if each not in group]
    seen = [*current, *(each for each, place in checkpoint.former.items() if place >= through)]
    return Stretch(_narrowed(wanted, group), lowest, through, group, tuple(seen))


def _narrowed(wanted: EventFilter, sources: Iterable[str]) -> EventFilter:
    if EVERYTHING in sources:
        return replace(wanted, streams=(), categories=())
    return replace(
        wanted,
        streams=tuple(each.removeprefix(_STREAM) for each in sources if each.startswith(_STREAM)),
        categories=tuple(each.removeprefix(_CATEGORY) for each in sources if each.startswith(_CATEGORY)),
    )


def advanced(checkpoint: Checkpoint, stretch: Stretch, through: int) -> Checkpoint:
    """The checkpoint when everything of *stretch* is handled up to *through*."""
    if not stretch.group:
        return replace(checkpoint, position=through)
    behind: Mapping[str, int] = {
        source: place
        for source, old in checkpoint.behind.items()
        if (place := through if source in stretch.group else old) < checkpoint.position
    }
    return replace(checkpoint, behind=behind, former=checkpoint.former if behind else {})
