"""How replays look: as a list, in full, as a plan, as the report of a verification, as what a step would do."""

from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text

from penstock.cli._output import Column, Output, ago, clean, clock_time, short_duration
from penstock.cli._plain import plain
from penstock.cli._replays_playing import pace
from penstock.operations import (
    Finding,
    Part,
    Play,
    Replay,
    ReplayDeed,
    ReplayDetail,
    ReplayIntent,
    ReplayPlan,
    ReplayProgress,
    ReplaySummary,
    RowDifference,
    TableDifference,
    Verification,
)

__all__ = [
    "finding_lines",
    "intent_lines",
    "plan_shown",
    "played_line",
    "replay_shown",
    "replay_table",
    "verification_shown",
]

_STYLES: Final = {"refusal": "red", "warning": "yellow", "note": "dim"}
_FIRST: Final = 5
"""So many differing rows of a table, and deeds, are shown with a replay; with ``--json`` there are more."""
_KIB: Final = 1024


def replay_table(out: Output, found: Sequence[ReplaySummary]) -> None:
    """One a row; the error of those that have one below."""
    out.table(
        [
            Column("Replay", narrow=False),
            Column("State"),
            Column("Projections", narrow=False),
            Column("Position", right=True),
            Column("Lag", right=True),
            Column("Verified"),
            Column("Created"),
        ],
        [
            [
                each.replay.key,
                _state(each.replay, each.progress),
                ", ".join(each.replay.projections),
                each.progress.position,
                each.progress.lag_events,
                _verified(each.replay),
                ago(each.replay.created_at),
            ]
            for each in found
        ],
    )
    for each in found:
        if each.replay.error:
            out.note(f"{each.replay.key}: {_first_line(each.replay.error)}", style="red")


def replay_shown(out: Output, detail: ReplayDetail) -> None:
    """Everything about one."""
    replay, progress = detail.replay, detail.progress
    out.facts(
        [
            ("Replay", replay.key),
            ("State", _state(replay, progress)),
            ("Projections", "\n".join(_version(detail, name) for name in replay.projections)),
            ("Place", replay.place or "not made yet"),
            ("Tables", ", ".join(replay.tables) or "-"),
            *([] if replay.part.is_whole else [("Part", _part(replay.part))]),
            *([("Processes", replay.processes)] if replay.processes > 1 else []),
            ("Position", f"{progress.position:,} of {progress.head:,}"),
            ("Lag", _count(progress.lag_events, "event")),
            *([("Rate", _rate(progress))] if progress.rate else []),
            ("Verified", _verified_when(replay)),
            *_promoted(replay),
            ("Created", f"{_when(replay.created_at)} by {replay.created_by or '-'}"),
            *([("Error", replay.error)] if replay.error else []),
        ]
    )
    if detail.plays:
        out.say()
        _play_table(out, detail.plays)
    if detail.verification is not None:
        out.say()
        verification_shown(out, detail.verification, most=_FIRST)
    if detail.findings:
        out.say()
        out.say("Before a switch:", style="bold")
        finding_lines(out, detail.findings)
    if detail.log:
        out.say()
        _log_table(out, detail.log[:_FIRST])
    if detail.next_steps:
        out.say()
        out.say("Next:", style="bold")
        width = max(len(each.command) for each in detail.next_steps)
        for each in detail.next_steps:
            out.say(f"  {each.command.ljust(width)}  {each.why}")


def plan_shown(out: Output, plan: ReplayPlan) -> None:
    """What a replay would be about."""
    rate = f" (at {plan.rate:,.0f} events/s)" if plan.rate else ""
    duration = "not known" if plan.duration is None else short_duration(plan.duration.total_seconds())
    versions = [
        f"{name}: version {plan.versions[name]}, live {plan.live_versions.get(name, 'none')}"
        for name in plan.projections
    ]
    out.facts(
        [
            ("Projections", "\n".join(versions)),
            ("Tables", ", ".join(plan.tables) or "-"),
            ("Events", plan.events),
            ("Time", f"{duration}{rate}"),
            ("Disk", f"about {_bytes(plan.disk_bytes)}"),
        ]
    )
    finding_lines(out, plan.findings)


def played_line(progress: ReplayProgress, handled: int, seconds: float) -> str:
    """How a play ended, in a line."""
    rate = f" ({handled / seconds:,.0f}/s)" if handled and seconds > 0 else ""
    return (
        f"{progress.key}: {progress.state}, {_count(handled, 'event')} in {short_duration(seconds)}{rate}, "
        f"at position {progress.position:,} of {progress.head:,}"
    )


def verification_shown(out: Output, report: Verification, *, most: int | None = None) -> None:
    """The report of a comparison, with at most so many differing rows of each table."""
    held = short_duration(report.held.total_seconds())
    took = short_duration(report.took.total_seconds())
    verdict = "no differences" if report.is_green else "differences"
    out.say(
        f"Verified at position {report.position:,}: {verdict} (took {took}, both held still for {held})",
        style="" if report.is_green else "red",
    )
    for table in report.tables:
        out.say(f"  {table.table}: {_table(table)}")
        for row in table.rows if most is None else table.rows[:most]:
            out.say(f"    {_row(row)}")
        shown = len(table.rows) if most is None else min(most, len(table.rows))
        if table.differing > shown > 0:
            out.say(f"    ... and {table.differing - shown:,} more")
    for text in report.failed_checks:
        out.say(f"  failed: {text}", style="red")
    for text in report.passed_checks:
        out.say(f"  passed: {text}")


