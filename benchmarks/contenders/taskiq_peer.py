"""taskiq with the stream broker of taskiq-redis: an event is a task, a listener the function it names.

No results are kept (the default), a hundred tasks run at once (the default of ``taskiq worker``), and each entry is
acknowledged by itself when its task has ended.
"""

from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

from taskiq.receiver import Receiver
from taskiq_redis import RedisStreamBroker

from benchmarks.contender import Acknowledge, Contender, Place, Publisher
from benchmarks.contenders.model import OrderModel
from benchmarks.tally import Tally

__all__ = ["Taskiq"]

_TASK = "order.placed"


def _broker(place: Place) -> RedisStreamBroker:
    return RedisStreamBroker(
        f"unix://{place.socket}",
        queue_name=place.stream,
        consumer_group_name=place.group,
        consumer_name=place.consumer,
        consumer_id="0",
        xread_count=place.batch,
    )


class _TaskiqPublisher(Publisher[OrderModel]):
    def __init__(self, broker: RedisStreamBroker) -> None:
        async def listener(order: OrderModel) -> None: ...

        self._task: Any = broker.register_task(listener, task_name=_TASK)

    async def publish(self, order: OrderModel) -> None:
        await self._task.kiq(order)


class Taskiq(Contender[OrderModel]):
    """One task and one acknowledgement an entry, whatever was asked for: it has no other way."""

    def __init__(self) -> None:
        super().__init__(OrderModel)

    @asynccontextmanager
    async def publisher(self, place: Place) -> AsyncGenerator[Publisher[OrderModel], None]:
        broker = _broker(place)
        await broker.startup()
        try:
            yield _TaskiqPublisher(broker)
        finally:
            await broker.shutdown()

    async def consume(self, place: Place, tally: Tally, acknowledge: Acknowledge) -> None:
        async def listener(order: OrderModel) -> None:
            tally.saw(order)

        broker = _broker(place)
        broker.register_task(listener, task_name=_TASK)
        broker.is_worker_process = True
        with ThreadPoolExecutor() as executor:
            receiver = Receiver(broker, executor, max_async_tasks=100)
            await receiver.listen(tally.finished)
        await broker.shutdown()
