"""Change events of Django's models: ``class Customer(ChangeEvents, models.Model)``.

Put ``penstock.models.django`` into ``INSTALLED_APPS`` and name the app in ``PENSTOCK_APP``, or call `emit_changes`.
"""

from penstock.models._changes import Change, ModelEvents, change, events_of, without_change_events
from penstock.models.django._tracking import ChangeEvents, emit_changes

__all__ = [
    "Change",
    "ChangeEvents",
    "ModelEvents",
    "change",
    "emit_changes",
    "events_of",
    "without_change_events",
]
