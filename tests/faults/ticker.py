"""A process in which an event recurs every second: ``python -m tests.faults.ticker URL NAMESPACE``."""

import asyncio
import sys

from penstock import App, Event


class Ticked(Event, name="ticked"):
    """A second has passed."""


async def main(url: str, namespace: str) -> None:
    """Run it until killed; no run is ever left out."""
    app = App("ticker", streams=url, namespace=namespace)
    app.every("1s", Ticked(), missed="all")
    await app.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
