"""Emits events of a few entities until it is killed: ``python -m tests.faults.emitter URL NAMESPACE``."""

import asyncio
import sys
from itertools import count

from penstock import App, Event

ENTITIES = 5


class Moved(Event, name="moved", key="who", history=True):
    """Somebody moved."""

    who: str
    number: int


async def main(url: str, namespace: str) -> None:
    """Emit one by one and in batches, all at the same time."""
    app = App("emitter", streams=url, namespace=namespace)
    numbers = count()

    async def singly() -> None:
        while True:
            number = next(numbers)
            await app.emit(Moved(who=f"o-{number % ENTITIES}", number=number))

    async def in_batches() -> None:
        while True:
            batch = [next(numbers) for _ in range(50)]
            await app.emit_many(Moved(who=f"o-{number % ENTITIES}", number=number) for number in batch)

    await asyncio.gather(*(singly() for _ in range(4)), in_batches())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
