"""``penstock replays verify|promote|rollback|remove``: comparing a copy with what is live, and exchanging the two."""

import sys
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import typer

from penstock.app import App
from penstock.cli._cli import Cli
from penstock.cli._errors import DONE, REFUSED, NotCompared, WrongUsage
from penstock.cli._options import DryRun, Yes
from penstock.cli._output import forget_stdout, short_duration
from penstock.cli._person import login_name
from penstock.cli._replays import NOUN, Key, Why, app_if_any, decided
from penstock.cli._replays_shown import finding_lines, verification_shown
from penstock.errors import ReplayBusyError, ReplayRefusedError
from penstock.operations import ReplayIntent, Switched

__all__ = ["promote_replay", "remove_replay", "rollback_replay", "verify_replay"]

_Forced = Annotated[
    bool, typer.Option("--force", help="Also where what was looked at is in the way; needs --why.")
]


@NOUN.verb("verify")
async def verify_replay(
    cli: Cli,
    key: Key,
    check: Annotated[
        list[str] | None,
        typer.Option("--check", metavar="SQL", help="A query that must find no row in the copy."),
    ] = None,
    sample: Annotated[
        list[str] | None,
        typer.Option("--sample", metavar="SQL", help="A query that must answer the same on both sides."),
    ] = None,
    rows: Annotated[
        int,
        typer.Option("--rows", metavar="N", min=1, help="How many differing rows of each table are shown."),
    ] = 20,
) -> int:
    """Compare the copy with what is live, at one position. Exit code 1: differences, 2: not compared now, try again."""
    app = cli.app()
    cli.logs(app)
    async with cli.operations(app) as operations:
        with cli.out.progress(f"Verifying {key}", total=None) as bar:
            try:
                report = await operations.replays.verify(
                    key,
                    checks=check or (),
                    samples=sample or (),
                    rows=rows,
                    on_progress=lambda text: bar.to(0, text),
                    who=login_name(),
                )
            except ReplayBusyError as busy:
                raise NotCompared(busy) from busy
    try:
        if cli.out.json:
            cli.out.document(verification=report, is_green=report.is_green)
        else:
            verification_shown(cli.out, report)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads only the first line is still told by the exit code.
        forget_stdout()
    return DONE if report.is_green else REFUSED


@NOUN.verb("promote")
async def promote_replay(
    cli: Cli,
    key: Key,
    force: _Forced = False,
    why: Why = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> int:
    """Make the copy live, all its tables at once. What was live is kept and fed, so that you can roll back."""
    _check_reason(why, force=force)
    return await _switch(cli, cli.app(), key, _PROMOTION, force=force, why=why, yes=yes, dry_run=dry_run)


@NOUN.verb("rollback")
async def rollback_replay(
    cli: Cli,
    key: Key,
    force: _Forced = False,
    why: Why = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> int:
    """Make the former read model live again, by the same switch. The copy then follows as before."""
    _check_reason(why, force=force)
    return await _switch(cli, app_if_any(cli), key, _WAY_BACK, force=force, why=why, yes=yes, dry_run=dry_run)


@NOUN.verb("remove")
async def remove_replay(
    cli: Cli, key: Key, why: Why = None, yes: Yes = False, dry_run: DryRun = False
) -> int:
    """Drop the copy and the record of a replay. What is live stays; of a promoted one the former goes."""
    async with cli.operations(app_if_any(cli)) as operations:
        intent = await operations.replays.intent(key, "remove")
        if not decided(cli, intent, yes=yes, dry_run=dry_run):
            return DONE
        replay = await operations.replays.remove(key, who=login_name(), why=why)
    if cli.out.json:
        cli.out.document(replay=replay, dry_run=False)
    else:
        former = "the former read model" if replay.state == "promoted" else "its copy"
        cli.out.say(f"{key}: removed, with {former}; what is live stays")
    return DONE


def _check_reason(why: str | None, *, force: bool) -> None:
    if force and not (why or "").strip():
        raise WrongUsage("--force needs a reason, which is recorded", remedy="say --why TEXT")


@dataclass(frozen=True, slots=True)
class _Way:
    """One way of the switch: its step, and what is said of it."""

    step: Literal["promote", "roll back"]
    refused: str
    doing: str
    done: str


_PROMOTION: Final = _Way("promote", "be promoted", "Promoting", "live")
_WAY_BACK: Final = _Way("roll back", "be rolled back", "Rolling back", "rolled back")


async def _switch(
    cli: Cli, app: App | None, key: str, way: _Way, *, force: bool, why: str | None, yes: bool, dry_run: bool
) -> int:
    cli.logs(app)
    async with cli.operations(app) as operations:
        replays = operations.replays
        intent = await replays.intent(key, way.step, force=force)
        if not _decided(cli, intent, yes=yes, dry_run=dry_run, step=way.refused):
            return REFUSED if intent.refusals else DONE
        switch = replays.promote if way is _PROMOTION else replays.rollback
        with cli.out.progress(f"{way.doing} {key}", total=None) as bar:
            switched = await switch(
                key, force=force, say=lambda text: bar.to(0, text), who=login_name(), why=why
            )
    _tell(cli, intent, switched, way.done)
    return DONE


def _decided(cli: Cli, intent: ReplayIntent, *, yes: bool, dry_run: bool, step: str) -> bool:
    """As `decided`, and refused before anybody is asked. Raises `ReplayRefusedError`."""
    if not dry_run:
        if intent.refusals:
            raise ReplayRefusedError(intent.replay.key, step=step, reasons=intent.refusals)
        if not yes:
            finding_lines(cli.out, intent.findings, asking=True)
    return decided(cli, intent, yes=yes, dry_run=dry_run)


def _tell(cli: Cli, intent: ReplayIntent, switched: Switched, done: str) -> None:
    if cli.out.json:
        cli.out.document(key=intent.replay.key, switched=switched, dry_run=False)
        return
    gave_way = f", after giving way {switched.tries} times" if switched.tries else ""
    cli.out.say(
        f"{intent.replay.key}: {done} at position {switched.position:,} ({', '.join(switched.tables)}; "
        f"locked for {short_duration(switched.locked.total_seconds())}{gave_way})"
    )
