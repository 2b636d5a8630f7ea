"""What the commands of projections and of relays do alike, whichever noun they are typed under."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

from penstock.cli._cli import Cli
from penstock.cli._errors import DONE, PARTIAL, REFUSED, Refusal, WrongUsage
from penstock.cli._near import nearest
from penstock.cli._person import login_name
from penstock.cli._projections_shown import change_lines, projection_table, show_projection
from penstock.errors import UnknownProjectionError
from penstock.operations import Operations, ProjectionChange, ProjectionKind, ProjectionOutcome

__all__ = ["list_all", "naming", "retry_failed", "show_one", "start_some", "stop_some"]

_NOUNS: Final[dict[ProjectionKind | None, str]] = {
    "projection": "projections",
    "relay": "relays",
    None: "projections and relays",
}


@asynccontextmanager
async def naming(operations: Operations, kind: ProjectionKind | None) -> AsyncIterator[None]:
    """Within the block an unknown name becomes a refusal that proposes others."""
    try:
        yield
    except UnknownProjectionError as failure:
        known = [each.name for each in (await operations.projections.overview(kind)).items]
        what = kind or "projection or relay"
        raise Refusal(
            f"there is no {what} {failure.name!r}",
            remedy=f"{_NOUNS[kind]}: {', '.join(known[:10])}"
            if known
            else f"there are no {_NOUNS[kind]} yet",
            did_you_mean=nearest(failure.name, known),
            name=failure.name,
        ) from failure


async def list_all(cli: Cli, kind: ProjectionKind) -> int:
    """List them with their states; exit code 3 if some store could not be asked."""
    async with cli.operations() as operations:
        found = await operations.projections.overview(kind)
    if cli.out.json:
        cli.out.document(items=found.items, problems=found.problems)
    elif not found.items:
        cli.out.say(f"No {_NOUNS[kind]} yet. They appear when they run for the first time: penstock run")
    else:
        projection_table(cli.out, found.items)
    for problem in found.problems:
        cli.out.warn(problem)
    return PARTIAL if found.problems else DONE


async def show_one(cli: Cli, name: str, kind: ProjectionKind) -> None:
    """Show one with its error and the events that were put aside."""
    async with cli.operations() as operations, naming(operations, kind):
        detail = await operations.projections.show(name, kind)
    if cli.out.json:
        cli.out.document(status=detail.status, failures=detail.failures)
        return
    show_projection(cli.out, detail)


async def start_some(
    cli: Cli,
    names: Sequence[str],
    kind: ProjectionKind | None,
    *,
    everything: bool,
    why: str | None = None,
) -> int:
    """Have them run again that were stopped."""
    chosen = _chosen(names, everything)
    async with cli.operations() as operations, naming(operations, kind):
        changes = await operations.projections.start(chosen, kind, who=login_name(), why=why)
    already = [each for each in changes if each.outcome is ProjectionOutcome.ALREADY]
    if names and len(already) == len(changes):
        raise _refusal(already[0], changes)
    return _tell(cli, changes, kind, done="runs", already="was not stopped")


async def stop_some(
    cli: Cli,
    names: Sequence[str],
    kind: ProjectionKind | None,
    *,
    everything: bool,
    wait: timedelta,
    why: str | None = None,
) -> int:
    """Have them stop, wherever they run, and wait for that."""
    chosen = _chosen(names, everything)
    async with cli.operations() as operations, naming(operations, kind):
        changes = await operations.projections.stop(chosen, kind, wait=wait, who=login_name(), why=why)
    _tell(cli, changes, kind, done="stopped", already="was stopped already")
    return PARTIAL if any(each.outcome is ProjectionOutcome.ASKED for each in changes) else DONE


async def retry_failed(
    cli: Cli, names: Sequence[str], kind: ProjectionKind | None, *, why: str | None = None
) -> int:
    """Have the failed ones go on at once: all of them, or those that are named."""
    async with cli.operations() as operations, naming(operations, kind):
        changes = await operations.projections.retry(list(names), kind, who=login_name(), why=why)
    asked = [each for each in changes if each.outcome is not ProjectionOutcome.ALREADY]
    if cli.out.json:
        cli.out.document(items=changes, retried=len(asked))
    elif not asked and not names:
        cli.out.say(f"No {_NOUNS[kind]} have failed: there is nothing to retry")
    else:
        change_lines(cli.out, changes, done="goes on", already="has not failed")
    return REFUSED if names and not asked else DONE


def _refusal(first: ProjectionChange, changes: Sequence[ProjectionChange]) -> Refusal:
    """Why none of those that were named was started."""
    if first.holder is not None:
        return Refusal(
            f"{first.kind} {first.name!r} is run already, by {first.holder}; nothing was started",
            remedy=f"`penstock {first.kind}s show {first.name}` tells how far it is",
            items=changes,
        )
    return Refusal(
        f"{first.kind} {first.name!r} is not stopped, and nobody runs it at the moment",
        remedy=f"`penstock run --only {first.kind}:{first.name}` runs it",
        items=changes,
    )


def _chosen(names: Sequence[str], everything: bool) -> list[str]:
    if everything and names:
        raise WrongUsage("--all means every one; leave it out to name some")
    if not everything and not names:
        raise WrongUsage("nothing says which", remedy="name one or several, or say --all")
    return list(dict.fromkeys(names))


def _tell(
    cli: Cli, changes: Sequence[ProjectionChange], kind: ProjectionKind | None, *, done: str, already: str
) -> int:
    if cli.out.json:
        cli.out.document(items=changes)
    elif not changes:
        cli.out.say(f"No {_NOUNS[kind]} yet")
    else:
        change_lines(cli.out, changes, done=done, already=already)
    return DONE
