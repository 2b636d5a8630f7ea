"""``penstock archive``: move what everybody has settled out of the streams, look at it, put it back."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated, Final

import typer
from rich.text import Text

from penstock.app import App
from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import DONE, PARTIAL, REFUSED, Refusal, WrongUsage
from penstock.cli._near import nearest, suggesting
from penstock.cli._options import DryRun, Yes
from penstock.cli._output import Column, Output, clean, clock_time
from penstock.cli._plain import json_text
from penstock.cli._purge import held_text
from penstock.clock import parse_duration
from penstock.operations import (
    ArchivedDetail,
    ArchiveOperations,
    ArchivePage,
    HeldBy,
    NotArchived,
    Restored,
)

__all__ = ["NOUN"]

NOUN: Final = Noun("archive", "The archive: move handled messages there, look at them, put them back.")

_MOST_NAMED: Final = 1000

_Id = Annotated[str, typer.Argument(metavar="ID", help="An event id, or an entry id it had.")]


@NOUN.verb("run", aliases=("streamer:archive",))
async def run_archive(
    cli: Cli,
    streams: Annotated[str | None, typer.Option("--streams", metavar="A,B", help="These streams.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All streams.")] = False,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", "--older_than", metavar="DURATION", help="Only what is older, as in '5 days'."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also what somebody still needs.")] = False,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> int:
    """Archive messages that everybody has settled: stored first, then removed from the stream.

    What a group, a cursor or a relay still needs is left, and it is said who needs it. Broken off, it goes on when it
    is run again; several may run at the same time.
    """
    names = [name for name in (streams or "").split(",") if name]
    if everything == bool(names):
        raise WrongUsage("say which streams: --streams A,B, or --all")
    age = None if older_than is None else parse_duration(older_than)
    app = _app(cli)
    async with cli.operations(app) as operations:
        archive = operations.archive
        places = await archive.places(None if everything else names)
        total = await archive.length(places)
        if force and not dry_run:
            cli.confirm("Archive also what is still needed?", yes=yes, affects=total)
        runs = {place.stream: _Run(place.stream) for place in places}
        steps = archive.run(places, older_than=age, force=force, dry_run=dry_run)
        with cli.out.progress("Archiving", total=total) as bar:
            async with aclosing(steps):
                async for step in steps:
                    runs[step.stream].add(step)
                    bar.to(sum(run.looked for run in runs.values()), step.stream)
    return _show_runs(cli.out, list(runs.values()), dry_run=dry_run)


@NOUN.verb("list")
async def list_archive(
    cli: Cli,
    stream: Annotated[
        str | None, typer.Option("--stream", metavar="STREAM", help="The messages of this stream.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many messages.")] = 100,
    after: Annotated[
        str | None, typer.Option("--after", metavar="NEXT", help="Go on where a page ended: its `next`.")
    ] = None,
) -> None:
    """List the streams that have archived messages, or with --stream its messages, oldest first."""
    if after is not None and stream is None:
        raise WrongUsage("--after goes on within a stream; it needs --stream")
    async with cli.operations() as operations:
        if stream is not None:
            page = await operations.archive.messages(stream, after=after, limit=limit)
            _show_messages(cli.out, page.items, page.next)
            return
        found = await operations.archive.streams()
    if cli.out.json:
        cli.out.document(items=found)
    elif not found:
        cli.out.say("The archive is empty")
    else:
        columns = [Column("Stream", narrow=False), Column("Messages", right=True)]
        cli.out.table(columns, [[each.stream, each.messages] for each in found])


@NOUN.verb("show")
async def show_archived(
    cli: Cli,
    id: _Id,
    stream: Annotated[str | None, typer.Option("--stream", metavar="STREAM", help="Of this stream.")] = None,
) -> None:
    """Show an archived message in full."""
    async with cli.operations() as operations:
        found = await operations.archive.show(id, stream=stream)
    if not found:
        raise _not_there(id, stream)
    cli.out.in_full(found, _show_detail)


@NOUN.verb("restore", aliases=("archive:restore", "streamer:archive:restore"))
async def restore_archived(
    cli: Cli,
    everything: Annotated[bool, typer.Option("--all", help="Everything in the archive.")] = False,
    stream: Annotated[str | None, typer.Option("--stream", metavar="STREAM", help="This stream.")] = None,
    id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="This message of --stream: event id or entry id.")
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(
            "--group", metavar="GROUP", help="Only this group handles them; they stay in the archive."
        ),
    ] = None,
    receiver: Annotated[
        str | None,
        typer.Option(
            "--receiver", "--listener", metavar="LISTENER", help="Only this listener of --group handles them."
        ),
    ] = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> int:
    """Put archived messages back into their streams, where every group handles them again.

    Each gets a new entry id, and keeps its event id, its time and everything else; the entry id that it had first is
    its original id. It is added first and leaves the archive then; broken off, run it again.
    """
    if id is not None and stream is None:
        raise WrongUsage("--id names a message of a stream; it needs --stream")
    if receiver is not None and group is None:
        raise WrongUsage("--receiver is a listener of a group; it needs --group")
    if everything == (stream is not None):
        raise WrongUsage("say what to restore: --all, --stream STREAM, or --stream STREAM --id ID")
    app = _app(cli)
    async with cli.operations(app) as operations, suggesting(operations):
        archive = operations.archive
        count = await archive.restorable(stream=stream, id=id)
        if not count and id is not None:
            raise _not_there(id, stream)
        if not count and stream is not None:
            raise await _nothing_of(archive, stream)
        if dry_run or not count:
            if cli.out.json:
                cli.out.document(total=count, dry_run=dry_run)
            cli.out.say(f"{_messages(count)} would be restored" if count else "The archive is empty")
            return DONE
        where = f"to group {group} alone" if group is not None else "to the stream, for all its groups"
        cli.confirm(f"Restore {_messages(count)} {where}?", yes=yes, affects=count)
        return await _restore(
            cli.out,
            archive,
            count,
            stream=stream,
            id=id,
            group=group,
            listener=receiver,
            everything=everything,
        )


# -- doing ----------------------------------------------------------------------------------------------------------


@dataclass
class _Run:
    """What became of one stream."""

    stream: str
    looked: int = 0
    archived: int = 0
    gone: int = 0
    held: int = 0
    holds: dict[tuple[str, str], HeldBy] = field(default_factory=dict[tuple[str, str], HeldBy])
    failed: list[NotArchived] = field(default_factory=list[NotArchived])
    failures: int = 0

    def add(self, step: ArchivePage) -> None:
        self.looked += step.looked
        self.archived += step.archived
        self.gone += step.gone
        self.held += step.held
        self.failures += len(step.failed)
        self.failed += step.failed[: max(0, _MOST_NAMED - len(self.failed))]
        for hold in HeldBy.of(step.held_by):
            self.holds.setdefault((hold.kind, hold.name), hold)

    @property
    def document(self) -> dict[str, object]:
        return {
            "stream": self.stream,
            "archived": self.archived,
            "gone": self.gone,
            "held": self.held,
            "held_by": list(self.holds.values()),
            "failed": self.failures,
            "failures": self.failed,
        }


async def _restore(
    out: Output,
    archive: ArchiveOperations,
    count: int,
    *,
    stream: str | None,
    id: str | None,
    group: str | None,
    listener: str | None,
    everything: bool,
) -> int:
    good, bad = 0, 0
    told: list[Restored] = []
    results = archive.restore(stream=stream, id=id, group=group, listener=listener, everything=everything)
    with out.progress("Restoring", total=count) as bar:
        async with aclosing(results):
            async for result in results:
                good += result.error is None
                bad += result.error is not None
                bar.to(good + bad, result.stream)
                if out.json:
                    told += [result] if len(told) < _MOST_NAMED else []
                else:
                    _show_restored(out, result)
    damaged = await archive.damaged()
    for each in damaged:
        out.warn(each)
    if out.json:
        out.document(items=told, restored=good, failed=bad, omitted=good + bad - len(told), damaged=damaged)
    out.say(f"Restored {_messages(good)}" + (f", {bad:,} failed and are still archived" if bad else ""))
    if not bad and not damaged:
        return DONE
    return PARTIAL if good else REFUSED


def _app(cli: Cli) -> App:
    """The user's app where there is one: its code may declare groups and layouts."""
    app = cli.find_app() or App.of_settings(cli.settings())
    cli.logs(app)
    return app


