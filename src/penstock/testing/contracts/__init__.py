"""What a streams backend promises, as tests that every backend inherits whole.

```python
class TestMyBroker(StreamBrokerContract):
    @pytest.fixture
    async def broker(self) -> AsyncIterator[StreamBroker]:
        async with my_broker(namespace=uuid4().hex) as broker:  # open, and with nothing in it
            yield broker
```

The tests are coroutines: they need pytest-asyncio in its auto mode. Time passes as the ``pass_time`` fixture says,
which waits for the server's clock; a backend with a clock of its own overrides it. The random test is in
`penstock.testing.contracts.stateful`, which needs Hypothesis.
"""

from pkgutil import iter_modules

import pytest

# Before anything of it is imported, so that a failing assert shows both sides.
pytest.register_assert_rewrite(*(f"{__name__}.{module.name}" for module in iter_modules(__path__)))

from penstock.testing.contracts._common import PassTime  # noqa: E402
from penstock.testing.contracts.archive import ArchiveContract  # noqa: E402
from penstock.testing.contracts.broker import StreamBrokerContract  # noqa: E402
from penstock.testing.contracts.failures import FailureStoreContract  # noqa: E402
from penstock.testing.contracts.figures import FigureStoreContract  # noqa: E402
from penstock.testing.contracts.history import HistoryStoreContract  # noqa: E402
from penstock.testing.contracts.lanes import LaneStoreContract  # noqa: E402
from penstock.testing.contracts.layouts import LayoutContract  # noqa: E402
from penstock.testing.contracts.leases import LeaseStoreContract, MemberStoreContract  # noqa: E402
from penstock.testing.contracts.removal import RemovalStoreContract  # noqa: E402
from penstock.testing.contracts.schedule import ScheduleStoreContract  # noqa: E402
from penstock.testing.contracts.store import StoreBackendContract  # noqa: E402
from penstock.testing.contracts.values import ValueStoreContract  # noqa: E402

__all__ = [
    "ArchiveContract",
    "FailureStoreContract",
    "FigureStoreContract",
    "HistoryStoreContract",
    "LaneStoreContract",
    "LayoutContract",
    "LeaseStoreContract",
    "MemberStoreContract",
    "PassTime",
    "RemovalStoreContract",
    "ScheduleStoreContract",
    "StoreBackendContract",
    "StreamBrokerContract",
    "ValueStoreContract",
]
