"""What a streams backend promises: entries in streams, consumer groups over them, and the records of failed messages.

Engines (publisher, readers, worker) know only this module; backends implement it; neither imports the other. The
contract is executable: `penstock.testing.contracts` holds the suite that every backend passes. `StreamBroker` adds,
reads and delivers; what else is kept beside a stream has a store of its own, an attribute of the broker each.

On this level an entry is what the server keeps, so that the hot path copies nothing: its id as ASCII bytes
(``b"1700000000000-3"``) and its fields as one flat list of names and values. `penstock.streams.layouts` turns entries
into messages and back. Streams are named without the namespace; the backend puts it in front.

Every coroutine may also raise `BrokerUnavailableError` (no answer came within the time-outs; reading and settling
again is safe), `BrokerRefusedError` (the server will not, and will not later either) and, where it writes anything but
acknowledgements, `BrokerFullError` (memory limit; nothing of the call was written).
"""

from penstock.streams.abc._broker import StreamBroker
from penstock.streams.abc._entries import (
    AppendOutcome,
    Batch,
    Cap,
    Capabilities,
    Condition,
    Dedupe,
    Index,
    NewEntry,
    RawEntry,
    RawId,
    StreamInfo,
)
from penstock.streams.abc._failures import (
    MOST_EDITS,
    DueRetry,
    Edit,
    Edited,
    FailureKey,
    FailureRecord,
    FailureState,
    FailureStore,
    ListenerFailure,
    RetryClaim,
    Tally,
    restored,
)
from penstock.streams.abc._figures import (
    FIGURE_BUCKETS,
    FigureStore,
    GroupFigures,
    RunFigures,
    bucket_of,
)
from penstock.streams.abc._groups import (
    Claimed,
    ConsumerInfo,
    GroupInfo,
    GroupRead,
    Holder,
    PendingEntry,
    PendingSummary,
    Settled,
)
from penstock.streams.abc._history import Chapter, HistoryPage, HistoryStore
from penstock.streams.abc._lanes import (
    Lane,
    LaneStore,
    Parked,
    ParkedEvent,
    ParkedKey,
    behind,
    check_in_place,
    check_lane,
)
from penstock.streams.abc._leases import Lease, LeaseInfo, LeaseStore, Member, MemberStore
from penstock.streams.abc._notes import MOST_NOTES, Note, NoteStore
from penstock.streams.abc._partitions import (
    LaneMark,
    LayoutPhase,
    PartitionLayout,
    PartitionStore,
    Routed,
    RouteEntry,
    RouteMark,
)
from penstock.streams.abc._relays import (
    RelayBatch,
    Relayed,
    RelayEntry,
    RelayMark,
    RelayOutcome,
    RelayStore,
    check_relayed,
)
from penstock.streams.abc._removal import Floor, Hold, HoldKind, RemovalStore, Removed, Trimmed
from penstock.streams.abc._schedule import DelayedEntry, Moved, ScheduleStore, Tick
from penstock.streams.abc._values import ValueStore

__all__ = [
    "AppendOutcome",
    "Batch",
    "Cap",
    "Capabilities",
    "Chapter",
    "Claimed",
    "Condition",
    "ConsumerInfo",
    "Dedupe",
    "DelayedEntry",
    "DueRetry",
    "Edit",
    "Edited",
    "FIGURE_BUCKETS",
    "FailureKey",
    "FailureRecord",
    "FailureState",
    "FailureStore",
    "FigureStore",
    "Floor",
    "GroupFigures",
    "GroupInfo",
    "GroupRead",
    "HistoryPage",
    "HistoryStore",
    "Hold",
    "HoldKind",
    "Holder",
    "Index",
    "Lane",
    "LaneMark",
    "LaneStore",
    "LayoutPhase",
    "Lease",
    "LeaseInfo",
    "LeaseStore",
    "ListenerFailure",
    "MOST_EDITS",
    "MOST_NOTES",
    "Member",
    "MemberStore",
    "Moved",
    "NewEntry",
    "Note",
    "NoteStore",
    "Parked",
    "ParkedEvent",
    "ParkedKey",
    "PartitionLayout",
    "PartitionStore",
    "PendingEntry",
    "PendingSummary",
    "RawEntry",
    "RawId",
    "RelayBatch",
    "RelayEntry",
    "RelayMark",
    "RelayOutcome",
    "RelayStore",
    "Relayed",
    "RemovalStore",
    "Removed",
    "RetryClaim",
    "RouteEntry",
    "RouteMark",
    "Routed",
    "RunFigures",
    "ScheduleStore",
    "Settled",
    "StreamBroker",
    "StreamInfo",
    "Tally",
    "Tick",
    "Trimmed",
    "ValueStore",
    "behind",
    "bucket_of",
    "check_in_place",
    "check_lane",
    "check_relayed",
    "restored",
]
