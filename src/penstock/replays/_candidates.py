"""The projections of a replay as they are run against its copy: plans narrowed to its part, handlers guarded."""

from collections.abc import Sequence
from dataclasses import replace

from penstock.errors import ConfigurationError
from penstock.projections._engine._run import Supervised
from penstock.projections.abc import ProjectionPlan
from penstock.replays.abc import Candidate, Part, ReadModelCopy
from penstock.store.abc import category_of

__all__ = ["candidates_of", "check_part", "narrowed", "supervised_of"]


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


def check_part(part: Part) -> None:
    """Raises `ConfigurationError` for a part that cannot be."""
    if part.after < 0:
        raise ConfigurationError(f"a replay cannot begin after position {part.after}; it is at least 0")
    for what, names in (("stream", part.streams), ("key", part.keys)):
        if any(not each for each in names):
            raise ConfigurationError(f"a replay of an empty {what} is not possible; name it")


def candidates_of(supervised: Sequence[Supervised], copy: ReadModelCopy, part: Part) -> tuple[Candidate, ...]:
    """The projections of a replay, by name, with handlers that write the copy and nothing else."""
    return tuple(
        Candidate(narrowed(each.plan, part), copy.guard(each.handlers))
        for each in sorted(supervised, key=lambda each: each.plan.name)
    )


def supervised_of(candidate: Candidate, copy: ReadModelCopy) -> Supervised:
    """A candidate as the engine runs it."""
    return Supervised(candidate.plan, candidate.handlers, copy.key, copy.database)
