"""What a relay is made of: its declaration as a value, checked when it is made.

A relay moves what is stored. From a store into streams it is an outbox; from one store into another it shares events
between services; from a stream into a store it keeps for good what others have emitted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, Literal, TypeAlias

from penstock.errors import ConfigurationError
from penstock.event import EventType
from penstock.message import Message
from penstock.projections.abc import Mode, OnFailure, ProjectionPlan
from penstock.retry import Retry
from penstock.store.abc import EventFilter

__all__ = ["STREAMS", "RelayKind", "RelayPlan", "Rename", "To", "Where", "stream_in"]

STREAMS: Final = "streams"
"""The target that is no store: each event goes into a stream."""
_FROM_STREAM: Final = "stream:"

RelayKind: TypeAlias = Literal["store to streams", "store to store", "stream to store"]
"""From what to what."""
Rename: TypeAlias = Mapping[str, str] | Callable[[Message], str]
"""What an event is called where it goes: by its name (others keep theirs), or a function of the event."""
Where: TypeAlias = Callable[[Any], object]
"""Whether an event goes; given the event as it is stored."""
To: TypeAlias = str | Callable[[Any], str]
"""The stream that all go into, or a function of the event."""


def stream_in(source: str) -> str | None:
    """The stream that *source* names (``stream:NAME``); ``None`` where it names a store."""
    return source.removeprefix(_FROM_STREAM) if source.startswith(_FROM_STREAM) else None


@dataclass(frozen=True, slots=True)
class RelayPlan:
    """Everything there is to know about one relay. Raises `ConfigurationError` for what cannot work."""

    name: str
    source: str = "local"
    """A store, or ``stream:NAME``."""
    target: str = STREAMS
    """A store, or ``streams``."""
    names: tuple[str, ...] | None = None
    """The event names that go; ``None``: all."""
    types: Mapping[str, EventType] = field(default_factory=dict[str, EventType])
    """Declarations of events, by name: where they go, and whether they have a history."""
    streams: tuple[str, ...] = ()
    """Event streams of the source store; with no categories either, all."""
    categories: tuple[str, ...] = ()
    rename: Rename | None = None
    where: Where | None = None
    to: To | None = None
    mode: Mode = "background"
    on_failure: OnFailure = "halt"
    retry: Retry = field(default_factory=Retry)
    page: int = 1000
    """The most events of one step."""
    keep: timedelta | None = None
    """Events that were relayed so long ago are deleted from the source store; ``None``: kept for good."""
    archive: bool = False
    """From a stream: what was archived of it goes first."""

    def __post_init__(self) -> None:
        wrong = next(_mistakes(self), None)
        if wrong is not None:
            raise ConfigurationError(f"relay {self.name!r}: {wrong}")

    @property
    def kind(self) -> RelayKind:
        """From what to what."""
        if stream_in(self.source) is not None:
            return "stream to store"
        return "store to streams" if self.target == STREAMS else "store to store"

    @property
    def wanted(self) -> EventFilter:
        """What is read of the source store."""
        return EventFilter(streams=self.streams, categories=self.categories, names=self.names or ())

    def engine_plan(self, source: str | None = None) -> ProjectionPlan:
        """What the engine of projections runs. *source* stands for a part of the source: a partition of the stream."""
        is_outside = self.kind == "store to streams"
        return ProjectionPlan(
            self.name,
            kind="relay",
            source=source or self.source,
            target=self.source if is_outside else self.target,
            wanted=self.wanted,
            mode=self.mode,
            on_failure=self.on_failure,
            retry=self.retry,
            page_events=self.page,
            page_time=timedelta(seconds=1),
            outside=is_outside,
        )


def _mistakes(plan: RelayPlan) -> Any:
    stream = stream_in(plan.source)
    if not plan.name or "\0" in plan.name:
        yield "it needs a name without NUL in it"
    if plan.names == ():
        yield "its list of events is empty; leave `events` out to relay all of them"
    if stream == "":
        yield "source 'stream:' names no stream; write 'stream:NAME'"
    if stream is not None and plan.target == STREAMS:
        yield "from a stream it goes into a store; name that store with target="
    if stream is None and plan.source == plan.target and plan.to is None:
        yield f"source and target are both {plan.source!r}; name another store, or with to= another event stream"
    if plan.page < 1:
        yield f"page is {plan.page}; it is at least 1"
    if plan.keep is not None and plan.keep < timedelta(0):
        yield "keep is below zero"
    if stream is not None:
        if plan.streams or plan.categories:
            yield "streams= and categories= choose event streams of a store, and its source is a stream"
        if plan.keep is not None:
            yield "keep= deletes from a store; what a stream keeps is said by its retention"
        if plan.on_failure == "park":
            yield "from a stream, on_failure is 'halt', 'retry' or 'skip'"
        if plan.mode == "on_demand":
            yield "from a stream, mode is 'background'"
    elif plan.archive:
        yield "archive= reads what was archived of a stream, and its source is a store"
