"""``penstock listen``: hear some events, with the app's listeners, or just to see them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Annotated, Any

import typer
from rich.text import Text

from penstock.app import App
from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import Refusal, WrongUsage
from penstock.cli._near import nearest
from penstock.cli._output import Output, clean, short_duration
from penstock.cli._plain import plain
from penstock.cli._run import refuse_eviction
from penstock.cli._running import work_until_signalled
from penstock.cli._streams import show_entry
from penstock.clock import parse_duration
from penstock.operations import (
    AfterAcknowledged,
    EntryView,
    HandlerRun,
    Operations,
    Work,
    event_listeners,
    purge_handled,
    unheard,
)
from penstock.position import NEW, Start, parse_start

__all__ = ["add_to"]


def add_to(root: Noun) -> None:
    """Add the command."""
    root.verb("listen", aliases=("streamer:listen",), fast=True)(listen)


async def listen(
    cli: Cli,
    events: Annotated[list[str] | None, typer.Argument(metavar="EVENT", help="Names of events.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="All events that have listeners; without an app, all streams.")
    ] = False,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", metavar="GROUP", help="As a member of this consumer group.  [default: without a group]"
        ),
    ] = None,
    consumer: Annotated[
        str | None,
        typer.Option(
            "--consumer", metavar="NAME", help="Under this name in the group.  [default: host and slot]"
        ),
    ] = None,
    reclaim: Annotated[
        str | None,
        typer.Option(
            "--reclaim", metavar="DURATION", help="First take over what others have left pending for so long."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from",
            "--last-id",
            "--last_id",
            metavar="new|beginning|ID|TIME",
            help="Where to begin.  [default: new; a group: where it stands]",
        ),
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="End when everything there is has been handled.")
    ] = False,
    idle_exit: Annotated[
        str | None,
        typer.Option("--idle-exit", metavar="DURATION", help="End when nothing has moved for so long."),
    ] = None,
    keep_alive: Annotated[
        bool, typer.Option("--keep-alive", help="Start again after an error that is no listener's.")
    ] = False,
    max_attempts: Annotated[
        int | None, typer.Option("--max-attempts", metavar="N", min=1, help="Start again at most so often.")
    ] = None,
    purge: Annotated[
        bool, typer.Option("--purge", help="Remove what was handled from the stream, once nobody needs it.")
    ] = False,
    archive: Annotated[
        bool, typer.Option("--archive", help="Archive what was handled, once nobody else needs it.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No line per message.")] = False,
    force: Annotated[
        bool,
        typer.Option("--force", help="Work even on a server that may evict streams at its memory limit."),
    ] = False,
) -> int:
    """Listen to events with the app's listeners, a line for each run; without an app the messages are shown.

    Without --group every new event is heard, nothing is acknowledged, and a failing listener is only reported. With
    --group the listeners of that group work as `penstock run` has them work.
    """
    wanted = _Wanted(
        events=tuple(dict.fromkeys(name for each in events or [] for name in each.split(",") if name)),
        everything=everything,
        group=group,
        consumer=consumer,
        reclaim=None if reclaim is None else parse_duration(reclaim),
        start=None if start is None else parse_start(start),
        once=once,
        idle_exit=None if idle_exit is None else parse_duration(idle_exit),
        keep_alive=keep_alive,
        max_attempts=max_attempts,
        purge=purge,
        archive=archive,
        quiet=quiet,
    )
    wanted.check()
    app = cli.find_app()
    cli.logs(app, shows_failures=app is not None and not quiet)
    listening = app or App.of_settings(cli.settings())
    try:
        if wanted.archive:
            wanted = replace(wanted, after=await Operations(listening).archive.after_handled())
        make = _app_work if app is not None else _showing_work
        work = await make(cli.out, listening, wanted)
        groups = await work.prepare()
        await refuse_eviction(work, force=force or group is None)
        streams = list(dict.fromkeys(stream for several in groups.values() for stream in several))
        text = f"Listening to {', '.join(streams)}" + (f" as group {group}" if group else "")
        return await work_until_signalled(work, say=lambda: cli.out.note(text))
    finally:
        await listening.close()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the command line asks for."""

    events: tuple[str, ...]
    everything: bool
    group: str | None
    consumer: str | None
    reclaim: timedelta | None
    start: Start | None
    once: bool
    idle_exit: timedelta | None
    keep_alive: bool
    max_attempts: int | None
    purge: bool
    archive: bool
    quiet: bool
    after: AfterAcknowledged | None = None
    """What is done with handled messages; archiving removes them, too, so it goes before purging."""

    def check(self) -> None:
        """Refuse, by name, what makes no sense together. Raises `WrongUsage`."""
        if self.everything and self.events:
            raise WrongUsage(f"--all means every event; leave it out to hear only {', '.join(self.events)}")
        if not self.everything and not self.events:
            raise WrongUsage("nothing says what to listen to", remedy="name events, or say --all")
        if self.consumer is not None and self.group is None:
            raise WrongUsage("--consumer names a member of a group; it needs --group")
        if self.reclaim is not None and self.group is None:
            raise WrongUsage("--reclaim takes over a group's pending entries; it needs --group")
        if self.purge and self.group is None:
            raise WrongUsage("--purge removes what a group has handled; it needs --group")
        if self.archive and self.group is None:
            raise WrongUsage("--archive archives what a group has handled; it needs --group")
        if self.max_attempts is not None and not self.keep_alive:
            raise WrongUsage("--max-attempts counts the restarts of --keep-alive; it needs --keep-alive")
        if self.once and self.idle_exit is not None:
            raise WrongUsage("--once ends sooner than --idle-exit ever would; give one of them")
        if self.once and self.group is None and self.start in (None, NEW):
            raise WrongUsage(
                "--once without a group ends before anything new has come",
                remedy="say --from beginning, or name a --group",
            )

    def how(self) -> dict[str, Any]:
        """How the work is to be done, whatever it is."""
        return {
            "consumer": self.consumer,
            "start": self.start,
            "reclaim": self.reclaim,
            "until_idle": self.once,
            "idle_exit": self.idle_exit,
            "attempts": self.max_attempts if self.keep_alive else 0,
            "after": self.after or (purge_handled if self.purge else None),
        }