def _not_there(wanted: str, stream: str | None) -> Refusal:
    where = f" of stream {stream!r}" if stream is not None else ""
    return Refusal(
        f"there is no archived message {wanted}{where}",
        remedy="`penstock archive list --stream STREAM` shows which there are",
        id=wanted,
    )


async def _nothing_of(archive: ArchiveOperations, stream: str) -> Refusal:
    known = [each.stream for each in await archive.streams()]
    return Refusal(
        f"nothing of stream {stream!r} is archived",
        remedy="`penstock archive list` shows what is",
        did_you_mean=nearest(stream, known),
        stream=stream,
    )


# -- how it looks ---------------------------------------------------------------------------------------------------


def _show_runs(out: Output, runs: Sequence[_Run], *, dry_run: bool) -> int:
    archived, failures = sum(run.archived for run in runs), sum(run.failures for run in runs)
    if out.json:
        out.document(
            items=[run.document for run in runs], archived=archived, failed=failures, dry_run=dry_run
        )
    else:
        out.table(
            [
                Column("Stream", narrow=False),
                Column("Would be archived" if dry_run else "Archived", right=True),
                Column("Left", right=True),
                Column("Needed by", narrow=False),
            ],
            [
                [run.stream, run.archived, run.held, held_text(list(run.holds.values()))]
                for run in runs
                if run.looked or run.holds
            ],
        )
        for run in runs:
            for failure in run.failed:
                out.warn(f"entry {failure.entry_id} of stream {run.stream!r} stays: {failure.error}")
        out.say(f"{_messages(archived)} would be archived" if dry_run else f"Archived {_messages(archived)}")
    if not failures:
        return DONE
    return PARTIAL if archived else REFUSED


