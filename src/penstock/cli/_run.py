"""``penstock run``: the app at work."""

import sys
from collections.abc import Collection, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from penstock.app import App
from penstock.cli._beginning_again import AGAIN, Reloads
from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import DONE, Refusal, WrongUsage
from penstock.cli._near import nearest
from penstock.cli._pool import Backlog, Bounds
from penstock.cli._running import work_until_signalled
from penstock.cli._supervising import Supervisor
from penstock.cli._watching import Watch
from penstock.clock import parse_duration
from penstock.operations import Operations, Work
from penstock.telemetry import LOGGER

__all__ = ["add_to", "refuse_eviction", "work_app"]

_KINDS = ("group", "broadcast", "projection", "relay")
_BROADCAST = "(broadcast)"
_MOVING = ("running", "catching_up", "idle")
"""The states of projections in which what waits is being worked off, or could be."""


def add_to(root: Noun) -> None:
    """Add the command."""
    root.verb("run", fast=True)(run)


async def run(
    cli: Cli,
    app: Annotated[
        str | None, typer.Argument(metavar="APP", help="MODULE[:NAME]; the same as --app.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="KIND[:NAME]",
            help="Only this part: group:NAME, projection:NAME, relay:NAME, or all of a kind; may be given again.",
        ),
    ] = None,
    processes: Annotated[
        str,
        typer.Option(
            "--processes",
            "-p",
            metavar="N|MIN-MAX",
            help="Worker processes; a dead one is started again. With bounds: more while events wait.",
        ),
    ] = "1",
    idle_timeout: Annotated[
        str,
        typer.Option(
            "--idle-timeout",
            metavar="DURATION",
            help="With bounds: how long nothing must wait before one process is drained.",
        ),
    ] = "30s",
    reload: Annotated[
        bool, typer.Option("--reload", help="Drain and start again whenever the code changes.")
    ] = False,
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when everything there is has been handled.")
    ] = False,
    idle_exit: Annotated[
        str | None,
        typer.Option("--idle-exit", metavar="DURATION", help="End when nothing has moved for so long."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", help="Work even on a server that may evict streams at its memory limit."),
    ] = False,
) -> int:
    """Run the app: every group, broadcast listener, projection and relay, until a signal comes.

    The first SIGINT or SIGTERM drains: what was begun is finished, then the exit code is 0. The second stops at once.
    """
    if app is not None and cli.options.app not in (None, app):
        raise WrongUsage(f"the app is given twice, as {app} and as {cli.options.app}")
    if until_idle and idle_exit is not None:
        raise WrongUsage("--until-idle ends sooner than --idle-exit ever would; give one of them")
    if reload and (until_idle or idle_exit is not None):
        raise WrongUsage("--reload starts again, and --until-idle and --idle-exit end; leave one out")
    wait = None if idle_exit is None else parse_duration(idle_exit)
    bounds, idle = Bounds.parse(processes), parse_duration(idle_timeout)
    if bounds.is_range and (until_idle or idle_exit is not None):
        raise WrongUsage("a pool with bounds never ends by itself; give --processes one number")
    cli = cli.with_app(app)
    if bounds.most == 1 and not reload:
        return await _run_here(cli, only or [], until_idle=until_idle, idle_exit=wait, force=force)
    if sys.platform == "win32":
        raise Refusal(
            "--processes and --reload need signals, which Windows does not have", remedy="leave them out"
        )
    settings = cli.settings()
    cli.logs()
    arguments = [
        *cli.options.as_arguments(),
        "run",
        *(word for part in only or [] for word in ("--only", part)),
        *(["--until-idle"] if until_idle else []),
        *(["--idle-exit", idle_exit] if idle_exit is not None else []),
        *(["--force"] if force else []),
    ]
    if reload:
        folders = [Path.cwd(), *([settings.file.parent] if settings.file is not None else [])]
        if bounds.is_range:
            raise WrongUsage("--reload keeps one number of processes; give --processes one")
        return await Supervisor(arguments, bounds=bounds, watch=Watch(folders)).run()
    loaded = cli.app()
    try:
        # What no worker could start with is found here, once, and not by every worker for ever.
        work, groups = await _prepared(loaded, only or [], force=force)
        backlog = _backlog_of(loaded, groups, (*work.projections, *work.relays))
        return await Supervisor(arguments, bounds=bounds, backlog=backlog, idle=idle).run()
    finally:
        await loaded.close()


def _backlog_of(app: App, groups: Mapping[str, tuple[str, ...]], projected: Collection[str]) -> Backlog:
    """Measures how many events wait for the groups that are worked, and for projections and relays.

    One that stands still takes no more workers than it has.
    """
    operations = Operations(app)

    async def backlog() -> int:
        waiting = 0
        if groups:
            found = await operations.groups()
            waiting = sum(each.lag_entries for each in found if each.stream in groups.get(each.name, ()))
        if projected:
            told = await operations.projections.overview()
            moving = [each for each in told.items if each.name in projected and each.state in _MOVING]
            waiting += sum(each.lag_events for each in moving)
        return waiting

    return backlog


