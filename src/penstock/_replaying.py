"""The replays of an app: its manager, the same for synchronous code, and what a supervisor runs besides."""

import builtins
from abc import ABC
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from penstock._projecting import DeclaresProjections
from penstock._replaying_lanes import LaneProcesses
from penstock.projections._engine._generations import FindsGenerations
from penstock.projections._engine._run import Supervised
from penstock.projections.abc import ProjectionStatus
from penstock.replays._aside import SyncLooksAside
from penstock.replays._feeding import Generations
from penstock.replays.abc import (
    Finding,
    Play,
    Replay,
    ReplayProgress,
    Switched,
    Verification,
)
from penstock.replays.manager import ReplayManager
from penstock.replays.values import ReplayDeed, ReplayPlan

__all__ = ["HasReplays", "SyncReplayManager"]

T = TypeVar("T")


class HasReplays(DeclaresProjections, ABC):
    """The part of an app that knows its replays."""

    _replays: ReplayManager | None = None

    @property
    def replays(self) -> ReplayManager:
        """Read models that are built anew beside the live ones."""
        if self._replays is None:
            self._replays = ReplayManager(self, LaneProcesses(self, self._said))
        return self._replays

    def _said(self) -> Mapping[str, object]:
        """The settings that were given beside the code."""
        said: Mapping[str, object] = getattr(self, "_overrides", {})
        return said

    def _generations(self, supervised: Sequence[Supervised], *, until_idle: bool) -> FindsGenerations | None:
        """What a supervisor of *supervised* runs besides: copies that are fed, and plays that died."""
        if not any(each.plan.kind == "projection" for each in supervised):
            return None
        return Generations(self, supervised, resumes=None if until_idle else self.replays)


class SyncReplayManager(SyncLooksAside):
    """`ReplayManager` for synchronous code: ``app.sync.replays``. It raises what the other does."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], replays: ReplayManager) -> None:
        self._run = run
        self._replays = replays

    def plan(self, projections: Sequence[object] | str, key: str = "", **options: Any) -> ReplayPlan:
        """What a replay of these would be about; see `ReplayManager.plan`."""
        plan: ReplayPlan = self._run(self._replays.plan(projections, key, **options))
        return plan

    def create(self, key: str, projections: Sequence[object] | str, **options: Any) -> Replay:
        """Make an empty copy; see `ReplayManager.create`."""
        replay: Replay = self._run(self._replays.create(key, projections, **options))
        return replay

    def start(self, key: str, **options: Any) -> ReplayProgress:
        """Play history to it; see `ReplayManager.start`. *on_progress* is called in another thread."""
        progress: ReplayProgress = self._run(self._replays.start(key, **options))
        return progress

    def get(self, key: str) -> Replay | None:
        """One replay; see `ReplayManager.get`."""
        replay: Replay | None = self._run(self._replays.get(key))
        return replay

    def list(self) -> builtins.list[Replay]:
        """All replays; see `ReplayManager.list`."""
        replays: builtins.list[Replay] = self._run(self._replays.list())
        return replays

    def progress(self, key: str) -> ReplayProgress:
        """How far it is; see `ReplayManager.progress`."""
        progress: ReplayProgress = self._run(self._replays.progress(key))
        return progress

    def lag(self, key: str) -> int:
        """How many events it has still to take; see `ReplayManager.lag`."""
        lag: int = self._run(self._replays.lag(key))
        return lag

    def statuses(self, key: str) -> builtins.list[ProjectionStatus]:
        """How each of its projections stands in the copy; see `ReplayManager.statuses`."""
        found: builtins.list[ProjectionStatus] = self._run(self._replays.statuses(key))
        return found

    def plays(self, key: str) -> builtins.list[Play]:
        """What was played to it; see `ReplayManager.plays`."""
        found: builtins.list[Play] = self._run(self._replays.plays(key))
        return found

    def log(self, key: str) -> builtins.list[ReplayDeed]:
        """Who did what to it; see `ReplayManager.log`."""
        found: builtins.list[ReplayDeed] = self._run(self._replays.log(key))
        return found

    def follow(self, key: str, **options: Any) -> ReplayProgress:
        """Have it fed; see `ReplayManager.follow`."""
        found: ReplayProgress = self._run(self._replays.follow(key, **options))
        return found

    def unfollow(self, key: str, **options: Any) -> ReplayProgress:
        """Have nobody feed it any more; see `ReplayManager.unfollow`."""
        found: ReplayProgress = self._run(self._replays.unfollow(key, **options))
        return found

    def verify(self, key: str, **options: Any) -> Verification:
        """Compare it with the live read model; see `ReplayManager.verify`."""
        found: Verification = self._run(self._replays.verify(key, **options))
        return found

    def reports(self, key: str) -> builtins.list[Verification]:
        """What comparisons found; see `ReplayManager.reports`."""
        found: builtins.list[Verification] = self._run(self._replays.reports(key))
        return found

    def preflight(self, key: str) -> builtins.list[Finding]:
        """What stands in the way of a switch; see `ReplayManager.preflight`."""
        found: builtins.list[Finding] = self._run(self._replays.preflight(key))
        return found

    def promote(self, key: str, **options: Any) -> Switched:
        """Make it live; see `ReplayManager.promote`."""
        found: Switched = self._run(self._replays.promote(key, **options))
        return found

    def rollback(self, key: str, **options: Any) -> Switched:
        """Make the former one live again; see `ReplayManager.rollback`."""
        found: Switched = self._run(self._replays.rollback(key, **options))
        return found

    def remove(self, key: str, **options: Any) -> None:
        """Remove the copy and its record; see `ReplayManager.remove`."""
        self._run(self._replays.remove(key, **options))

    create_replay = create
    start_replay = start
    get_replay = get
    get_replay_lag = lag
    start_projecting_to_replay = follow
    put_replay_live = promote
    remove_replay = remove
