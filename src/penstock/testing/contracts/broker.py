"""`StreamBrokerContract`: the whole of what a streams backend promises, the records of failures apart."""

from penstock.testing.contracts._appending import AppendingContract
from penstock.testing.contracts._caps import CapsContract
from penstock.testing.contracts._claims import ClaimsContract
from penstock.testing.contracts._cursors import CursorsContract
from penstock.testing.contracts._group_reads import GroupReadsContract
from penstock.testing.contracts._groups import GroupsContract
from penstock.testing.contracts._life import LifeContract
from penstock.testing.contracts._names import NamesContract
from penstock.testing.contracts._reading import ReadingContract
from penstock.testing.contracts._settling import SettlingContract

__all__ = ["StreamBrokerContract"]


class StreamBrokerContract(
    LifeContract,
    AppendingContract,
    CapsContract,
    ReadingContract,
    CursorsContract,
    GroupsContract,
    GroupReadsContract,
    SettlingContract,
    ClaimsContract,
    NamesContract,
):
    """What every broker guarantees. Inherit it and supply the ``broker`` fixture: open, on an empty namespace."""
