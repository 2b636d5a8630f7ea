"""What is known of a play while it goes on: how far it is, how fast, and how long it will take."""

import time
from dataclasses import dataclass, field
from datetime import timedelta

from penstock.projections._engine._run import ProjectionRun
from penstock.replays.abc import ReplayProgress

__all__ = ["Told"]


@dataclass
class Told:
    """Read in the event loop while the runs go on in their threads."""

    began: float = field(default_factory=time.monotonic)
    runs: dict[str, ProjectionRun] = field(default_factory=dict[str, ProjectionRun])
    positions: dict[str, int] = field(default_factory=dict[str, int])
    head: int = 0
    ahead: int = 0
    """Events that were handled by other means than the engine's."""
    total: int | None = None
    """How many events there were to handle, when it was last counted."""

    @property
    def handled(self) -> int:
        """Events of this play."""
        return self.ahead + sum(run.moved for run in self.runs.values())

    @property
    def position(self) -> int:
        """The lowest."""
        places = {name: run.checkpoint.position for name, run in self.runs.items()}
        return min({**self.positions, **places}.values(), default=0)

    def progress(self, key: str) -> ReplayProgress:
        """For people."""
        took, handled = time.monotonic() - self.began, self.handled
        rate = handled / took if took > 0 else 0.0
        left = None if self.total is None else max(self.total - handled, 0)
        return ReplayProgress(
            key=key,
            state="building",
            position=self.position,
            head=max(self.head, self.position),
            lag_events=left or 0,
            handled=handled,
            rate=rate,
            remaining=timedelta(seconds=left / rate) if left is not None and rate > 0 else None,
            is_running=True,
        )
