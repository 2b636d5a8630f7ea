"""What the commands of projections and of relays do alike, whichever noun they are typed under."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final, TypeAlias, TypeVar

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
    None: "projections or relays",
}

T = TypeVar("T")
_Changed: TypeAlias = tuple[list[ProjectionChange], Sequence[str]]


@asynccontextmanager
async def naming(operations: Operations, kind: ProjectionKind | None) -> AsyncIterator[None]:
    """Within the block an unknown name becomes a refusal that proposes others."""
    try:
        yield
    except UnknownProjectionError as failure:
        found = await operations.projections.overview()
        of_kind = [each.name for each in found.items if kind in (None, each.kind)]
        kinds: dict[str, ProjectionKind] = {each.name: each.kind for each in found.items}
        raise Refusal(
            f"there is no {kind or 'projection or relay'} {failure.name!r}"
            + (" where it could be looked for" if found.problems else ""),
            remedy=_remedy(failure.name, kind, of_kind, kinds.get(failure.name), found.problems),
            did_you_mean=nearest(failure.name, of_kind),
            name=failure.name,
            problems=found.problems,
        ) from failure


def _remedy(
    name: str,
    kind: ProjectionKind | None,
    of_kind: Sequence[str],
    other: ProjectionKind | None,
    problems: Sequence[str],
) -> str:
    if other is not None:
        return f"{name!r} is a {other}: see `penstock {other}s --help`"
    if problems:
        return "; ".join(problems)
    if not of_kind:
        return f"there are no {_NOUNS[kind]} yet"
    return f"{_NOUNS[kind]}: {', '.join(of_kind[:10])}"


async def list_all(cli: Cli, kind: ProjectionKind) -> int:
    """List them with their states; exit code 3 if some store could not be asked."""
    async with cli.operations() as operations:
        found = await operations.projections.overview(kind)
    if cli.out.json:
        cli.out.document(items=found.items, problems=found.problems)
    elif not found.items and not found.problems:
        cli.out.say(f"No {_NOUNS[kind]} yet. They appear when they run for the first time: penstock run")
    elif found.items:
        projection_table(cli.out, found.items)
    return _warned(cli, found.problems)


async def show_one(cli: Cli, name: str, kind: ProjectionKind) -> None:
    """Show one with its error and the events that were put aside."""
    detail = await _found(cli, kind, lambda operations: operations.projections.show(name, kind))
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

    async def start(operations: Operations) -> _Changed:
        changes = await operations.projections.start(chosen, kind, who=login_name(), why=why)
        return changes, await _problems(operations, chosen)

    changes, problems = await _found(cli, kind, start)
    already = [each for each in changes if each.outcome is ProjectionOutcome.ALREADY]
    if names and len(already) == len(changes):
        raise _refusal(already[0], changes)
    return _tell(cli, changes, kind, problems, done="runs", already="was not stopped")


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

    async def stop(operations: Operations) -> _Changed:
        changes = await operations.projections.stop(chosen, kind, wait=wait, who=login_name(), why=why)
        return changes, await _problems(operations, chosen)

    changes, problems = await _found(cli, kind, stop)
    code = _tell(cli, changes, kind, problems, done="stopped", already="was stopped already")
    return PARTIAL if any(each.outcome is ProjectionOutcome.ASKED for each in changes) else code


async def retry_failed(
    cli: Cli, names: Sequence[str], kind: ProjectionKind | None, *, why: str | None = None
) -> int:
    """Have the failed ones go on at once: all of them, or those that are named."""

    async def retry(operations: Operations) -> _Changed:
        changes = await operations.projections.retry(list(names), kind, who=login_name(), why=why)
        return changes, await _problems(operations, names)

    changes, problems = await _found(cli, kind, retry)
    asked = [each for each in changes if each.outcome is not ProjectionOutcome.ALREADY]
    if cli.out.json:
        cli.out.document(items=changes, retried=len(asked), problems=problems)
    elif not asked and not names and not problems:
        cli.out.say(f"No {_NOUNS[kind]} have failed: there is nothing to retry")
    else:
        change_lines(cli.out, changes, done="goes on", already="has not failed")
    return REFUSED if names and not asked else _warned(cli, problems)


async def _found(cli: Cli, kind: ProjectionKind | None, ask: Callable[[Operations], Awaitable[T]]) -> T:
    """What *ask* answers with; the app's code is loaded only for names that have not run yet."""
    async with cli.operations() as operations:
        with contextlib.suppress(UnknownProjectionError):
            return await ask(operations)
    async with cli.operations(cli.find_app()) as operations, naming(operations, kind):
        return await ask(operations)


async def _problems(operations: Operations, names: Sequence[str]) -> Sequence[str]:
    """Why some store could not be looked at, where all are meant."""
    return () if names else (await operations.projections.overview()).problems


def _warned(cli: Cli, problems: Sequence[str]) -> int:
    for problem in problems:
        cli.out.warn(problem)
    return PARTIAL if problems else DONE


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
    cli: Cli,
    changes: Sequence[ProjectionChange],
    kind: ProjectionKind | None,
    problems: Sequence[str],
    *,
    done: str,
    already: str,
) -> int:
    if cli.out.json:
        cli.out.document(items=changes, problems=problems)
    elif not changes and not problems:
        cli.out.say(f"No {_NOUNS[kind]} yet")
    else:
        change_lines(cli.out, changes, done=done, already=already)
    return _warned(cli, problems)
