"""What operations on replays answer with: replays in short and in full, what comes next, what a step would do."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from penstock.projections.abc import ProjectionStatus
from penstock.replays._moves import Step, is_legal
from penstock.replays._switching import reasons_against
from penstock.replays.abc import Finding, Play, Replay, ReplayProgress, ReplayState, Verification
from penstock.replays.values import ReplayDeed

__all__ = [
    "NextStep",
    "ReplayDetail",
    "ReplayIntent",
    "ReplayStep",
    "ReplaySummary",
    "ReplaysFound",
    "replay_command",
    "steps_from",
]

ReplayStep: TypeAlias = Literal["start", "follow", "unfollow", "verify", "promote", "roll back", "remove"]
"""What a person can do to a replay that is there."""


@dataclass(frozen=True, slots=True)
class NextStep:
    """Something that may be done now."""

    step: ReplayStep
    command: str
    """How it is typed."""
    why: str
    """What it does, in a few words."""


@dataclass(frozen=True, slots=True)
class ReplaySummary:
    """A replay and how far it is."""

    replay: Replay
    progress: ReplayProgress


@dataclass(frozen=True, slots=True)
class ReplaysFound:
    """Replays by key."""

    items: tuple[ReplaySummary, ...]
    problems: tuple[str, ...] = ()
    """Why some store could not be looked at."""


@dataclass(frozen=True, slots=True)
class ReplayDetail:
    """Everything about one replay."""

    replay: Replay
    progress: ReplayProgress
    projections: tuple[ProjectionStatus, ...]
    """How each stands in the copy."""
    live_versions: Mapping[str, int]
    """The version of each that is live; those that never ran are left out."""
    plays: tuple[Play, ...]
    """Latest first."""
    verification: Verification | None
    """The last report."""
    findings: tuple[Finding, ...]
    """What stands in the way of a switch, or should be known before; empty while there is nothing to switch."""
    log: tuple[ReplayDeed, ...]
    """Latest first."""
    next_steps: tuple[NextStep, ...]
    """What may be done now, that which is usual first."""


@dataclass(frozen=True, slots=True)
class ReplayIntent:
    """What a step would do to a replay; nothing was changed."""

    step: ReplayStep
    replay: Replay
    says: tuple[str, ...]
    """In words, a sentence each."""
    findings: tuple[Finding, ...] = ()
    refusals: tuple[str, ...] = ()
    """Why it would be refused."""


_USUAL: Final[Mapping[ReplayState, tuple[ReplayStep, ...]]] = {
    "created": ("start", "follow", "remove"),
    "building": ("start", "follow", "remove"),
    "built": ("follow", "verify", "promote", "start", "remove"),
    "following": ("verify", "promote", "unfollow", "remove"),
    "promoted": ("roll back", "unfollow", "follow", "remove"),
}
_COMMANDS: Final[Mapping[ReplayStep, str]] = {"roll back": "rollback"}
_DOES: Final[Mapping[ReplayStep, str]] = {
    "start": "play history to it, from where it stands",
    "follow": "have whoever runs the projections feed it",
    "unfollow": "have nobody feed it any more",
    "verify": "compare it with what is live",
    "promote": "make it live",
    "roll back": "make the former read model live again",
    "remove": "drop the copy; what is live stays",
}
_DOES_PROMOTED: Final[Mapping[ReplayStep, str]] = {
    "follow": "have the former read model fed again, so that nothing is lost by rolling back",
    "unfollow": "have nobody feed the former read model any more",
    "remove": "drop the former read model; what is live stays",
}


def steps_from(
    replay: Replay, progress: ReplayProgress, findings: Sequence[Finding] = ()
) -> tuple[NextStep, ...]:
    """What may be done with a replay now, that which is usual first; no switch that *findings* refuse by force, too."""
    is_barred = bool(reasons_against(findings, force=True))
    return tuple(
        NextStep(step, replay_command(step, replay.key), _does(step, replay))
        for step in _usual(replay)
        if _may(step, replay, progress) and not (is_barred and step in ("promote", "roll back"))
    )


def _usual(replay: Replay) -> tuple[ReplayStep, ...]:
    if replay.state == "following" and replay.is_verified:
        return ("promote", "verify", "unfollow", "remove")
    return _USUAL[replay.state]


def _may(step: ReplayStep, replay: Replay, progress: ReplayProgress) -> bool:
    # A copy that nothing was played to is caught up before it follows.
    wanted: Step = "start" if step == "follow" and replay.state in ("created", "building") else step
    if not is_legal(wanted, replay.state):
        return False
    match step:
        case "start" | "follow" | "remove" if replay.state == "building":
            return not progress.is_running
        case "start":
            return replay.state == "created" or progress.lag_events > 0
        case "promote":
            return replay.is_verified
        case "roll back" | "follow" | "unfollow" if replay.state == "promoted" and not _was_live(replay):
            return False
        case "unfollow":
            return replay.is_fed
        case "follow" if replay.state == "promoted":
            return not replay.is_fed
        case _:
            return True


def _was_live(replay: Replay) -> bool:
    """Whether there is a former read model that could be live again."""
    return all(name in replay.former_versions for name in replay.projections)


def replay_command(step: ReplayStep, key: str) -> str:
    """How a step is typed, whatever the key is like."""
    name = shlex.quote(key)
    # A key may begin with a dash.
    return f"penstock replays {_COMMANDS.get(step, step)} {'-- ' if key.startswith('-') else ''}{name}"


def _does(step: ReplayStep, replay: Replay) -> str:
    return (_DOES_PROMOTED if replay.state == "promoted" else {}).get(step, _DOES[step])
