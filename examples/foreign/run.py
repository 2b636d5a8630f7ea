"""A producer that knows nothing of Penstock: redis-py, two fields, any language could do it."""

import asyncio
import json
from urllib.parse import urlsplit

import redis.asyncio

from penstock import App, Event, Message
from penstock.operations import Operations

app = App("foreign")


class TemperatureRead(Event, name="temperature.read"):
    sensor: str
    celsius: float


@app.listener(TemperatureRead)
async def show(reading: TemperatureRead, message: Message) -> None:
    print(f"{reading.sensor}: {reading.celsius} °C, source {message.source}")


async def main() -> None:
    async with app:
        server = redis.asyncio.Redis(unix_socket_path=await socket())
        for celsius in (21.5, 22.0):
            body = json.dumps({"sensor": "kitchen", "celsius": celsius})
            await server.xadd("temperature.read", {"name": "temperature.read", "data": body})
        await server.xadd("temperature.read", {"name": "temperature.read", "data": '{"sensor": "cellar"}'})
        await server.xadd("temperature.read", {"text": "not for us"})
        await server.aclose()

        await app.run(until_idle=True)
        for failed in (await Operations(app).failed()).items:
            print(f"{failed.cause}: {failed.error.partition(': ')[2]}")


async def socket() -> str:
    """Where the server in the data folder listens; of a server of yours you know host and port."""
    url = (await Operations(app).server_status()).url
    assert url is not None
    return urlsplit(url).path


asyncio.run(main())
