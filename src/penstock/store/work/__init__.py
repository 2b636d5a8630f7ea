"""What a handler may use of a transaction of ours: sessions, connections, rows that batch by themselves."""

from penstock.store.work._tables import alchemy_table
from penstock.store.work._wanted import Wanted, asked_types, wanted_of
from penstock.store.work.rows import Rows
from penstock.store.work.work import Work, Workshop

__all__ = ["Rows", "Wanted", "Work", "Workshop", "alchemy_table", "asked_types", "wanted_of"]
