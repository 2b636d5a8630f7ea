"""``penstock scheduled``: events that wait for their time, and what recurs."""

from typing import Annotated, Final

import typer

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import DONE, PARTIAL, Refusal
from penstock.cli._options import DryRun, Yes
from penstock.cli._output import Column, ago
from penstock.operations import Scheduled

__all__ = ["NOUN"]

NOUN: Final = Noun("scheduled", "Scheduled: events that wait for their time, and what recurs.")


@NOUN.verb("list")
async def list_scheduled(
    cli: Cli,
    stream: Annotated[
        str | None, typer.Option("--stream", metavar="STREAM", help="Only for this stream.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many that wait.")] = 100,
) -> None:
    """List the events that wait, nearest first, and everything that recurs with its last and its next run."""
    async with cli.operations() as operations:
        waiting = await operations.scheduled(stream=stream, limit=limit + 1)
        recurring = [run for run in await operations.recurring() if stream in (None, run.stream)]
    shown = waiting[:limit]
    if cli.out.json:
        cli.out.document(items=shown, recurring=recurring)
        return
    if not shown and not recurring:
        cli.out.say("Nothing is scheduled")
    if shown:
        columns = [
            *(Column("Due"), Column("Event"), Column("Key")),
            *(Column("Stream", narrow=False), Column("Id")),
        ]
        cli.out.table(columns, [[ago(one.due), one.name, one.key, one.stream, one.event_id] for one in shown])
    if len(waiting) > limit:
        cli.out.note(f"There are more than {limit:,}. Show more with --limit")
    if recurring:
        if shown:
            cli.out.say()
        columns = [
            *(Column("Recurring"), Column("When"), Column("Stream", narrow=False)),
            *(Column("Last"), Column("Next")),
        ]
        cli.out.table(
            columns,
            [[run.name, run.rule, run.stream, ago(run.last), ago(run.following)] for run in recurring],
        )


@NOUN.verb("cancel")
async def cancel_scheduled(
    cli: Cli,
    event_ids: Annotated[
        list[str], typer.Argument(metavar="ID...", help="Event ids, as `scheduled list` shows them.")
    ],
    yes: Yes = False,
    dry_run: DryRun = False,
) -> int:
    """Take back events that wait. What has entered its stream meanwhile stays there."""
    wanted = list(dict.fromkeys(event_ids))
    async with cli.operations() as operations:
        waiting = {one.event_id: one for one in await operations.scheduled()}
        found = [waiting[each] for each in wanted if each in waiting]
        if not found:
            raise Refusal(
                f"nothing waits by the id {', '.join(wanted)}",
                remedy="`penstock scheduled list` shows what does",
            )
        if dry_run:
            return _end(cli, found, wanted, dry_run=True)
        cli.confirm(f"Take back {_counted(len(found))}?", yes=yes, affects=len(found))
        cancelled = [one for one in found if await operations.cancel_scheduled(one.event_id)]
    return _end(cli, cancelled, wanted, dry_run=False)


def _end(cli: Cli, cancelled: list[Scheduled], wanted: list[str], *, dry_run: bool) -> int:
    missed = [each for each in wanted if each not in {one.event_id for one in cancelled}]
    if cli.out.json:
        cli.out.document(cancelled=cancelled, missing=missed, dry_run=dry_run)
    verb = "Would take back" if dry_run else "Took back"
    cli.out.say(f"{verb} {_counted(len(cancelled))}")
    for each in missed:
        cli.out.note(f"{each} does not wait (any more)")
    return PARTIAL if missed else DONE


def _counted(count: int) -> str:
    return f"{count:,} event{'' if count == 1 else 's'}"
