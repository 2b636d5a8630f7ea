"""``penstock replays``: read models built anew beside the live ones; looking at them, making them, having them fed.

Comparing and switching are in `_replays_switching`, the names of other systems in `_replays_aliases`.
"""

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from penstock.app import App
from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import DONE, PARTIAL, Refusal, WrongUsage
from penstock.cli._options import DryRun, Yes
from penstock.cli._person import login_name
from penstock.cli._replays_choosing import ask_for_key, ask_for_projections
from penstock.cli._replays_playing import playing
from penstock.cli._replays_shown import (
    intent_lines,
    plan_shown,
    played_line,
    replay_shown,
    replay_table,
)
from penstock.operations import Part, ReplayIntent, ReplayStep, parse_time

__all__ = ["NOUN", "Key", "Why", "app_if_any", "create_replay", "decided", "follow_replay", "start_replay"]

NOUN: Final = Noun(
    "replays", "Replays: read models built anew beside the live ones, compared, switched, and switched back."
)

Key = Annotated[str, typer.Argument(metavar="KEY", help="The key of the replay.")]
Why = Annotated[
    str | None, typer.Option("--why", metavar="TEXT", help="The reason, for the log of the replay.")
]
_Projections = Annotated[
    list[str], typer.Argument(metavar="PROJECTION...", help="One or several; also MODULE:CLASS of handlers.")
]
_Streams = Annotated[
    list[str] | None,
    typer.Option("--stream", metavar="STREAM", help="Only this event stream; may be given again."),
]
_Keys = Annotated[
    list[str] | None,
    typer.Option("--event-key", metavar="KEY", help="Only events of this key; may be given again."),
]
_After = Annotated[
    int, typer.Option("--after", metavar="POSITION", min=0, help="Only events above this position.")
]
_Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only events recorded from then on: 2026-05-03T10:00:00Z."),
]
_Rows = Annotated[
    list[str] | None,
    typer.Option(
        "--rows",
        metavar="TABLE=COLUMN",
        help="Of a part: the column that tells whose a row of this table is; may be given again.",
    ),
]


# -- looking --------------------------------------------------------------------------------------------------------


@NOUN.verb("list")
async def list_replays(cli: Cli) -> int:
    """List replays: state, how far they are, and whether they were verified."""
    async with cli.operations(app_if_any(cli)) as operations:
        found = await operations.replays.overview()
    if cli.out.json:
        cli.out.document(items=found.items, problems=found.problems)
    elif not found.items and found.problems:
        cli.out.say("No replays in the stores that could be looked at")
    elif not found.items:
        cli.out.say("No replays yet. Begin with: penstock replays create KEY PROJECTION...")
    else:
        replay_table(cli.out, found.items)
    for problem in found.problems:
        cli.out.warn(problem)
    return PARTIAL if found.problems else DONE


@NOUN.verb("show")
async def show_replay(cli: Cli, key: Key) -> None:
    """Show one replay: how far it is, what was played, what its last verification found, and what comes next."""
    async with cli.operations(app_if_any(cli)) as operations:
        detail = await operations.replays.show(key)
    if cli.out.json:
        cli.out.document(
            replay=detail.replay,
            progress=detail.progress,
            projections=detail.projections,
            live_versions=detail.live_versions,
            plays=detail.plays,
            verification=detail.verification,
            findings=detail.findings,
            log=detail.log,
            next_steps=detail.next_steps,
        )
    else:
        replay_shown(cli.out, detail)


# -- beginning ------------------------------------------------------------------------------------------------------


@NOUN.verb("plan")
async def plan_replay(
    cli: Cli,
    projections: _Projections,
    stream: _Streams = None,
    event_key: _Keys = None,
    after: _After = 0,
    since: _Since = None,
    rows: _Rows = None,
) -> None:
    """Tell what a replay would be about: events, time, disk, tables. Nothing is made."""
    part = _part(stream, event_key, after, rows, since)
    async with cli.operations(cli.app()) as operations:
        plan = await operations.replays.plan(projections, part=part)
    if cli.out.json:
        cli.out.document(plan=plan)
    else:
        plan_shown(cli.out, plan)


@NOUN.verb("create")
async def create_replay(
    cli: Cli,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="A new key, up to 200 bytes.")] = None,
    projections: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROJECTION...", help="One or several; also MODULE:CLASS of handlers."),
    ] = None,
    stream: _Streams = None,
    event_key: _Keys = None,
    after: _After = 0,
    since: _Since = None,
    rows: _Rows = None,
    processes: Annotated[
        int, typer.Option("--processes", metavar="N", min=1, help="How many play to it at once.")
    ] = 1,
    why: Why = None,
    dry_run: DryRun = False,
) -> None:
    """Make an empty copy of the read models of some projections, by the code's present definitions."""
    part = _part(stream, event_key, after, rows, since)
    app = cli.app()
    async with cli.operations(app) as operations:
        name = key if key is not None else ask_for_key(cli)
        chosen = projections or ask_for_projections(cli, app.projections)
        if dry_run:
            plan = await operations.replays.plan(chosen, name, part=part)
            if cli.out.json:
                cli.out.document(plan=plan, dry_run=True)
            else:
                plan_shown(cli.out, plan)
            return
        replay = await operations.replays.create(
            name, chosen, part=part, processes=processes, who=login_name(), why=why
        )
        next_steps = (await operations.replays.show(name)).next_steps
    if cli.out.json:
        cli.out.document(replay=replay, dry_run=False)
        return
    cli.out.say(f"Created replay {name} of {', '.join(replay.projections)}, in {replay.place}")
    cli.out.note(f"Next: {next_steps[0].command}")


