"""``penstock streams repartition``: another number of partitions for a stream, with nothing lost and keys in order."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer

from penstock.cli._cli import Cli
from penstock.cli._errors import DONE, REFUSED, WrongUsage
from penstock.cli._near import suggesting
from penstock.cli._options import Yes
from penstock.cli._output import Column, Output
from penstock.cli._plain import plain
from penstock.cli._streams import NOUN
from penstock.clock import parse_duration
from penstock.operations import PartitionsDetail, RepartitionResult, Undrained

__all__ = ["repartition"]

_DRAIN_WITHIN: Final = "20s"


@NOUN.verb("repartition")
async def repartition(
    cli: Cli,
    stream: Annotated[
        str, typer.Argument(metavar="STREAM", help="The stream, without a partition's number.")
    ],
    partitions: Annotated[
        int | None, typer.Argument(metavar="N", help="How many partitions it is to have.")
    ] = None,
    timeout: Annotated[
        str, typer.Option("--timeout", metavar="DURATION", help="How long the groups have to finish.")
    ] = _DRAIN_WITHIN,
    abort: Annotated[bool, typer.Option("--abort", help="Give up a change that was interrupted.")] = False,
    pool: Annotated[str | None, typer.Option("--pool", metavar="NAME", help="The stream's pool.")] = None,
    yes: Yes = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be waited for, and do nothing.")
    ] = False,
) -> int:
    """Change the number of a stream's partitions, or go on with a change that was interrupted.

    Publishers wait meanwhile: the partitions are closed, every group finishes what is in them, and the new ones are
    opened. If the groups do not finish in time, everything is as before. Groups have to be at work.
    """
    if (partitions is None) is not abort:
        raise WrongUsage(
            "--abort goes back to the number that there is; leave N out"
            if abort
            else "say how many partitions there are to be, or --abort"
        )
    within = parse_duration(timeout)
    async with cli.operations() as operations, suggesting(operations):
        detail = await operations.partitions(stream, pool=pool)
        if dry_run:
            return _show_plan(cli.out, detail, partitions)
        if detail.state != "settled" or detail.partitions != partitions:
            _tell(cli.out, detail)
            cli.confirm(_question(detail, partitions), yes=yes, affects=1)
        if partitions is None:
            return _say_done(cli.out, await operations.repartition_abort(stream, pool=pool))
        with cli.out.progress(f"Waiting for what is in {stream}", total=None) as bar:
            result = await operations.repartition(
                stream,
                partitions,
                pool=pool,
                timeout=within,
                progress=lambda left: bar.to(0, f"{sum(map(_entries, left)):,} entries left"),
            )
    return _say_done(cli.out, result)


def _question(detail: PartitionsDetail, partitions: int | None) -> str:
    now = "no partitions" if detail.partitions is None else _counted(detail.partitions)
    if partitions is None:
        return (
            f"Give up the change of {detail.stream} to {detail.changing_to or detail.partitions} partitions?"
        )
    if detail.state in ("settled", "undivided"):
        return f"Give {detail.stream}, which has {now}, {partitions}? Its publishers wait meanwhile."
    return (
        f"Go on with the change of {detail.stream} to {detail.changing_to or detail.partitions} partitions?"
    )


def _show_plan(out: Output, detail: PartitionsDetail, partitions: int | None) -> int:
    if out.json:
        out.document(**plain(detail), wanted=partitions, dry_run=True)
        return DONE
    _tell(out, detail)
    now = "has no partitions" if detail.partitions is None else f"has {_counted(detail.partitions)}"
    out.say(f"{detail.stream} {now} ({detail.state}); nothing was done")
    return DONE


def _tell(out: Output, detail: PartitionsDetail) -> None:
    _table(out, detail.undrained)
    if detail.parked_keys:
        out.note(
            f"{detail.parked_keys:,} keys have parked events, which are not waited for: later events of these keys "
            "come before them; `penstock failed unpark` first, if that matters"
        )
    if detail.failed:
        out.note(f"{detail.failed:,} failed messages are kept, and run again from where they are")


def _say_done(out: Output, result: RepartitionResult) -> int:
    if out.json:
        out.document(**plain(result))
        return REFUSED if result.held_by else DONE
    _table(out, result.held_by)
    if result.held_by:
        out.note(
            f"{result.stream} still has {_counted(result.partitions)}: not everything was handled in time. "
            "Have these groups run (or delete those that are of no use any more), and try again."
        )
        return REFUSED
    out.say(f"{result.stream} has {_counted(result.partitions)}")
    if result.declared is not None and result.declared != result.partitions:
        out.note(
            f"The settings say {result.declared}: write partitions = {result.partitions}, or what starts from now on "
            "refuses to"
        )
    return DONE


def _table(out: Output, undrained: Sequence[Undrained]) -> None:
    if out.json or not undrained:
        return
    columns = [
        Column("Partition", narrow=False),
        Column("Group", narrow=False),
        Column("Lag", right=True),
        Column("Pending", right=True),
    ]
    out.table(columns, [[each.lane, each.group, each.lag_entries, each.pending] for each in undrained])


def _entries(left: Undrained) -> int:
    return left.lag_entries + left.pending


def _counted(partitions: int) -> str:
    return f"{partitions} partition{'' if partitions == 1 else 's'}"
