"""Appending in the caller's own transaction: ``within=`` a session or connection of whatever library holds it."""

from penstock.store.within._within import append_within, load_within

__all__ = ["append_within", "load_within"]
