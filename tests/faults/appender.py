"""A process that appends to a store from many tasks, and says on its output what was answered, until it is killed."""

import asyncio
import sys
import uuid

from penstock.message import Meta
from penstock.store import Append, Conflict, NewEvent, make_backend

WRITERS = 8
EVENTS = 3


async def main(url: str) -> None:
    """Append until the end."""
    store = make_backend("local", url)
    await store.open()

    async def write(writer: int) -> None:
        while True:
            append = uuid.uuid4().hex
            events = [
                NewEvent(
                    f"order-{(writer + number) % 5}", f"{append}/{number}", "x", Meta(time=1), b'{"a":1}'
                )
                for number in range(EVENTS)
            ]
            outcome = await store.append(Append(tuple(events)))
            assert not isinstance(outcome, Conflict)
            sys.stdout.write(f"{append}\n")
            sys.stdout.flush()

    await asyncio.gather(*map(write, range(WRITERS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