def _show_messages(out: Output, items: Sequence[ArchivedDetail], following: str | None) -> None:
    if out.json:
        out.document(items=items, following=following)
        return
    if not items:
        out.say("No archived messages")
        return
    out.table(
        [
            Column("Entry"),
            Column("Event", narrow=False),
            Column("Event id"),
            Column("Made (UTC)"),
            Column("Archived (UTC)"),
            Column("First entry"),
        ],
        [
            [
                item.message.entry_id,
                item.message.name or "(unreadable)",
                item.message.event_id or "-",
                "-" if item.message.time is None else clock_time(item.message.time),
                clock_time(item.archived_at),
                item.original_id or "",
            ]
            for item in items
        ],
    )
    if following is not None:
        out.note(f"There are more. Go on with --after {following}")


def _show_detail(out: Output, detail: ArchivedDetail) -> None:
    message = detail.message
    body = message.payload if message.undecodable is None else message.fields
    out.facts(
        [
            ("Entry", f"{message.entry_id} of stream {message.stream}"),
            ("First entry", str(detail.original_id or message.entry_id)),
            ("Event", message.name),
            ("Event id", message.event_id),
            ("Kind", message.kind),
            ("Made", message.time),
            ("Source", message.source),
            ("Key", message.key),
            ("Version", message.version),
            ("Content type", message.content_type),
            *([("Headers", json_text(message.headers))] if message.headers else []),
            ("Archived", f"{clock_time(detail.archived_at)} UTC"),
            ("Payload" if message.undecodable is None else "Fields", json_text(body, indent=2)),
        ]
    )


def _show_restored(out: Output, result: Restored) -> None:
    text = Text.assemble(
        ("restored  " if result.error is None else "failed    ", "green" if result.error is None else "red"),
        f"{clean(result.stream)} {result.old_id}",
    )
    if result.new_id is not None:
        text.append(f" -> {result.new_id}")
    elif result.error is None and result.group is not None:
        text.append(f" -> group {clean(result.group)}")
    text.append(f" {clean(result.name)}", style="bold")
    if result.error is not None:
        text.append(f"  {clean(result.error)}", style="red")
    out.say(text)


def _messages(count: int) -> str:
    return f"{count:,} message{'' if count == 1 else 's'}"
