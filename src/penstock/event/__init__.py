"""Declaring events: our `Event` struct, or a class of yours under `event`; and what a declaration knows to do.

A declaration is kept on the class itself, in the attribute ``__penstock__``; there is no registry of names, so an event
class belongs to no app and two classes may read the same name in their own way.
"""

from penstock.event._declaring import event, event_type, is_event, upcaster
from penstock.event._struct import Event
from penstock.event._type import EventType, Key

__all__ = ["Event", "EventType", "Key", "event", "event_type", "is_event", "upcaster"]