@NOUN.verb("start")
async def start_replay(
    cli: Cli,
    key: Key,
    from_zero: Annotated[
        bool, typer.Option("--from-zero", help="Empty the copy first, and play all of history.")
    ] = False,
    why: Why = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> int:
    """Play history to the copy, from where it stands to the end of the store. May be started again and again."""
    app = cli.app()
    cli.logs(app)
    async with cli.operations(app) as operations:
        intent = await operations.replays.intent(key, "start", from_zero=from_zero)
        if not decided(cli, intent, yes=yes or not from_zero, dry_run=dry_run):
            return DONE
        async with playing(cli, operations, key, from_zero=from_zero) as told:
            progress = await operations.replays.start(
                key, from_zero=from_zero, on_progress=told.hear, who=login_name(), why=why
            )
    if cli.out.json:
        cli.out.document(progress=progress, handled=told.handled, seconds=told.seconds, dry_run=False)
    else:
        cli.out.say(played_line(progress, told.handled, told.seconds))
    return DONE


# -- following ------------------------------------------------------------------------------------------------------


@NOUN.verb("follow")
async def follow_replay(cli: Cli, key: Key, why: Why = None, dry_run: DryRun = False) -> int:
    """Have whoever runs the projections feed the copy, too. One that is behind is caught up first."""
    app = cli.app()
    cli.logs(app)
    async with cli.operations(app) as operations:
        intent = await operations.replays.intent(key, "follow")
        if not decided(cli, intent, yes=True, dry_run=dry_run):
            return DONE
        async with playing(cli, operations, key) as told:
            progress = await operations.replays.follow(key, on_progress=told.hear, who=login_name(), why=why)
    if cli.out.json:
        cli.out.document(progress=progress, handled=told.handled, dry_run=False)
    else:
        events = f"{told.handled:,} event{'' if told.handled == 1 else 's'}"
        first = f"caught up by {events} first; " if told.handled else ""
        cli.out.say(f"{key}: {first}whoever runs its projections feeds it now")
    return DONE


@NOUN.verb("unfollow")
async def unfollow_replay(cli: Cli, key: Key, why: Why = None, dry_run: DryRun = False) -> int:
    """Have nobody feed the copy any more; it stays as it is."""
    async with cli.operations(app_if_any(cli)) as operations:
        intent = await operations.replays.intent(key, "unfollow")
        if not decided(cli, intent, yes=True, dry_run=dry_run):
            return DONE
        progress = await operations.replays.unfollow(key, who=login_name(), why=why)
    if cli.out.json:
        cli.out.document(progress=progress, dry_run=False)
    else:
        cli.out.say(f"{key}: nobody feeds it any more")
    return DONE


def app_if_any(cli: Cli) -> App | None:
    """The app, whose code may say where stores are; ``None`` where there is none, or it cannot be loaded."""
    try:
        return cli.find_app()
    except Refusal as refusal:
        cli.out.warn(f"{refusal.message}; looking goes on with the settings alone")
        return None


def decided(cli: Cli, intent: ReplayIntent, *, yes: bool, dry_run: bool) -> bool:
    """Whether a step is to be taken: shown and not with --dry-run, asked for unless *yes*. Raises `Refusal`."""
    if dry_run:
        if cli.out.json:
            cli.out.document(
                step=intent.step,
                replay=intent.replay,
                says=intent.says,
                findings=intent.findings,
                refusals=intent.refusals,
                dry_run=True,
            )
        else:
            intent_lines(cli.out, intent)
        return False
    if not yes:
        cli.confirm(f"{_question(intent)}?", yes=False, affects=len(intent.replay.tables))
    return True


def _question(intent: ReplayIntent) -> str:
    said = "; ".join(intent.says)
    return f"{_ASKED[intent.step]} {intent.replay.key} ({said})"


_ASKED: Final[dict[ReplayStep, str]] = {
    "start": "Start",
    "follow": "Follow",
    "unfollow": "Unfollow",
    "verify": "Verify",
    "promote": "Promote",
    "roll back": "Roll back",
    "remove": "Remove",
}


def _part(
    streams: Sequence[str] | None,
    keys: Sequence[str] | None,
    after: int,
    rows: Sequence[str] | None,
    since: str | None,
) -> Part:
    columns: dict[str, str] = {}
    for each in rows or ():
        table, equals, column = each.partition("=")
        if not (table and equals and column):
            raise WrongUsage(
                f"--rows is {each!r}", remedy="write --rows TABLE=COLUMN, such as --rows totals=customer"
            )
        columns[table] = column
    moment = None if since is None else parse_time(since)
    return Part(tuple(streams or ()), tuple(keys or ()), after, columns, moment)
