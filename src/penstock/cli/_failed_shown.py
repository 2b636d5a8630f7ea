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
from penstock.position import EntryId

__all__ = [
    "NONE",
    "body_text",
    "counted",
    "error_line",
    "error_table",
    "event_id_shown",
    "failed_table",
    "plan_table",
    "show_detail",
    "show_result",
    "summary",
]

_EARLIEST_MS: Final = 10**12
"""September 2001: entry ids that a server gives are above it, and no store has so many events."""
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
                failed_id(item),
                *([item.pool] if pools else []),
                item.stream,
                *([] if compact else _where(item)),
                _error(item),
                _state(item),
                *([] if compact else [item.attempts, clock_time(item.last_failed)]),
            ]
            for item in items
        ],
    )


def failed_id(item: FailedMessage) -> str:
    """By what it is named: the entry's id, or the event's position in its store."""
    return str(item.entry_id) if item.position is None else str(item.position)


def event_id_shown(entry_id: EntryId, projection: str | None) -> str:
    """The same where only the id is there: that of an event in a store is its position alone."""
    return str(entry_id.ms) if projection is not None and entry_id.ms < _EARLIEST_MS else str(entry_id)


def _where(item: FailedMessage) -> list[str]:
    """Group and receiver, or the projection."""
    return (
        [item.group, item.listener] if item.projection is None else [f"{item.projection} (projection)", "-"]
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
                each.stream or "-",
                each.group if each.projection is None else f"{each.projection} (projection)",
                each.listener if each.projection is None else "-",
                clock_time(each.first_failed),
                clock_time(each.last_failed),
                event_id_shown(each.example, each.projection),
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
        *_places(item),
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


def _places(item: FailedMessage) -> list[tuple[str, object]]:
    if item.projection is not None:
        where: tuple[str, object] = ("Entry", f"{item.entry_id} of stream {item.stream}")
        if item.position is not None:
            where = ("Position", f"{item.position} of store {item.pool}, in event stream {item.stream}")
        return [where, ("Projection", item.projection)]
    return [
        ("Entry", f"{item.entry_id} of stream {item.stream} (pool {item.pool})"),
        ("Receiver", f"{item.listener} of group {item.group}"),
    ]


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
                part.group if part.projection is None else f"{part.projection} (projection)",
                part.listener if part.projection is None else "-",
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
            f"{failed_id(failed)} {clean(failed.stream)} {' '.join(map(clean, _where(failed)))}",
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
