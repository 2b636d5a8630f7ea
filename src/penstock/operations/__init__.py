"""Operations: inspect and repair, as a Python API. The command line and the dashboard are two faces of it."""

from penstock.archive import ArchivePage, NotArchived, Restored
from penstock.listeners import AfterAcknowledged, purge_handled
from penstock.listeners._recurring import RecurringRun
from penstock.listeners.history import parse_until
from penstock.operations._archiving import (
    ArchivedDetail,
    ArchivedList,
    ArchivedStream,
    ArchiveOperations,
)
from penstock.operations._declared import declared_event, event_listeners, unheard
from penstock.operations._dividing import PartitionsDetail, RepartitionResult, Undrained
from penstock.operations._failures import FailedWhich
from penstock.operations._holding import HeldBy, LeaseView, ListenerSpeed
from penstock.operations._housekeeping import Housekeeping
from penstock.operations._operations import Operations
from penstock.operations._parking import ParkedWhich
from penstock.operations._removing import DeletedStream, Purged, ResetGroup
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
    LaneOwner,
    ListenerSummary,
    Moved,
    ParkedKeySummary,
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
from penstock.operations._workbench_values import (
    EditOutcome,
    EditResult,
    ErrorGroup,
    ErrorGroups,
    LoggedAction,
)
from penstock.streams.embedded import ServerStatus
from penstock.streams.scheduling import Scheduled

__all__ = [
    "AfterAcknowledged",
    "ArchiveOperations",
    "ArchivePage",
    "ArchivedDetail",
    "ArchivedList",
    "ArchivedStream",
    "ConsumerSummary",
    "DeletedStream",
    "EditOutcome",
    "EditResult",
    "EntryView",
    "ErrorGroup",
    "ErrorGroups",
    "EventListeners",
    "FailedDetail",
    "FailedMessage",
    "FailedPage",
    "FailedWhich",
    "GroupDetail",
    "GroupSummary",
    "HandlerRun",
    "HeldBy",
    "Housekeeping",
    "LaneOwner",
    "LeaseView",
    "ListenerSpeed",
    "ListenerSummary",
    "LoggedAction",
    "Moved",
    "NotArchived",
    "Operations",
    "ParkedKeySummary",
    "ParkedWhich",
    "PartitionsDetail",
    "PendingView",
    "PlanPart",
    "Purged",
    "RecurringRun",
    "RepartitionResult",
    "ResetGroup",
    "Restored",
    "RetryOutcome",
    "RetryPlan",
    "RetryResult",
    "Scheduled",
    "ServerStatus",
    "ServerSummary",
    "Status",
    "StreamDetail",
    "StreamSummary",
    "Undrained",
    "Work",
    "WorkCounts",
    "WorkerSummary",
    "declared_event",
    "event_listeners",
    "parse_until",
    "purge_handled",
    "unheard",
]
