"""`FailureStoreContract`: the whole of what the records of failed messages promise."""

from penstock.testing.contracts._editing import EditingContract
from penstock.testing.contracts._enqueued import EnqueuedContract
from penstock.testing.contracts._outcomes import OutcomesContract
from penstock.testing.contracts._recording import RecordingContract
from penstock.testing.contracts._records import RecordsContract
from penstock.testing.contracts._retries import RetriesContract

__all__ = ["FailureStoreContract"]


class FailureStoreContract(
    RecordingContract, RetriesContract, OutcomesContract, RecordsContract, EnqueuedContract, EditingContract
):
    """What every store of failures guarantees. Inherit it and supply the ``broker`` fixture, as for the broker's."""
