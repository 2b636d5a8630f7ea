"""A part of history that begins at a time: the position by which it is played."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from penstock.errors import ConfigurationError
from penstock.projections import Projection
from penstock.replays.abc import Part
from penstock.replays.diffing._events import position_at, us_of
from penstock.store.abc import StoreBackend

__all__ = ["placed"]


def placed(part: Part, projections: Sequence[Projection], stores: Mapping[str, StoreBackend]) -> Part:
    """The part with a position in place of its time.

    Raises:
        UsageError: The time has no zone.
        ConfigurationError: The projections read several stores, in which it is at different positions.
    """
    if part.since is None:
        return part
    before = us_of(part.since) - 1
    sources = sorted({each.store for each in projections})
    if len(sources) > 1:
        raise ConfigurationError(
            f"the projections read the stores {', '.join(sources)}, and a time is at another position in each; "
            "replay those of one store at a time"
        )
    with closing(stores[sources[0]].reader()) as reader:
        position = position_at(reader, before)
    return replace(part, after=max(part.after, position), since=None)
