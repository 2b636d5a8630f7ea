"""A process that runs relays for fault tests: ``python -m tests.faults.relayer FOLDER URL NAMESPACE [STORE ...]``."""

import asyncio
import sys
from datetime import timedelta
from pathlib import Path

from penstock import App

__all__ = ["make_app"]


def make_app(folder: Path, url: str, namespace: str, *stores: str) -> App:
    """A store into streams, that store into another, and a stream into a third. *stores*: their URLs, or files."""
    local, shared, kept = stores or [f"sqlite:///{folder}/{name}.db" for name in ("shop", "shared", "kept")]
    app = App(
        "shop",
        streams=url,
        namespace=namespace,
        store=local,
        stores={"shared": {"url": shared}, "kept": {"url": kept}},
        data_folder=str(folder),
        housekeeping=False,
    )
    app.relay("publish", page=20, to=lambda event: f"orders.{int(event.payload) % 3}")
    app.relay("share", target="shared", page=20)
    app.relay("keep", source="stream:incoming", target="kept", page=20)
    return app


async def main(folder: str, url: str, namespace: str, *stores: str) -> None:
    """Relay until killed."""
    async with make_app(Path(folder), url, namespace, *stores) as app:
        await app.relay_worker(lease=timedelta(milliseconds=600)).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
