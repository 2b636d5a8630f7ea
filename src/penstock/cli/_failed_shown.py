"""How failed messages look: as a list, in full, as a plan, and as what became of them."""

from collections.abc import Mapping, Sequence
from typing import Final

from rich.text import Text

from penstock.cli._output import Column, Output, ago, clean, clock_time
from penstock.cli._plain import json_text
from penstock.operations import (
    EntryView,
    ErrorGroup,
    FailedDetail,
    FailedMessage,
    RetryOutcome,
    RetryPlan,
    RetryResult,
)

__all__ = [
    "NONE",
    "body_text",
    "counted",
    "error_line",
    "error_table",
    "failed_table",
    "plan_table",
    "show_detail",
    "show_result",
    "summary",
]

NONE: Final = "No failed messages"
"""What is said where there is nothing."""


def failed_table(out: Output, items: Sequence[FailedMessage], *, compact: bool) -> None:
    """The list: one a row; *compact* without receiver, runs and time."""
    pools = len({item.pool for item in items}) > 1
    columns = [
        Column("ID"),
        *([Column("Pool")] if pools else []),
        Column("Stream", narrow=False),
        *([] if compact else [Column("Group", narrow=False), Column("Receiver", narrow=False)]),
        Column("Error", narrow=False),
        Column("State"),
        *([] if compact else [Column("Runs", right=True), Column("Last failed (UTC)")]),
    ]
    out.table(
        columns,
        [
            [
                item.entry_id,
                *([item.pool] if pools else []),
                item.stream,
                *([] if compact else [item.group, item.listener]),
                _error(item),
                _state(item),
                *([] if compact else [item.attempts, clock_time(item.last_failed)]),
            ]
            for item in items
        ],
    )


def error_table(out: Output, groups: Sequence[ErrorGroup]) -> None:
    """One row an error, with the id of a message to look at."""
    pools = len({each.pool for each in groups}) > 1
    out.table(
        [
            Column("Messages", right=True),
            Column("Error", narrow=False),
            *([Column("Pool")] if pools else []),
            Column("Stream", narrow=False),
            Column("Group", narrow=False),
            Column("Receiver", narrow=False),
            Column("First failed (UTC)"),
            Column("Last failed (UTC)"),
            Column("Such as"),
        ],
        [
            [
                each.count,
                error_line(each.error_type, each.error),
                *([each.pool] if pools else []),
                each.stream,
                each.group,
                each.listener,
                clock_time(each.first_failed),
                clock_time(each.last_failed),
                each.example,
            ]
            for each in groups
        ],
    )


def _error(item: FailedMessage) -> str:
    if item.cause in ("poison", "vanished"):
        return f"{item.cause}: {item.error}"
    return error_line(item.error_type, item.error)


def error_line(error_type: str, error: str) -> str:
    """An error on one line: what it is, and the first line of what it says."""
    said = error.splitlines()[:1]
    return ": ".join([*([error_type.rpartition(".")[2]] if error_type else []), *said])


def _state(item: FailedMessage) -> Text:
    return Text(item.state, style="red" if item.state == "failed" else "yellow")


def show_detail(out: Output, detail: FailedDetail) -> None:
    """One in full: where, why, how often, with what."""
    item, message = detail.failed, detail.message
    when_due = "" if item.due is None else f", due {ago(item.due)}"
    pairs: list[tuple[str, object]] = [
        ("Entry", f"{item.entry_id} of stream {item.stream} (pool {item.pool})"),
        ("Receiver", f"{item.listener} of group {item.group}"),
        ("State", f"{item.state}{when_due}"),
        *([("Parked under", item.parked_key or "(no key)")] if item.parked_key is not None else []),
        ("Cause", item.cause),
        ("Error", f"{item.error_type}: {item.error}" if item.error_type else item.error),
        ("Runs", item.attempts),
        ("First failed", f"{clock_time(item.first_failed)} UTC"),
        ("Last failed", f"{clock_time(item.last_failed)} UTC"),
    ]
    if message is not None:
        pairs += [
            ("Event", message.name),
            ("Event id", message.event_id),
            *([("Key", message.key)] if message.key is not None else []),
            *([("Headers", json_text(message.headers))] if message.headers else []),
            ("Payload" if message.undecodable is None else "Fields", body_text(message)),
        ]
    pairs += [("Edited", f"{clock_time(edit.when)} UTC by {edit.who}: {edit.why}") for edit in detail.edits]
    if detail.original is not None:
        pairs.append(("Original", body_text(detail.original)))
    out.facts(pairs)
    if detail.traceback:
        out.say()
        out.say(detail.traceback.rstrip(), style="dim")


def body_text(message: EntryView) -> str:
    """The body of a message, or the fields of what is none, as JSON on several lines."""
    return json_text(message.payload if message.undecodable is None else message.fields, indent=2)


def plan_table(out: Output, planned: RetryPlan) -> None:
    """How many of which listener, and why some would be kept."""
    out.table(
        [
            Column("Stream", narrow=False),
            Column("Group", narrow=False),
            Column("Receiver", narrow=False),
            Column("Messages", right=True),
            *([Column("Kept because", narrow=False)] if planned.runnable < planned.total else []),
        ],
        [
            [
                part.stream,
                part.group,
                part.listener,
                part.count,
                *([part.missing or ""] if planned.runnable < planned.total else []),
            ]
            for part in planned.parts
        ],
    )


def counted(count: int) -> str:
    """So many failed messages, in words."""
    return f"{count:,} failed message{'' if count == 1 else 's'}"


def show_result(out: Output, result: RetryResult) -> None:
    """What became of one that was run again."""
    failed = result.failed
    styles = {RetryOutcome.FAILED: "red"}
    out.say(
        Text.assemble(
            (f"{result.outcome.value:<7}", styles.get(result.outcome, "yellow")),
            f"{failed.entry_id} {clean(failed.stream)} {clean(failed.group)} {clean(failed.listener)}",
            (f"  {clean((result.error or '').splitlines()[0] if result.error else '')}", "dim"),
        )
    )


def summary(counts: Mapping[RetryOutcome, int]) -> str:
    """What became of all that were run again."""
    words = {
        RetryOutcome.SUCCEEDED: "succeeded",
        RetryOutcome.FAILED: "failed again",
        RetryOutcome.KEPT: "kept",
        RetryOutcome.BUSY: "left to whoever has them",
    }
    said = [f"{count:,} {words[outcome]}" for outcome, count in counts.items() if count]
    return f"Ran {counted(sum(counts.values()))} again: {', '.join(said)}" if said else NONE
