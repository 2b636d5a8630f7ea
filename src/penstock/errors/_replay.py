"""What replays say: a copy cannot be made, compared or switched; the live read model is as it was."""

from collections.abc import Sequence

from penstock.errors._base import PenstockError, TransientError

__all__ = [
    "ReplayError",
    "UnknownReplayError",
    "ReplayExistsError",
    "ReplayMoveError",
    "ReplayRefusedError",
    "ReplayBusyError",
    "IsolationError",
]


class ReplayError(PenstockError):
    """A replay cannot go on; the live read model is as it was."""


class UnknownReplayError(ReplayError):
    """There is no replay of this key."""

    def __init__(self, key: str, nearest: str | None = None) -> None:
        self.key, self.nearest = key, nearest
        hint = (
            f"; did you mean {nearest!r}?" if nearest else "; `penstock replays list` shows those there are"
        )
        super().__init__(f"there is no replay {key!r}{hint}")


class ReplayExistsError(ReplayError):
    """There is a replay of this key already. Nothing was changed."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"there is a replay {key!r} already; take another key, or remove that one first")


class ReplayMoveError(ReplayError):
    """A step that does not come next: each state has its own. Nothing was changed."""

    def __init__(self, key: str, *, step: str, state: str, remedy: str) -> None:
        self.key, self.step, self.state, self.remedy = key, step, state, remedy
        super().__init__(f"replay {key!r} is {state}, so it cannot {step}; {remedy}")


class ReplayRefusedError(ReplayError):
    """What was looked at before a switch stands in its way: lag, no verification, something that would be lost."""

    def __init__(self, key: str, *, step: str, reasons: Sequence[str]) -> None:
        self.key, self.step, self.reasons = key, step, tuple(reasons)
        super().__init__(f"replay {key!r} cannot {step}: " + "; ".join(self.reasons))


class ReplayBusyError(ReplayError, TransientError):
    """Another process plays, compares or switches it, or locks were not had in time. Nothing was changed."""

    def __init__(self, key: str, *, step: str, reason: str) -> None:
        self.key, self.step, self.reason = key, step, reason
        super().__init__(f"replay {key!r} cannot {step} now: {reason}; try again")


class IsolationError(ReplayError):
    """While a copy was written, a handler touched the live read model, or something else outside of the copy.

    Its page was rolled back; production is as it was.
    """

    def __init__(self, projection: str, *, what: str, remedy: str) -> None:
        self.projection, self.what, self.remedy = projection, what, remedy
        super().__init__(
            f"a handler of projection {projection!r} {what} while it was writing a copy; {remedy}"
        )
