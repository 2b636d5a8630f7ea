"""How projections and relays look: as a list, in full, and as what became of a request."""

from collections.abc import Sequence
from typing import Final

from rich.text import Text

from penstock.cli._output import Column, Output, ago, clean, clock_time, short_duration
from penstock.operations import (
    ProjectionChange,
    ProjectionDetail,
    ProjectionFailure,
    ProjectionOutcome,
    ProjectionStatus,
    place_shown,
)

__all__ = ["change_lines", "failure_table", "projection_table", "show_projection"]

_STYLES: Final = {"failed": "red", "halted": "red", "stopped": "dim", "stopping": "yellow"}
_MOST: Final = 60


def projection_table(out: Output, found: Sequence[ProjectionStatus]) -> None:
    """One a row; the error of those that have one below."""
    what = "Relay" if all(each.kind == "relay" for each in found) else "Projection"
    parked = any(each.parked for each in found)
    out.table(
        [
            Column(what, narrow=False),
            Column("State"),
            Column("From", narrow=False),
            Column("Into", narrow=False),
            Column("Position", right=True),
            Column("Lag", right=True),
            Column("Behind", right=True),
            *([Column("Failures", right=True)] if parked else []),
            Column("Run by", narrow=False),
        ],
        [
            [
                each.name,
                _state(each),
                each.source,
                each.target,
                place_shown(each, each.position),
                each.lag_events,
                short_duration(each.lag_seconds) if each.lag_events else "-",
                *([Text(f"{each.parked:,}", style="red") if each.parked else 0] if parked else []),
                each.holder or "-",
            ]
            for each in found
        ],
    )
    for each in found:
        if each.error is not None:
            at = each.error_position
            where = f" at position {place_shown(each, at)}" if at is not None else ""
            out.note(
                f"{each.name}{where}: {clean(each.error.splitlines()[0] if each.error else '')}", style="red"
            )


def show_projection(out: Output, detail: ProjectionDetail) -> None:
    """Everything about one."""
    status = detail.status
    behind = f" ({short_duration(status.lag_seconds)} behind)" if status.lag_events else ""
    out.facts(
        [
            (status.kind.capitalize(), status.name),
            ("Version", status.version),
            ("State", status.state.replace("_", " ")),
            ("Run by", status.holder or "nobody"),
            ("From", f"{status.source}: {', '.join(status.streams) or 'all event streams'}"),
            ("Into", status.target),
            ("Mode", status.mode.replace("_", " ")),
            ("On failure", status.on_failure),
            ("Position", f"{place_shown(status, status.position)} of {place_shown(status, status.head)}"),
            ("Lag", f"{status.lag_events:,} event{'' if status.lag_events == 1 else 's'}{behind}"),
            *([("Last moved", ago(status.updated_at))] if status.updated_at is not None else []),
            *_error_facts(status),
            ("Failures", status.parked or "none"),
            *([("Declared", "no: renamed or removed")] if not status.declared else []),
        ]
    )
    if detail.failures:
        out.say()
        failure_table(out, detail.failures)


def _error_facts(status: ProjectionStatus) -> list[tuple[str, object]]:
    if status.error is None:
        return []
    at = status.error_position
    place = "-" if at is None else place_shown(status, at)
    return [
        ("Error", status.error),
        ("At position", place),
        ("Attempts", status.attempts),
        *([("Failed at", f"{clock_time(status.failed_at)} UTC")] if status.failed_at is not None else []),
    ]


def failure_table(out: Output, failures: Sequence[ProjectionFailure]) -> None:
    """Events that were put aside, one a row."""
    out.table(
        [
            Column("Position", right=True),
            Column("Event", narrow=False),
            Column("Event stream", narrow=False),
            Column("State"),
            Column("Error", narrow=False),
            Column("Runs", right=True),
            Column("Last failed (UTC)"),
        ],
        [
            [
                each.position,
                each.event_name,
                each.stream,
                each.state,
                _error(each),
                each.attempts,
                clock_time(each.last_at),
            ]
            for each in failures
        ],
    )


def change_lines(out: Output, changes: Sequence[ProjectionChange], *, done: str, already: str) -> None:
    """What became of a request, one a line."""
    for each in changes:
        holder = f", run by {each.holder}" if each.holder is not None else ""
        hears = each.holder or "`penstock run`"
        texts = {
            ProjectionOutcome.DONE: done,
            ProjectionOutcome.ASKED: f"{done} as soon as {hears} has heard of it",
            ProjectionOutcome.ALREADY: f"{already}{holder}",
        }
        out.say(f"{each.name}: {texts[each.outcome]}")


def _state(status: ProjectionStatus) -> Text:
    text = Text(status.state.replace("_", " "), style=_STYLES.get(status.state, ""))
    if not status.declared:
        text.append(" (not declared)", style="dim")
    return text


def _error(failure: ProjectionFailure) -> str:
    if failure.state == "waiting":
        return "waits behind another of its key"
    first = failure.message.splitlines()[0] if failure.message else ""
    return f"{failure.error_class or failure.error_type}: {first}"[: _MOST * 2]
