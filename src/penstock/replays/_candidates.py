"""The projections of a replay as they are run against its copy: plans narrowed to its part, handlers guarded."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from penstock.errors import ConfigurationError
from penstock.projections._engine._run import Supervised
from penstock.projections.abc import ProjectionPlan
from penstock.replays.abc import Candidate, CopiedTable, Part, ReadModelCopy
from penstock.store.abc import category_of

__all__ = ["LARGER", "candidates_of", "check_part", "narrowed", "supervised_of"]

LARGER: Final = 2
"""So many times larger are pages that are played, while events are small: nobody waits for their ends or their locks.
With more, what a page holds lives for so long that Python's garbage collector goes through everything ever again."""


def narrowed(plan: ProjectionPlan, part: Part) -> ProjectionPlan:
    """The plan of a projection as a partial replay runs it. Raises `ConfigurationError` if nothing is left of it."""
    wanted = plan.wanted
    if part.keys:
        keys = tuple(each for each in part.keys if not wanted.keys or each in wanted.keys)
        if not keys:
            raise ConfigurationError(
                f"projection {plan.name!r} follows none of the keys {', '.join(part.keys)}"
            )
        wanted = replace(wanted, keys=keys)
    if part.streams:
        streams = tuple(
            each
            for each in part.streams
            if not (wanted.streams or wanted.categories)
            or each in wanted.streams
            or category_of(each) in wanted.categories
        )
        if not streams:
            raise ConfigurationError(
                f"projection {plan.name!r} follows none of the streams {', '.join(part.streams)}"
            )
        wanted = replace(wanted, streams=streams, categories=())
    return replace(plan, wanted=wanted)


def check_part(part: Part, tables: Sequence[CopiedTable], *, makes_own: bool) -> None:
    """Raises `ConfigurationError` for a part that cannot be.

    *tables* are those of the replay, as far as projections name them; *makes_own*: a read model makes others itself.
    """
    if part.after < 0:
        raise ConfigurationError(f"a replay cannot begin after position {part.after}; it is at least 0")
    for what, names in (("stream", part.streams), ("key", part.keys)):
        if any(not each for each in names):
            raise ConfigurationError(f"a replay of an empty {what} is not possible; name it")
    known = {each.name.casefold(): each for each in tables}
    for name, column in part.rows.items():
        table = known.get(name.casefold())
        if table is None and not makes_own:
            raise ConfigurationError(
                f"rows of table {name!r} are to be of a part, and the replay has no such table; it has "
                f"{', '.join(each.name for each in tables) or 'none'}"
            )
        columns = (
            []
            if table is None or table.definition is None
            else [each.name for each in table.definition.columns]
        )
        if columns and column.casefold() not in map(str.casefold, columns):
            raise ConfigurationError(
                f"table {name!r} has no column {column!r} that could tell whose a row is; it has {', '.join(columns)}"
            )


def candidates_of(supervised: Sequence[Supervised], copy: ReadModelCopy, part: Part) -> tuple[Candidate, ...]:
    """The projections of a replay, by name, with handlers that write the copy and nothing else."""
    return tuple(
        Candidate(narrowed(each.plan, part), copy.guard(each.handlers))
        for each in sorted(supervised, key=lambda each: each.plan.name)
    )


def supervised_of(candidate: Candidate, copy: ReadModelCopy) -> Supervised:
    """A candidate as the engine runs it."""
    return Supervised(candidate.plan, candidate.handlers, copy.key, copy.database, is_made=True)
