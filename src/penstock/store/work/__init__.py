"""What a handler may use of a transaction of ours: sessions, connections, rows that batch by themselves."""

from penstock.store.work._guarded import is_lent
from penstock.store.work._tables import alchemy_table
from penstock.store.work._wanted import Wanted, asked_types, wanted_of
from penstock.store.work.moving import Moved, engine_in, move, moved_on
from penstock.store.work.rows import Rows
from penstock.store.work.work import Work, Workshop

__all__ = [
    "Moved",
    "Rows",
    "Wanted",
    "Work",
    "Workshop",
    "alchemy_table",
    "asked_types",
    "engine_in",
    "is_lent",
    "move",
    "moved_on",
    "wanted_of",
]
