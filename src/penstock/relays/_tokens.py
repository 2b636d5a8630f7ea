"""What a store has noted of the relays out of it: a token each, and how far it has come, for who deletes events.

Marks on a server are kept under name and token. A relay of the same name out of another store has another token, and so
has one that was reset: it begins anew, and nothing has to be removed from any server for it.
"""

import time
from uuid import uuid4

from penstock.relays._noting import reading
from penstock.store.database import Connection, Database

__all__ = ["ensure_token", "forget", "note_position", "positions", "renew_token", "token_of"]


def _now_us() -> int:
    return time.time_ns() // 1000


def ensure_token(database: Database, connection: Connection, relay: str) -> None:
    """See to it that the relay has a token, inside a transaction."""
    database.execute(
        connection,
        "INSERT INTO penstock_relays (relay, token, updated_at) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        (relay, uuid4().hex[:16], _now_us()),
    )


def token_of(database: Database, connection: Connection, relay: str) -> str:
    """The name under which the relay's marks are kept; its own name where it has no token."""
    row = database.execute(
        connection, "SELECT token FROM penstock_relays WHERE relay = ?", (relay,)
    ).fetchone()
    return relay if row is None else f"{relay}@{row[0]}"


def renew_token(database: Database, connection: Connection, relay: str) -> None:
    """Give the relay another token, inside a transaction: everything will be relayed again."""
    forget(database, connection, relay)
    ensure_token(database, connection, relay)


def forget(database: Database, connection: Connection, relay: str) -> None:
    """Remove what is noted of the relay, inside a transaction: it needs nothing any more."""
    database.execute(connection, "DELETE FROM penstock_relays WHERE relay = ?", (relay,))


def note_position(database: Database, connection: Connection, relay: str, position: int) -> None:
    """Note how far the relay has come, inside a transaction; never moves back."""
    database.execute(
        connection,
        "UPDATE penstock_relays SET position = ?, updated_at = ? WHERE relay = ? AND position < ?",
        (position, _now_us(), relay, position),
    )


def positions(database: Database, connection: Connection) -> dict[str, int]:
    """The position up to which each relay needs no event any more: by its checkpoint and its failures where these are
    in the same database, else as noted.
    """
    rows = database.execute(
        connection, "SELECT relay, position FROM penstock_relays ORDER BY relay"
    ).fetchall()
    found: dict[str, int] = {}
    for relay, noted in rows:
        checkpoint, free = reading(database, connection, relay)
        found[relay] = int(noted) if checkpoint is None else free
    return found
