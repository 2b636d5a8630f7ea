"""Handling events: what is declared (groups, listeners, routers) and the workers that carry it out."""

from penstock.listeners._after import AfterAcknowledged
from penstock.listeners._broadcast import BroadcastWorker
from penstock.listeners._handling import Handling
from penstock.listeners._moving import move_pending
from penstock.listeners._names import working_as
from penstock.listeners._ordered._worker import OrderedWorker
from penstock.listeners._purging import purge_handled
from penstock.listeners._retrying import RetryRunner
from penstock.listeners._worker import GroupWorker
from penstock.listeners.calls import Dependencies
from penstock.listeners.consuming import GroupConsumer
from penstock.listeners.delivery import Delivery
from penstock.listeners.groups import Call, Group, Listener, Middleware, on
from penstock.listeners.registry import Registry, Router
from penstock.listeners.runner import Runner, keep_alive
from penstock.listeners.settings import GroupSettings

__all__ = [
    "AfterAcknowledged",
    "BroadcastWorker",
    "Call",
    "Delivery",
    "Dependencies",
    "Group",
    "GroupConsumer",
    "GroupSettings",
    "GroupWorker",
    "Handling",
    "Listener",
    "Middleware",
    "OrderedWorker",
    "Registry",
    "RetryRunner",
    "Router",
    "Runner",
    "keep_alive",
    "move_pending",
    "on",
    "purge_handled",
    "working_as",
]
