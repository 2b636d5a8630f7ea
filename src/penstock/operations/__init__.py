"""Operations: inspect and repair, as a Python API. The command line and the dashboard are two faces of it."""

from penstock.operations._declared import declared_event, event_listeners, unheard
from penstock.operations._failures import FailedWhich
from penstock.operations._operations import Operations
from penstock.operations._values import (
    ConsumerSummary,
    EntryView,
    EventListeners,
    FailedDetail,
    FailedMessage,
    FailedPage,
    GroupDetail,
    GroupSummary,
    HandlerRun,
    ListenerSummary,
    PendingView,
    PlanPart,
    RetryOutcome,
    RetryPlan,
    RetryResult,
    ServerSummary,
    Status,
    StreamDetail,
    StreamSummary,
    WorkerSummary,
)
from penstock.operations._work import Work, WorkCounts
from penstock.streams.embedded import ServerStatus

__all__ = [
    "ConsumerSummary",
    "EntryView",
    "EventListeners",
    "FailedDetail",
    "FailedMessage",
    "FailedPage",
    "FailedWhich",
    "GroupDetail",
    "GroupSummary",
    "HandlerRun",
    "ListenerSummary",
    "Operations",
    "PendingView",
    "PlanPart",
    "RetryOutcome",
    "RetryPlan",
    "RetryResult",
    "ServerStatus",
    "ServerSummary",
    "Status",
    "StreamDetail",
    "StreamSummary",
    "Work",
    "WorkCounts",
    "WorkerSummary",
    "declared_event",
    "event_listeners",
    "unheard",
]
