"""``penstock failed``: messages that were given up, or wait for their next run."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, nullcontext
from datetime import datetime
from typing import Annotated, Final, Literal

import typer

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import DONE, PARTIAL, REFUSED, Refusal, WrongUsage
from penstock.cli._failed_shown import (
    NONE,
    counted,
    error_table,
    failed_table,
    plan_table,
    show_detail,
    show_result,
    summary,
)
from penstock.cli._near import one_of, suggesting
from penstock.cli._options import DryRun, Yes
from penstock.cli._output import Output
from penstock.cli._person import Why, login_name
from penstock.operations import (
    ErrorGroups,
    FailedWhich,
    RetryOutcome,
    RetryPlan,
    RetryResult,
    purge_handled,
)
from penstock.position import EntryId, parse_start

__all__ = ["NOUN"]

NOUN: Final = Noun("failed", "Failed messages: list them, look at them, run them again, forget them.")

_MOST_NAMED = 1000

_Id = Annotated[str | None, typer.Option("--id", metavar="ENTRY_ID", help="Only this entry.")]
_Stream = Annotated[str | None, typer.Option("--stream", metavar="STREAM", help="Only of this stream.")]
_Group = Annotated[str | None, typer.Option("--group", metavar="GROUP", help="Only of this consumer group.")]
_Receiver = Annotated[
    str | None,
    typer.Option(
        "--receiver", "--listener", metavar="LISTENER", help="Only of this listener; * = whole messages."
    ),
]
_Error = Annotated[
    str | None, typer.Option("--error", metavar="TEXT", help="Only errors with this text in type or message.")
]


_Projection = Annotated[
    str | None, typer.Option("--projection", metavar="NAME", help="Only of this projection or relay.")
]
_State = Annotated[
    str | None,
    typer.Option(
        "--state",
        metavar="STATE",
        help="retrying: runs again when due; failed: given up; parked: waits with its key.",
    ),
]
_STATES: Final[tuple[Literal["retrying", "failed", "parked"], ...]] = ("retrying", "failed", "parked")


@NOUN.verb("list", aliases=("failed:list", "streamer:failed:list"))
async def list_failed(
    cli: Cli,
    compact: Annotated[bool, typer.Option("--compact", help="Without receiver and time.")] = False,
    stream: _Stream = None,
    group: _Group = None,
    receiver: _Receiver = None,
    projection: _Projection = None,
    entry_id: _Id = None,
    state: _State = None,
    error: _Error = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="Last failed then or later (RFC 3339).")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    after: Annotated[
        str | None, typer.Option("--after", metavar="NEXT", help="Go on where a page ended: its `next`.")
    ] = None,
    by_error: Annotated[
        bool, typer.Option("--by-error", help="One line for each error, the most frequent first.")
    ] = False,
) -> int:
    """List failed messages, oldest failure first, those that wait for their next run included.

    A store that is away is told of, and the exit code is 3.
    """
    if by_error and (compact or after is not None):
        raise WrongUsage("--by-error is one whole list; leave out --compact and --after")
    which = FailedWhich(
        entry_id=None if entry_id is None else EntryId.parse(entry_id),
        stream=stream,
        group=group,
        listener=receiver,
        projection=projection,
        state=one_of("--state", state, _STATES),
        error=error,
        since=None if since is None else _time(since),
    )
    async with cli.operations() as operations, suggesting(operations):
        if by_error:
            found = await operations.failed_by_error(which)
            _list_errors(cli.out, found, which, limit)
            return _warn(cli.out, found.problems)
        page = await operations.failed(which, after=after, limit=limit)
    if cli.out.json:
        cli.out.document(items=page.items, following=page.next, problems=page.problems)
    elif not page.items:
        cli.out.say(NONE if which.is_everything and after is None else f"{NONE} match")
    else:
        failed_table(cli.out, page.items, compact=compact)
        if page.next is not None:
            cli.out.note(f"There are more. Go on with --after {page.next}")
    return _warn(cli.out, page.problems)


def _warn(out: Output, problems: Sequence[str]) -> int:
    """Tell which stores could not be asked for failures of projections; the exit code."""
    for problem in problems:
        out.warn(problem)
    return PARTIAL if problems else DONE


def _list_errors(out: Output, found: ErrorGroups, which: FailedWhich, limit: int) -> None:
    shown = found.groups[:limit]
    beyond = found.beyond + sum(each.count for each in found.groups[limit:])
    if out.json:
        out.document(items=shown, beyond=beyond, problems=found.problems)
    elif not shown:
        out.say(NONE if which.is_everything else f"{NONE} match")
    else:
        error_table(out, shown)
        if beyond:
            out.note(f"... and {counted(beyond)} with other errors; narrow down, or raise --limit")


@NOUN.verb("show")
async def show_failed(
    cli: Cli,
    entry_id: Annotated[str, typer.Argument(metavar="ID", help="The entry's id, as `failed list` shows it.")],
    stream: _Stream = None,
    group: _Group = None,
    receiver: _Receiver = None,
    projection: _Projection = None,
) -> None:
    """Show everything about one failed message: error, traceback, payload; one part for each listener that failed."""
    which = _narrowed(entry_id, stream, group, receiver, projection)
    async with cli.operations() as operations, suggesting(operations):
        found = await operations.failed_show(which)
    if not found:
        raise _nothing(f"there is no failed message {entry_id}")
    cli.out.in_full(found, show_detail)


@NOUN.verb("retry", aliases=("failed:retry", "streamer:failed:retry"))
async def retry_failed(
    cli: Cli,
    everything: Annotated[bool, typer.Option("--all", help="Every failed message.")] = False,
    entry_id: _Id = None,
    stream: _Stream = None,
    group: _Group = None,
    receiver: _Receiver = None,
    projection: _Projection = None,
    purge: Annotated[
        bool,
        typer.Option(
            "--purge", help="Remove a message from the stream with its last failure, if nobody needs it."
        ),
    ] = False,
    archive: Annotated[
        bool,
        typer.Option("--archive", help="Archive a message with its last failure, if nobody else needs it."),
    ] = False,
    stop_on_failure: Annotated[
        bool,
        typer.Option("--stop-on-failure", help="One at a time, and no further than the first that fails."),
    ] = False,
    why: Why = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", hidden=True)] = False,
) -> int:
    """Run failed messages again, now, each with the listener that failed.

    --id, --stream, --group and --receiver narrow it down together. A message that succeeds is off the list; one that
    fails again stays, with its new error.
    """
    which = _narrowed(entry_id, stream, group, receiver, projection)
    _check_all(which, everything, "run again")
    app = cli.app()
    cli.logs(app)
    # Failures of projections are in databases: for them alone no server of streams is needed.
    opened = app if projection is None else nullcontext()
    async with opened, cli.operations(app) as operations, suggesting(operations):
        after = await operations.archive.after_handled() if archive else purge_handled if purge else None
        planned = await operations.failed_plan(which)
        _warn(cli.out, planned.problems)
        if dry_run or not planned.total:
            return _show_plan(cli.out, planned, which, "would be run again", dry_run=dry_run)
        results = operations.failed_retry(
            which,
            everything=True,
            after=after,
            stop_on_failure=stop_on_failure,
            who=login_name(),
            why=why,
        )
        return await _retry(cli.out, results, planned, stop_on_failure=stop_on_failure)


@NOUN.verb("flush", aliases=("failed:flush", "streamer:failed:flush"))
async def flush_failed(
    cli: Cli,
    entry_id: _Id = None,
    stream: _Stream = None,
    group: _Group = None,
    receiver: _Receiver = None,
    projection: _Projection = None,
    why: Why = None,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> int:
    """Forget failed messages, all of them unless narrowed down. Streams are not touched."""
    which = _narrowed(entry_id, stream, group, receiver, projection)
    async with cli.operations() as operations, suggesting(operations):
        planned = await operations.failed_plan(which, to_run=False)
        _warn(cli.out, planned.problems)
        if dry_run or not planned.total:
            return _show_plan(cli.out, planned, which, "would be forgotten", dry_run=dry_run)
        if not yes:
            plan_table(cli.out, planned)
        cli.confirm(
            f"Forget {counted(planned.total)}? They cannot be run again then.",
            yes=yes,
            affects=planned.total,
        )
        count = await operations.failed_flush(which, everything=True, who=login_name(), why=why)
    if cli.out.json:
        cli.out.document(flushed=count)
    cli.out.say(f"Forgot {counted(count)}")
    return DONE


# -- which ----------------------------------------------------------------------------------------------------------


def _narrowed(
    entry_id: str | None,
    stream: str | None,
    group: str | None,
    receiver: str | None,
    projection: str | None,
) -> FailedWhich:
    return FailedWhich(
        entry_id=None if entry_id is None else EntryId.parse(entry_id),
        stream=stream,
        group=group,
        listener=receiver,
        projection=projection,
    )


def _check_all(which: FailedWhich, everything: bool, what: str) -> None:
    if everything and not which.is_everything:
        raise WrongUsage("--all means every failed message; leave it out to narrow down")
    if not everything and which.is_everything:
        raise WrongUsage(
            f"nothing says which messages to {what}",
            remedy="name them by --id, --stream, --group, --receiver, --projection (all must match), or say --all",
        )


def _time(text: str) -> datetime:
    time = parse_start(text)
    if not isinstance(time, datetime):
        raise WrongUsage(f"{text!r} is no time", remedy="write it as in 2026-01-31T12:00:00Z")
    return time


def _nothing(message: str) -> Refusal:
    return Refusal(message, remedy="`penstock failed list` shows which there are")


# -- doing ----------------------------------------------------------------------------------------------------------


async def _retry(
    out: Output,
    results: AsyncGenerator[RetryResult, None],
    planned: RetryPlan,
    *,
    stop_on_failure: bool,
) -> int:
    counts = dict.fromkeys(RetryOutcome, 0)
    told: list[RetryResult] = []
    done = 0
    with out.progress("Running again", total=planned.total) as bar:
        async with aclosing(results):
            async for result in results:
                counts[result.outcome] += 1
                done += 1
                bar.to(done, "")
                if result.outcome is not RetryOutcome.SUCCEEDED and len(told) < _MOST_NAMED:
                    told.append(result)
    bad = done - counts[RetryOutcome.SUCCEEDED]
    left = max(planned.total - done, 0) if stop_on_failure else 0
    if out.json:
        out.document(
            items=told,
            succeeded=counts[RetryOutcome.SUCCEEDED],
            failed=counts[RetryOutcome.FAILED],
            kept=counts[RetryOutcome.KEPT],
            busy=counts[RetryOutcome.BUSY],
            omitted=bad - len(told),
            left=left,
        )
    else:
        for result in told:
            show_result(out, result)
        if bad > len(told):
            out.note(f"... and {bad - len(told):,} more; `penstock failed list` shows them")
        out.say(summary(counts))
        if left:
            out.say(
                f"Stopped at the first that failed: {counted(left)} {'was' if left == 1 else 'were'} not run"
            )
    if not bad:
        return DONE
    return REFUSED if counts[RetryOutcome.KEPT] + counts[RetryOutcome.BUSY] == done else PARTIAL


def _show_plan(out: Output, planned: RetryPlan, which: FailedWhich, what: str, *, dry_run: bool) -> int:
    if out.json:
        out.document(items=planned.parts, total=planned.total, runnable=planned.runnable, dry_run=dry_run)
    elif planned.total:
        plan_table(out, planned)
        out.say(f"{counted(planned.total)} {what}")
    else:
        out.say(NONE if which.is_everything else f"{NONE} match")
    return DONE if planned.total or which.is_everything else REFUSED
