"""Legal moves of a replay: from each state the steps that may be taken, and where they lead. All of it is pure."""

from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, get_args

from penstock.errors import ReplayMoveError
from penstock.replays.abc import ReplayState

__all__ = ["MOVES", "Step", "after", "is_legal", "said"]

Step: TypeAlias = Literal["start", "arrive", "follow", "unfollow", "verify", "promote", "roll back", "remove"]
"""What is done to a replay. ``arrive`` is a play's own step: it has come to the end of the store."""

MOVES: Final[Mapping[Step, Mapping[ReplayState, ReplayState]]] = {
    "start": {"created": "building", "building": "building", "built": "building"},
    "arrive": {"building": "built"},
    # Catching up comes first; of a promoted one it is the former live copy that is fed again.
    "follow": {"built": "following", "following": "following", "promoted": "promoted"},
    "unfollow": {"following": "built", "promoted": "promoted"},
    "verify": {"built": "built", "following": "following"},
    "promote": {"built": "promoted", "following": "promoted"},
    "roll back": {"promoted": "following"},
    # It is gone in the end; until then it is like one of which no copy was made yet.
    "remove": dict.fromkeys(get_args(ReplayState), "created"),
}

_REMEDIES: Final[Mapping[ReplayState, str]] = {
    "created": "start it first",
    "building": "wait until it is built, or start it again if nobody plays it",
    "built": "have it follow, or promote it",
    "following": "unfollow it first",
    "promoted": "roll it back first, or remove it and create another",
}


def is_legal(step: Step, state: ReplayState) -> bool:
    """Whether *step* may be taken in *state*."""
    return state in MOVES[step]


def after(key: str, step: Step, state: ReplayState) -> ReplayState:
    """The state that *step* leads to. Raises `ReplayMoveError`, which names both."""
    found = MOVES[step].get(state)
    if found is None:
        raise ReplayMoveError(key, step=said(step), state=state, remedy=_remedy(step, state))
    return found


def said(step: str) -> str:
    """What a replay cannot do, in words."""
    return _SAID.get(step, step)


_SAID: Final[Mapping[str, str]] = {"verify": "be verified", "promote": "be promoted", "remove": "be removed"}


def _remedy(step: Step, state: ReplayState) -> str:
    match step, state:
        case "roll back", _:
            return "promote it first"
        case "unfollow", _:
            return "it does not follow"
        case ("verify" | "promote", "promoted"):
            return "it is live; roll it back first, or remove it"
        case _:
            return _REMEDIES[state]
