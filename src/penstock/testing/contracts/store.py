"""`StoreBackendContract`: the whole of what an event store's backend promises."""

from penstock.testing.contracts._store_appending import AppendingContract
from penstock.testing.contracts._store_life import LifeContract
from penstock.testing.contracts._store_reading import ReadingContract
from penstock.testing.contracts._store_streams import StreamsContract

__all__ = ["StoreBackendContract"]


class StoreBackendContract(AppendingContract, ReadingContract, StreamsContract, LifeContract):
    """What every backend guarantees. Inherit it and supply two fixtures.

    ``store``: a `StoreBackend`, open, with nothing in it. ``another``: a function that makes one more for the same
    store, not open yet.
    """
