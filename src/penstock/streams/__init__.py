"""Streams: the promise of a backend, the engines over it, and the layout of entries.

Backends are modules of their own: `penstock.streams.valkey` and `penstock.streams.memory`.
"""

from penstock.streams.abc import Cap, Capabilities, Dedupe, FailureStore, NewEntry, StreamBroker
from penstock.streams.locks import Lock
from penstock.streams.publisher import Flusher, Outgoing, Published, Publisher
from penstock.streams.reader import StreamReader, TypedReader

__all__ = [
    "Cap",
    "Capabilities",
    "Dedupe",
    "FailureStore",
    "Flusher",
    "Lock",
    "NewEntry",
    "Outgoing",
    "Published",
    "Publisher",
    "StreamBroker",
    "StreamReader",
    "TypedReader",
]
