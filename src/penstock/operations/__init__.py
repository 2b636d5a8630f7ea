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
from penstock.operations._databases import (
    AppliedMigration,
    DatabaseMigrated,
    DatabaseOperations,
    DatabaseStatus,
    PendingSql,
)
from penstock.operations._declared import declared_event, event_listeners, unheard
from penstock.operations._dividing import PartitionsDetail, RepartitionResult, Undrained
from penstock.operations._failures import FailedWhich
from penstock.operations._holding import HeldBy, LeaseView, ListenerSpeed
from penstock.operations._housekeeping import Housekeeping
from penstock.operations._operations import Operations
from penstock.operations._parking import ParkedWhich
from penstock.operations._projecting import ProjectionOperations
from penstock.operations._projecting_values import (
    CaughtUpTo,
    ProjectionChange,
    ProjectionDetail,
    ProjectionOutcome,
    ProjectionsFound,
    place_shown,
)
from penstock.operations._removing import DeletedStream, Purged, ResetGroup
from penstock.operations._storing import StoreOperations, parse_expected
from penstock.operations._storing_values import (
    BadLine,
    EventStreamPage,
    EventView,
    ExportedPage,
    Imported,
    StoreDetail,
    StoreSummary,
)
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
from penstock.projections.abc import ProjectionFailure, ProjectionKind, ProjectionStatus
from penstock.store.abc import EventFilter, HeadHolder
from penstock.store.abc import StreamInfo as EventStreamInfo
from penstock.streams.embedded import ServerStatus
from penstock.streams.scheduling import Scheduled

__all__ = [
    "AfterAcknowledged",
    "AppliedMigration",
    "ArchiveOperations",
    "ArchivePage",
    "ArchivedDetail",
    "ArchivedList",
    "ArchivedStream",
    "BadLine",
    "CaughtUpTo",
    "ConsumerSummary",
    "DatabaseMigrated",
    "DatabaseOperations",
    "DatabaseStatus",
    "DeletedStream",
    "EditOutcome",
    "EditResult",
    "EntryView",
    "ErrorGroup",
    "ErrorGroups",
    "EventFilter",
    "EventListeners",
    "EventStreamInfo",
    "EventStreamPage",
    "EventView",
    "ExportedPage",
    "FailedDetail",
    "FailedMessage",
    "FailedPage",
    "FailedWhich",
    "GroupDetail",
    "GroupSummary",
    "HandlerRun",
    "HeadHolder",
    "HeldBy",
    "Housekeeping",
    "Imported",
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
    "PendingSql",
    "PendingView",
    "PlanPart",
    "ProjectionChange",
    "ProjectionDetail",
    "ProjectionFailure",
    "ProjectionKind",
    "ProjectionOperations",
    "ProjectionOutcome",
    "ProjectionStatus",
    "ProjectionsFound",
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
    "StoreDetail",
    "StoreOperations",
    "StoreSummary",
    "StreamDetail",
    "StreamSummary",
    "Undrained",
    "Work",
    "WorkCounts",
    "WorkerSummary",
    "declared_event",
    "event_listeners",
    "parse_expected",
    "parse_until",
    "place_shown",
    "purge_handled",
    "unheard",
]
