"""``penstock projections``: how far they are, what is wrong with them, and having them run, stop or begin again."""

from contextlib import aclosing
from typing import Annotated, Final

import typer

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import DONE, PARTIAL, REFUSED, WrongUsage
from penstock.cli._options import DryRun, Yes
from penstock.cli._person import Why, login_name
from penstock.cli._projections_common import (
    list_all,
    naming,
    retry_failed,
    show_one,
    start_some,
    stop_some,
)
from penstock.cli._projections_shown import change_lines
from penstock.clock import parse_duration
from penstock.operations import CaughtUpTo, ProjectionKind, ProjectionOutcome

__all__ = ["NOUN", "All", "Name", "Names", "Wait"]

NOUN: Final = Noun("projections", "Projections: how far they are, and having them run, stop or begin again.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME...]", help="One or several.")]
All = Annotated[bool, typer.Option("--all", help="Every one.")]
Wait = Annotated[
    str, typer.Option("--wait", metavar="DURATION", help="How long to wait until it has taken effect.")
]


@NOUN.verb("list")
async def list_projections(cli: Cli) -> int:
    """List projections: state, position, lag, who runs them, and the error of those that failed."""
    return await list_all(cli, "projection")


@NOUN.verb("show")
async def show_projection(cli: Cli, name: Name) -> None:
    """Show one projection with its error and the events that it could not handle."""
    await show_one(cli, name, "projection")


@NOUN.verb("start", aliases=("projector:consuming:start",))
async def start_projections(cli: Cli, names: Names = None, everything: All = False, why: Why = None) -> int:
    """Have projections run again that were stopped; `penstock run` runs them."""
    return await start_some(cli, names or [], "projection", everything=everything, why=why)


@NOUN.verb("stop", aliases=("projector:consuming:stop",))
async def stop_projections(
    cli: Cli, names: Names = None, everything: All = False, wait: Wait = "10s", why: Why = None
) -> int:
    """Have projections stop between two events, wherever they run, until they are started again."""
    return await stop_some(
        cli, names or [], "projection", everything=everything, wait=parse_duration(wait), why=why
    )


@NOUN.alias("projector:all:consuming:stop")
async def stop_all_projections(cli: Cli, wait: Wait = "10s") -> int:
    """Have every projection stop."""
    return await stop_some(cli, [], "projection", everything=True, wait=parse_duration(wait))


@NOUN.verb("retry", aliases=("projections:retry",))
async def retry_projections(cli: Cli, names: Names = None, why: Why = None) -> int:
    """Have failed projections and relays go on at once, all of them unless named. It never asks."""
    return await retry_failed(cli, names or [], None, why=why)


@NOUN.verb("reload")
async def reload_projections(cli: Cli) -> None:
    """Have every `penstock run` with projections or relays drain and begin again with the present code."""
    async with cli.operations() as operations:
        changes = await operations.projections.reload()
    if cli.out.json:
        cli.out.document(items=changes)
    elif not changes:
        cli.out.say("Nobody runs any: there is nothing to reload")
    else:
        change_lines(cli.out, changes, done="begins again", already="")


@NOUN.verb("catch-up")
async def catch_up(cli: Cli, names: Names = None, everything: All = False, why: Why = None) -> int:
    """Run projections here until everything there is has been handled, then end."""
    if everything == bool(names):
        raise WrongUsage("name one or several, or say --all")
    app = cli.app()
    cli.logs(app)
    done: dict[str, CaughtUpTo] = {}
    async with cli.operations(app) as operations, naming(operations, None):
        steps = operations.projections.catch_up(names or [], who=login_name(), why=why)
        with cli.out.progress("Catching up", total=None) as bar:
            async with aclosing(steps):
                async for step in steps:
                    bar.to(step.position, f"{step.name}: position {step.position:,} of {step.head:,}")
                    if step.is_done:
                        done[step.name] = step
    if cli.out.json:
        cli.out.document(
            items=[
                {"name": each.name, "position": each.position, "is_stopped": each.is_stopped}
                for each in done.values()
            ]
        )
    else:
        for each in done.values():
            cli.out.say(f"{each.name}: {_how_far(each)}")
        if not done:
            cli.out.say("The app declares no projections")
    stopped = [each for each in done.values() if each.is_stopped]
    return DONE if not stopped else REFUSED if len(stopped) == len(done) else PARTIAL


def _how_far(step: CaughtUpTo) -> str:
    if not step.is_stopped:
        return f"caught up to position {step.position:,}"
    return (
        f"is stopped at position {step.position:,} of {step.head:,}; "
        f"`penstock projections start {step.name}` lets it go on"
    )


@NOUN.verb("reset")
async def reset_projection(
    cli: Cli, name: Name, why: Why = None, yes: Yes = False, dry_run: DryRun = False
) -> int:
    """Empty a projection's read model and have it, or a relay, begin again at the first event."""
    return await _begin_again(cli, name, why=why, yes=yes, dry_run=dry_run)


@NOUN.verb("delete")
async def delete_projection(
    cli: Cli,
    name: Name,
    read_model: Annotated[bool, typer.Option("--read-model", help="Remove its read model, too.")] = False,
    emitted: Annotated[
        bool, typer.Option("--emitted", help="Remove the event streams that it derives, too.")
    ] = False,
    why: Why = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> int:
    """Forget a projection or relay: its position, its state and its failures, and what else is said."""
    return await _begin_again(
        cli, name, why=why, yes=yes, dry_run=dry_run, delete=True, read_model=read_model, emitted=emitted
    )


async def _begin_again(
    cli: Cli,
    name: str,
    *,
    why: str | None,
    yes: bool,
    dry_run: bool,
    delete: bool = False,
    read_model: bool = False,
    emitted: bool = False,
) -> int:
    # Only the app's code knows the read model; without one, a record that nobody declares can still be forgotten.
    app = cli.find_app() if read_model or emitted or not delete else None
    if app is None and (read_model or emitted or not delete):
        app = cli.app()
    async with cli.operations(app) as operations, naming(operations, None):
        status = (await operations.projections.show(name)).status
        what = _what(status.kind, delete, read_model, emitted)
        if dry_run:
            if cli.out.json:
                cli.out.document(status=status, dry_run=True)
            cli.out.say(f"{name} is at position {status.position:,}. {what}: that would be done")
            return DONE
        cli.confirm(f"{name} is at position {status.position:,}. {what}?", yes=yes, affects=status.position)
        change = await (
            operations.projections.delete(
                name, read_model=read_model, emitted=emitted, who=login_name(), why=why
            )
            if delete
            else operations.projections.reset(name, who=login_name(), why=why)
        )
    if cli.out.json:
        cli.out.document(status=status, change=change, dry_run=False)
    else:
        change_lines(cli.out, [change], done="deleted" if delete else "begins again", already="was not there")
    return PARTIAL if change.outcome is ProjectionOutcome.ASKED else DONE


def _what(kind: ProjectionKind, delete: bool, read_model: bool, emitted: bool) -> str:
    if not delete and kind == "relay":
        return "Hand everything on once more; stores pass over what they have, streams do not"
    if not delete:
        return "Empty its read model and begin again at the first event"
    parts = [
        "its position",
        *(["its read model"] if read_model else []),
        *(["what it emitted"] if emitted else []),
    ]
    return f"Forget {', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else f"Forget {parts[0]}"
