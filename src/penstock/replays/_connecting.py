"""Connections of replays, which PostgreSQL shows as such."""

from contextlib import closing
from typing import Final

from penstock.store.database import Connection, Database

__all__ = ["APPLICATION", "connected"]

APPLICATION: Final = "penstock replays"
"""What PostgreSQL calls their sessions."""


def connected(database: Database) -> closing[Connection]:
    """A connection, closed at the end of the block. Raises as `Database.connect`."""
    return closing(database.connect(application=APPLICATION))
