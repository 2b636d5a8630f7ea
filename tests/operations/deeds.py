"""What people do to failed messages: what the tests of it share."""

import asyncio
from datetime import timedelta
from typing import Any

from penstock.operations import EditResult, FailedWhich, RetryResult
from penstock.streams.abc import FailureRecord
from tests.operations.conftest import Shop

EVERYTHING = FailedWhich()
BILLING = "billing.OrderPlaced"
MAIL = "mail.OrderPlaced"
ORDERS = FailedWhich(stream="order.placed", group="billing")
"""Orders that failed in billing."""


async def retried(shop: Shop, which: FailedWhich = EVERYTHING, **how: Any) -> list[RetryResult]:
    """Run again what is meant, and answer every result."""
    everything = which.is_everything
    return [each async for each in shop.operations.failed_retry(which, everything=everything, **how)]


async def orders(shop: Shop, which: FailedWhich = EVERYTHING) -> list[str | None]:
    """The keys of the messages on the list, in its order."""
    return [
        each.message.key if each.message is not None else None
        for each in await shop.operations.failed_show(which, limit=1000)
    ]


async def pass_time(shop: Shop) -> None:
    """Make the next failure a later one."""
    if shop.clock is not None:
        await shop.clock.advance(timedelta(milliseconds=5))
        return
    before = await shop.broker.server_time_us()
    while await shop.broker.server_time_us() < before + 2000:
        await asyncio.sleep(0)


async def edited(shop: Shop, which: FailedWhich = ORDERS, **how: Any) -> EditResult:
    """Edit as Ann does."""
    return await shop.operations.failed_edit(which, who="ann", why="a typo", **how)


async def record_of(shop: Shop) -> FailureRecord:
    """The one failure record of orders in billing."""
    [found] = await shop.broker.failures.find("order.placed", "billing")
    record = await shop.broker.failures.get(found.key)
    assert record is not None
    return record