def finding_lines(out: Output, findings: Sequence[Finding], *, asking: bool = False) -> None:
    """What was looked at, worst first, a line each; where somebody is asked next, beside the question on stderr."""
    tell = out.note if asking else out.say
    for severity in ("refusal", "warning", "note"):
        for each in findings:
            if each.severity == severity:
                forced = " (--force overrides it)" if each.can_be_forced else ""
                tell(f"  {severity}: {each.subject}: {each.message}{forced}", style=_STYLES[severity])


def intent_lines(out: Output, intent: ReplayIntent) -> None:
    """What a step would do."""
    out.say(f"{intent.replay.key} is {intent.replay.state}. To {intent.step} it would mean:")
    for each in intent.says:
        out.say(f"  {each}")
    finding_lines(out, intent.findings)
    if intent.refusals:
        out.say("It would be refused: " + "; ".join(intent.refusals), style="red")


# -- parts ------------------------------------------------------------------------------------------------------------


def _state(replay: Replay, progress: ReplayProgress) -> str:
    match replay.state:
        case "building" if not progress.is_running:
            return "building (nobody plays it)"
        case "promoted" if replay.is_fed:
            return "promoted (the former is fed)"
        case "promoted":
            return "promoted (the former is not fed)"
        case state:
            return state


def _version(detail: ReplayDetail, name: str) -> str:
    replay = detail.replay
    kept = replay.former_versions if replay.state == "promoted" else replay.versions
    called = "former" if replay.state == "promoted" else "copy"
    status = next((each for each in detail.projections if each.name == name), None)
    by = f", run by {status.holder}" if status is not None and status.holder else ""
    parked = f", {_count(status.parked, 'failure')}" if status is not None and status.parked else ""
    live = detail.live_versions.get(name, "none")
    return f"{name}: {called} version {kept.get(name, '-')}, live {live}{by}{parked}"


def _verified(replay: Replay) -> str:
    if replay.verified_at is None:
        return "no"
    return "yes" if replay.is_verified else "not now"


def _verified_when(replay: Replay) -> str:
    if replay.verified_at is None:
        return "never"
    where = f"{_when(replay.verified_at)}, at position {replay.verified_position or 0:,}"
    return f"yes, {where}" if replay.is_verified else f"no; the last time was {where}"


def _rate(progress: ReplayProgress) -> str:
    left = progress.remaining
    return pace(progress) + (f" ({short_duration(left.total_seconds())} left)" if left else "")


def _promoted(replay: Replay) -> list[tuple[str, object]]:
    if replay.promoted_at is None:
        return []
    forced = [("Forced", replay.override)] if replay.override else []
    return [("Promoted", _when(replay.promoted_at)), *forced]


def _part(part: Part) -> str:
    said = [
        *(f"event stream {each}" for each in part.streams),
        *(f"key {each}" for each in part.keys),
        *([f"above position {part.after:,}"] if part.after else []),
    ]
    return ", ".join(said)


def _play_table(out: Output, plays: Sequence[Play]) -> None:
    out.table(
        [
            Column("Play", right=True),
            Column("From", right=True),
            Column("To", right=True),
            Column("Events", right=True),
            Column("Began (UTC)"),
            Column("Took", right=True),
            Column("Ended"),
            Column("By", narrow=False),
        ],
        [
            [
                each.id,
                each.from_position,
                each.to_position,
                each.events,
                clock_time(each.started_at),
                "-"
                if each.finished_at is None
                else short_duration((each.finished_at - each.started_at).total_seconds()),
                Text(each.outcome, style="red" if each.outcome in ("failed", "died") else ""),
                each.who or "-",
            ]
            for each in plays
        ],
    )


def _log_table(out: Output, log: Sequence[ReplayDeed]) -> None:
    out.table(
        [
            Column("When (UTC)"),
            Column("Who", narrow=False),
            Column("Did"),
            Column("What of it", narrow=False),
            Column("Why", narrow=False),
        ],
        [[clock_time(each.at), each.who, each.what, each.which or "-", each.why or "-"] for each in log],
    )


def _table(table: TableDifference) -> str:
    if table.is_new:
        return f"{_count(table.copy_rows, 'row')}, new: there is nothing live to compare with"
    equal = "equal" if table.is_equal else f"{_count(table.differing, 'row')} not the same"
    only = [
        *([f"only live: {', '.join(table.only_live)}"] if table.only_live else []),
        *([f"only in the copy: {', '.join(table.only_copy)}"] if table.only_copy else []),
        *([table.note] if table.note else []),
    ]
    rows = f"{_count(table.live_rows, 'row')} live, {table.copy_rows:,} in the copy"
    return "; ".join([f"{equal} ({rows})", *only])


def _row(row: RowDifference) -> str:
    key = ", ".join(f"{name} = {_value(value)}" for name, value in row.key.items())
    match row.kind:
        case "missing":
            return f"{key}: not in the copy"
        case "surplus":
            return f"{key}: only in the copy"
        case _:
            changed = (
                f"{name} is {_value(live)} live and {_value(copy)} in the copy"
                for name, (live, copy) in row.columns.items()
            )
            return f"{key}: {', '.join(changed)}"


def _value(value: Any) -> str:
    return "nothing" if value is None else clean(str(plain(value)))


def _when(time: Any) -> str:
    return "-" if time is None else f"{clock_time(time)} UTC"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _bytes(number: int) -> str:
    size, units = float(number), iter(("B", "KiB", "MiB", "GiB"))
    unit = next(units)
    while size >= _KIB and (larger := next(units, None)) is not None:
        size, unit = size / _KIB, larger
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"


def _first_line(text: str) -> str:
    return clean(text.splitlines()[0]) if text else ""
