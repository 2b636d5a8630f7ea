"""A process that holds a lock for the fault tests: ``python -m tests.faults.holder URL NAMESPACE LIFE``.

It prints its fence when it has the lock, and how it ended: cancelled because the lock was lost, or asked to stop by the
end of its standard input.
"""

import asyncio
import sys

from penstock import App
from penstock.errors import LeaseLostError


def say(what: object) -> None:
    """Tell whoever started us."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def main() -> None:
    """Hold the lock until it is lost, or until nobody wants that any more."""
    url, namespace, life = sys.argv[1:]
    app = App("holder", streams=url, namespace=namespace)
    async with app:
        try:
            async with app.lock("report", life=life) as lock:
                say(lock.fence)
                await asyncio.to_thread(sys.stdin.read)
        except LeaseLostError:
            say("lost")
        else:
            say("held to the end")


if __name__ == "__main__":
    asyncio.run(main())
