"""``penstock run``: the app at work."""

import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from penstock.app import App
from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import Refusal, WrongUsage
from penstock.cli._near import nearest
from penstock.cli._pool import Backlog, Bounds
from penstock.cli._running import work_until_signalled
from penstock.cli._supervising import Supervisor
from penstock.cli._watching import Watch
from penstock.clock import parse_duration
from penstock.operations import Operations, Work
from penstock.telemetry import LOGGER

__all__ = ["add_to", "refuse_eviction", "work_app"]

_KINDS = ("group", "broadcast")
_BROADCAST = "(broadcast)"


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
            help="Only this part: group:NAME, group, broadcast; may be given again.",
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
    """Run the app: every group and broadcast listener, until a signal comes.

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
        _, groups = await _prepared(loaded, only or [], force=force)
        return await Supervisor(
            arguments, bounds=bounds, backlog=_backlog_of(loaded, groups), idle=idle
        ).run()
    finally:
        await loaded.close()


def _backlog_of(app: App, groups: Mapping[str, tuple[str, ...]]) -> Backlog:
    """Measures how many events wait for the groups that are worked."""
    operations = Operations(app)

    async def backlog() -> int:
        found = await operations.groups()
        return sum(each.lag_entries for each in found if each.stream in groups.get(each.name, ()))

    return backlog


async def _run_here(
    cli: Cli, only: list[str], *, until_idle: bool, idle_exit: timedelta | None, force: bool
) -> int:
    app = cli.app()
    cli.logs(app)
    try:
        work, groups = await _prepared(app, only, force=force, until_idle=until_idle, idle_exit=idle_exit)
        return await work_app(cli, app, work, groups)
    finally:
        await app.close()


async def _prepared(
    app: App,
    only: list[str],
    *,
    force: bool,
    until_idle: bool = False,
    idle_exit: timedelta | None = None,
) -> tuple[Work, Mapping[str, tuple[str, ...]]]:
    _ = app.settings  # they may declare groups
    work = Work(app, only=_groups(app, only), until_idle=until_idle, idle_exit=idle_exit)
    groups = await work.prepare()
    await refuse_eviction(work, force=force)
    return work, groups


async def work_app(cli: Cli, app: App, work: Work, groups: Mapping[str, tuple[str, ...]]) -> int:
    """Work until the end or a signal, and say so."""

    def say() -> None:
        if cli.out.json:
            cli.out.line(event="started", app=app.name, groups=groups)
        for group, streams in groups.items():
            LOGGER.info("%s: working %s over %s", app.name, _shown(group), ", ".join(streams))

    try:
        return await work_until_signalled(work, say=say)
    finally:
        counts = work.counts
        if cli.out.json:
            cli.out.line(event="ended", app=app.name, counts=counts)
        LOGGER.info(
            "%s: ended; %d messages taken in, %d handled, %d failed, %d run again",
            app.name,
            counts.delivered,
            counts.handled,
            counts.failed,
            counts.retried,
        )


async def refuse_eviction(work: Work, *, force: bool) -> None:
    """Wait for the servers. Raises `Refusal` where one may delete streams by itself, unless forced."""
    await work.wait_for_servers()
    problems = [] if force else await Operations(work.app).eviction_problems()
    if problems:
        raise Refusal("; ".join(problems), remedy="set it to noeviction, or say --force")


def _groups(app: App, only: list[str]) -> list[str]:
    """The names of the groups that ``--only`` means. Raises `WrongUsage`, `Refusal`."""
    declared = [group.name for group in app.registry if not group.broadcast]
    chosen: list[str] = []
    for each in only:
        kind, colon, name = each.partition(":")
        if not colon and each in declared:
            chosen.append(each)
        elif kind == "group" and not name:
            chosen += declared
        elif kind == "broadcast" and not name:
            chosen.append(_BROADCAST)
        elif kind == "group" and name in declared:
            chosen.append(name)
        elif kind == "group" or not colon:
            raise Refusal(
                f"app {app.name!r} has no group {name or each!r}",
                remedy=f"it has {', '.join(sorted(declared)) or 'none'}",
                did_you_mean=nearest(name or each, [*declared, *_KINDS]),
            )
        else:
            raise WrongUsage(
                f"--only knows no kind {kind!r}",
                remedy=f"kinds are {', '.join(_KINDS)}",
                did_you_mean=nearest(kind, _KINDS),
            )
    return list(dict.fromkeys(chosen))


def _shown(group: str) -> str:
    return "broadcast listeners" if group.startswith("(") else f"group {group}"
