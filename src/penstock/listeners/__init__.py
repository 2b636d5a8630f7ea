"""Handling events: what is declared (groups, listeners, routers) and the workers that carry it out."""

from penstock.listeners._broadcast import BroadcastWorker
from penstock.listeners._handling import Handling
from penstock.listeners._retrying import RetryRunner
from penstock.listeners._worker import GroupWorker
from penstock.listeners.calls import Dependencies
from penstock.listeners.delivery import Delivery
from penstock.listeners.groups import Call, Group, GroupSettings, Listener, Middleware, Registry, Router, on
from penstock.listeners.runner import Runner, keep_alive

__all__ = [
    "BroadcastWorker",
    "Call",
    "Delivery",
    "Dependencies",
    "Group",
    "GroupSettings",
    "GroupWorker",
    "Handling",
    "Listener",
    "Middleware",
    "Registry",
    "RetryRunner",
    "Router",
    "Runner",
    "keep_alive",
    "on",
]
