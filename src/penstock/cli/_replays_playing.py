"""The bar that is shown while history is played to a copy: how much, how fast, and until when."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from penstock.cli._cli import Cli
from penstock.cli._output import Advance
from penstock.operations import Operations, ReplayProgress, replay_command

__all__ = ["Told", "pace", "playing"]


@dataclass
class Told:
    """What was heard of a play."""

    bar: Advance
    handled: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return time.monotonic() - self.began

    def hear(self, progress: ReplayProgress) -> None:
        """Show how far it is."""
        self.handled = progress.handled
        self.bar.to(progress.handled, pace(progress), total=progress.handled + progress.lag_events)


def pace(progress: ReplayProgress, now: datetime | None = None) -> str:
    """How fast a play is, and when it will be done, for people; short, since it stands beside a bar."""
    if not progress.rate:
        return ""
    text = f"{progress.rate:,.0f}/s"
    if progress.remaining is None or not progress.lag_events:
        return text
    ends = (now or datetime.now(UTC)) + progress.remaining
    return f"{text}, until {ends.strftime('%H:%M:%S')} UTC"


@asynccontextmanager
async def playing(
    cli: Cli, operations: Operations, key: str, *, from_zero: bool = False
) -> AsyncIterator[Told]:
    """A bar while the block plays; whoever interrupts it is told how to go on."""
    lag = 0 if from_zero else (await operations.replays.progress(key)).lag_events
    with cli.out.progress("Playing", total=lag) as bar:
        told = Told(bar)
        try:
            yield told
        except asyncio.CancelledError:
            cli.out.note(f"What was played stays; `{replay_command('start', key)}` goes on from there")
            raise