async def _app_work(out: Output, app: App, wanted: _Wanted) -> Work:
    """The app's listeners of these events. Raises `Refusal` where there is none."""
    _ = app.settings  # they may declare groups and listeners
    declared = [group.name for group in app.registry if not group.broadcast]
    if wanted.group is not None and wanted.group not in declared:
        raise Refusal(
            f"app {app.name!r} has no group {wanted.group!r}",
            remedy=f"it has {', '.join(sorted(declared)) or 'none'}",
            did_you_mean=nearest(wanted.group, declared),
        )
    deaf = unheard(app, wanted.events, group=wanted.group)
    where = f"group {wanted.group!r}" if wanted.group is not None else f"app {app.name!r}"
    known = [each.event for each in event_listeners(app)]
    for event in deaf:
        close = nearest(event, known)
        out.warn(
            f"{where} has no listener for {event!r}" + (f"; did you mean {close[0]!r}?" if close else "")
        )
    if wanted.events and len(deaf) == len(wanted.events):
        raise Refusal(
            f"{where} has a listener for none of these events: {', '.join(deaf)}",
            remedy="`penstock listeners list` shows which there are",
            did_you_mean=list(dict.fromkeys(name for event in deaf for name in nearest(event, known))),
        )
    return Work(
        app,
        events=wanted.events,
        group=wanted.group,
        ungrouped=wanted.group is None,
        on_run=None if wanted.quiet else lambda run: _show_run(out, run),
        **wanted.how(),
    )


async def _showing_work(out: Output, app: App, wanted: _Wanted) -> Work:
    """One listener that shows everything in these streams. Raises `Refusal` where there is no stream."""
    streams = wanted.events or tuple(
        dict.fromkeys(stream.name for stream in await Operations(app).streams() if stream.exists)
    )
    if not streams:
        raise Refusal("there are no streams yet", remedy="name the events to wait for")
    show: Callable[[EntryView], None] = (
        (lambda _: None) if wanted.quiet else (lambda view: show_entry(out, view))
    )
    return Work.showing(app, streams, show, group=wanted.group, **wanted.how())


def _show_run(out: Output, run: HandlerRun) -> None:
    if out.json:
        facts = plain(run)
        out.line(**{**facts, "outcome": "handled" if run.error is None else "failed"})
        return
    good = run.error is None
    text = Text.assemble(
        ("handled " if good else "failed  ", "green" if good else "red"),
        (str(run.entry_id), "dim"),
        f" {clean(run.name)} ",
        (clean(run.listener), "bold"),
        f" ({clean(run.group)})" if run.group is not None else "",
        (f" {short_duration(run.seconds)}", "dim"),
    )
    if run.error is not None:
        text.append(f" {type(run.error).__name__}: {clean(str(run.error))}", style="red")
    out.say(text)
