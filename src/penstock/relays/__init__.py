"""Persist first, then produce: what is stored is moved on, once per event id and in order."""

from penstock.relays.abc import RelayPlan
from penstock.relays.relay import Relay, RelayOptions

__all__ = ["Relay", "RelayOptions", "RelayPlan"]
