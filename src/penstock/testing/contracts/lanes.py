"""`LaneStoreContract`: settling under a lease, and events parked under their key until a person asks for them."""

from penstock.testing.contracts._parking import ParkingContract
from penstock.testing.contracts._under_lease import UnderLeaseContract
from penstock.testing.contracts._unparking import UnparkingContract

__all__ = ["LaneStoreContract"]


class LaneStoreContract(UnderLeaseContract, ParkingContract, UnparkingContract):
    """What every `LaneStore` guarantees. Inherit it and supply the ``broker`` fixture, as for the broker's."""
