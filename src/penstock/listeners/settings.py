"""How a consumer group works: what may be said of it in code and in settings files, checked when it is said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any, Literal, TypedDict

from penstock.clock import parse_duration
from penstock.errors import ConfigurationError, UsageError
from penstock.position import BEGINNING, Start
from penstock.retry import Retry

__all__ = ["GroupOptions", "GroupSettings", "changed_settings"]


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """How a consumer group works. Every duration may be written as text."""

    mode: Literal["parallel", "exclusive", "keyed"] = "parallel"
    """``parallel``: any member may take any entry; no order between them. ``exclusive``: one member at a time works a
    stream, one event after the other. ``keyed``: one member at a time works a stream, events of different keys side by
    side, those of one key one after the other."""
    start: Start = BEGINNING
    """Where a group that does not exist yet begins."""
    retry: Retry = Retry()  # noqa: RUF009  frozen
    """How often and how long apart a failing listener runs."""
    on_failure: Literal["retry", "park", "leave_pending", "halt"] = "retry"
    """``retry`` records the failure, acknowledges the entry and runs the listener again from the record (in ordered
    modes it runs again in its place first, and is recorded once its attempts are used up); ``park``, in ordered modes,
    puts the event and all later ones of its key aside until a person unparks the key; ``leave_pending``, in
    ``parallel`` mode, records nothing and lets the entry be delivered again after `min_idle`; ``halt`` stops the
    worker and leaves the entry pending."""
    unhandled: Literal["acknowledge", "leave_pending", "fail"] = "acknowledge"
    """What becomes of an event that none of the group's listeners handles."""
    on_missing: Literal["recreate", "halt"] = "recreate"
    """What the worker does when the group or its stream is deleted underneath."""
    concurrency: int = 10
    """How many messages of the group one process handles at the same time."""
    min_idle: timedelta = timedelta(seconds=60)
    """How long an entry must have gone untouched before another consumer takes it over."""
    max_deliveries: int = 3
    """How often a suspicious entry is handled alone before it is condemned as poison."""
    max_batch: int = 500
    """The most entries that one read brings, per stream."""
    byte_budget: int = 8 * 1024 * 1024
    """About how many bytes of entries a worker holds unhandled."""
    dead_after: timedelta = timedelta(minutes=10)
    """When a consumer that has not been heard of, and whose name nobody holds, is removed (its entries move first)."""
    drain_timeout: timedelta = timedelta(seconds=30)
    """How long handlers may go on after a stop was asked for."""
    retry_visibility: timedelta = timedelta(seconds=60)
    """How long a retry belongs to the process that took it; renewed while its handler runs."""
    lease_life: timedelta = timedelta(seconds=30)
    """Ordered modes: how long a stream belongs to the member that works it; renewed every third of it."""
    busy: Literal["wait", "refuse"] = "wait"
    """Ordered modes: what a worker does when others work its streams. ``wait``: take its share, and take over what
    comes free; ``refuse``: end with an error."""
    window: int = 1000
    """Ordered modes: how many entries of one stream a worker holds unsettled. A key that waits does not stop the
    others until its own entries fill the window."""

    refresh: timedelta = timedelta(seconds=5)
    """How often streams that have come to match a pattern of the group are looked for."""

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name in _DURATIONS:
                object.__setattr__(self, each.name, _positive(each.name, parse_duration(value)))
            elif each.name in _COUNTS and (not isinstance(value, int) or value < 1):
                raise UsageError(f"{each.name} is {value!r}; it is a whole number of at least 1")
            elif each.name in _CHOICES and value not in _CHOICES[each.name]:
                raise UsageError(f"{each.name} is {value!r}; choose one of {', '.join(_CHOICES[each.name])}")

    @property
    def is_ordered(self) -> bool:
        """Whether each stream of the group is worked by one member at a time, in order."""
        return self.mode != "parallel"


_DURATIONS = frozenset(
    {"min_idle", "dead_after", "drain_timeout", "retry_visibility", "refresh", "lease_life"}
)
_COUNTS = frozenset({"concurrency", "max_deliveries", "max_batch", "byte_budget", "window"})
_CHOICES = {
    "mode": ("parallel", "exclusive", "keyed"),
    "on_failure": ("retry", "park", "leave_pending", "halt"),
    "unhandled": ("acknowledge", "leave_pending", "fail"),
    "on_missing": ("recreate", "halt"),
    "busy": ("wait", "refuse"),
}


def changed_settings(settings: GroupSettings, group: str, changes: Mapping[str, Any]) -> GroupSettings:
    """The settings of *group* with some changed, by name. Raises `ConfigurationError`, `UsageError`."""
    known = [each.name for each in fields(GroupSettings)]
    for name in changes:
        if name not in known:
            raise ConfigurationError(
                f"group {group!r} has no setting {name!r}; it has {', '.join(known)}, streams"
            )
    return replace(settings, **changes)


def _positive(name: str, duration: timedelta) -> timedelta:
    if duration < timedelta(milliseconds=1):
        raise UsageError(f"{name} is {duration}; it is at least 1ms")
    return duration


class GroupOptions(TypedDict, total=False):
    """What may be said of a group: the fields of `GroupSettings`, durations also as text, and its streams."""

    streams: Sequence[str]
    mode: Literal["parallel", "exclusive", "keyed"]
    start: Start
    retry: Retry
    on_failure: Literal["retry", "park", "leave_pending", "halt"]
    unhandled: Literal["acknowledge", "leave_pending", "fail"]
    on_missing: Literal["recreate", "halt"]
    concurrency: int
    min_idle: timedelta | str
    max_deliveries: int
    max_batch: int
    byte_budget: int
    dead_after: timedelta | str
    drain_timeout: timedelta | str
    retry_visibility: timedelta | str
    refresh: timedelta | str
    lease_life: timedelta | str
    busy: Literal["wait", "refuse"]
    window: int
