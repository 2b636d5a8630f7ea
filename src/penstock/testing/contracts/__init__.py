"""What a streams backend promises, as tests that every backend inherits whole.

```python
class TestMyBroker(StreamBrokerContract):
    @pytest.fixture
    async def broker(self) -> AsyncIterator[StreamBroker]:
        ...  # an open broker on an empty namespace of its own
```

The tests are coroutines: they need pytest-asyncio in its auto mode. Time passes as the ``pass_time`` fixture says, which
waits for the server's clock unless it is overridden. `penstock.testing.contracts.stateful` holds the random test, which
needs Hypothesis.
"""

import pytest

pytest.register_assert_rewrite("penstock.testing.contracts")

from penstock.testing.contracts.broker import StreamBrokerContract  # noqa: E402  after their asserts are to be rewritten
from penstock.testing.contracts.failures import FailureStoreContract  # noqa: E402

__all__ = ["FailureStoreContract", "StreamBrokerContract"]
