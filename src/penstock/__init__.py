"""Penstock: services that talk through events, on Valkey and Redis Streams.

Everything an application needs comes from here; `penstock.streams` is the level below, `penstock.operations` inspects
and repairs, `penstock.testing` helps to test.
"""

from penstock._declaring import Router
from penstock.app import App
from penstock.clock import Clock
from penstock.codec import BYTES, JSON, MESSAGEPACK, TEXT, Codec
from penstock.errors import PenstockError
from penstock.event import Event, event, upcaster
from penstock.listeners import Call, Delivery, Group, GroupSettings, Listener, on
from penstock.listeners.history import History
from penstock.message import Message
from penstock.position import BEGINNING, NEW, EntryId
from penstock.retry import GiveUp, LeavePending, Release, Retry, RetryLater
from penstock.streams.publisher import Flusher, Published
from penstock.streams.scheduling import Scheduled
from penstock.streams.topics import Topic
from penstock.telemetry import Observer

__all__ = [
    "BEGINNING",
    "BYTES",
    "JSON",
    "MESSAGEPACK",
    "NEW",
    "TEXT",
    "App",
    "Call",
    "Clock",
    "Codec",
    "Delivery",
    "EntryId",
    "Event",
    "Flusher",
    "GiveUp",
    "Group",
    "GroupSettings",
    "History",
    "LeavePending",
    "Listener",
    "Message",
    "Observer",
    "PenstockError",
    "Published",
    "Release",
    "Retry",
    "RetryLater",
    "Router",
    "Scheduled",
    "Topic",
    "event",
    "on",
    "upcaster",
]