async def _run_here(
    cli: Cli, only: list[str], *, until_idle: bool, idle_exit: timedelta | None, force: bool
) -> int:
    app, reloads = cli.app(), Reloads()
    cli.logs(app)
    try:
        work, groups = await _prepared(
            app, only, force=force, until_idle=until_idle, idle_exit=idle_exit, reloads=reloads
        )
        return await work_app(cli, app, work, groups, reloads)
    finally:
        await app.close()


async def _prepared(
    app: App,
    only: list[str],
    *,
    force: bool,
    until_idle: bool = False,
    idle_exit: timedelta | None = None,
    reloads: Reloads | None = None,
) -> tuple[Work, Mapping[str, tuple[str, ...]]]:
    _ = app.settings  # they may declare groups
    work = Work(
        app,
        only=_parts(app, only),
        until_idle=until_idle,
        idle_exit=idle_exit,
        on_reload=reloads.ask if reloads is not None else None,
    )
    groups = await work.prepare()
    await refuse_eviction(work, force=force)
    return work, groups


async def work_app(
    cli: Cli, app: App, work: Work, groups: Mapping[str, tuple[str, ...]], reloads: Reloads
) -> int:
    """Work until the end or a signal, and say so; the exit code, `AGAIN` when it ended for a reload."""

    def say() -> None:
        if cli.out.json:
            cli.out.line(
                event="started", app=app.name, groups=groups, projections=work.projections, relays=work.relays
            )
        for group, streams in groups.items():
            LOGGER.info("%s: working %s over %s", app.name, _shown(group), ", ".join(streams))
        for kind, names in (("projection", work.projections), ("relay", work.relays)):
            for name in names:
                LOGGER.info("%s: running %s %s", app.name, kind, name)

    try:
        return await work_until_signalled(work, say=say, ended=lambda: AGAIN if reloads.is_asked else DONE)
    finally:
        counts = work.counts
        if cli.out.json:
            cli.out.line(event="ended", app=app.name, counts=counts)
        if groups:
            LOGGER.info(
                "%s: ended; %d messages taken in, %d handled, %d failed, %d run again",
                app.name,
                counts.delivered,
                counts.handled,
                counts.failed,
                counts.retried,
            )
        else:
            LOGGER.info("%s: ended", app.name)


async def refuse_eviction(work: Work, *, force: bool) -> None:
    """Wait for the servers. Raises `Refusal` where one may delete streams by itself, unless forced."""
    if not work.needs_servers:
        return
    await work.wait_for_servers()
    problems = [] if force else await Operations(work.app).eviction_problems()
    if problems:
        raise Refusal("; ".join(problems), remedy="set it to noeviction, or say --force")


def _parts(app: App, only: list[str]) -> list[str]:
    """The parts that ``--only`` means, as `Work` takes them. Raises `WrongUsage`, `Refusal`."""
    known = {
        "group": [group.name for group in app.registry if not group.broadcast],
        "projection": sorted(app.projections),
        "relay": sorted(app.relay_names),
    }
    chosen: list[str] = []
    for each in only:
        kind, colon, name = each.partition(":")
        if not colon and (of := next((kind for kind, names in known.items() if each in names), None)):
            chosen.append(_part(of, each))
        elif kind == "broadcast" and not name:
            chosen.append(_BROADCAST)
        elif kind in known:
            names = [name] if name else known[kind]
            if not names or not set(names) <= set(known[kind]):
                raise _unknown(app, kind, name, known[kind])
            chosen += [_part(kind, each) for each in names]
        elif not colon:
            raise _unknown(app, "group", each, known["group"])
        else:
            raise WrongUsage(
                f"--only knows no kind {kind!r}",
                remedy=f"kinds are {', '.join(_KINDS)}",
                did_you_mean=nearest(kind, _KINDS),
            )
    return list(dict.fromkeys(chosen))


def _part(kind: str, name: str) -> str:
    return name if kind == "group" else f"{kind}:{name}"


def _unknown(app: App, kind: str, name: str, known: list[str]) -> Refusal:
    return Refusal(
        f"app {app.name!r} has no {kind} {name!r}" if name else f"app {app.name!r} has no {kind}",
        remedy=f"it has {', '.join(sorted(known)) or 'none'}",
        did_you_mean=nearest(name, [*known, *_KINDS]) if name else (),
    )


def _shown(group: str) -> str:
    return "broadcast listeners" if group.startswith("(") else f"group {group}"
