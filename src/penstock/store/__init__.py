"""The event store: events kept for good, by stream and in one order, beside the business data.

`EventStore` is what users hold (``app.store()``); `penstock.store.abc` says what a backend promises.
"""

from penstock.store.abc import (
    ANY,
    EXISTS,
    NO_STREAM,
    Append,
    Appended,
    Conflict,
    EventFilter,
    EventPage,
    EventReader,
    Expected,
    ExpectedVersion,
    HeadHolder,
    Horizon,
    Lane,
    NewEvent,
    StoreBackend,
    StoredEvent,
    StoreWatch,
    StreamInfo,
    StreamMetadata,
    category_of,
)
from penstock.store.backends import make_backend
from penstock.store.folding import Fold
from penstock.store.loading import EventReading, Loaded
from penstock.store.migrating import include_name
from penstock.store.store import EventStore

__all__ = [
    "ANY",
    "EXISTS",
    "NO_STREAM",
    "Append",
    "Appended",
    "Conflict",
    "EventFilter",
    "EventPage",
    "EventReader",
    "EventReading",
    "EventStore",
    "Expected",
    "ExpectedVersion",
    "Fold",
    "HeadHolder",
    "Horizon",
    "Lane",
    "Loaded",
    "NewEvent",
    "StoreBackend",
    "StoreWatch",
    "StoredEvent",
    "StreamInfo",
    "StreamMetadata",
    "category_of",
    "include_name",
    "make_backend",
]
