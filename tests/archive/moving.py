"""A stream with events, and what an archiver has made of it."""

from typing import Any

from penstock.archive import Archive, ArchivePage, Archiver
from penstock.message import Meta
from penstock.position import BEGINNING
from penstock.streams.abc import NewEntry, RawId, StreamBroker
from penstock.streams.layouts import NATIVE

__all__ = ["STREAM", "add", "fields", "kept", "run", "settle", "there"]

STREAM = "orders"


def fields(event_id: str, body: bytes = b"{}", *, time: int = 1_700_000_000_000_000) -> list[bytes]:
    """An entry's fields."""
    return NATIVE.pack(event_id, "order.placed", Meta(time=time), body)


async def add(broker: StreamBroker, count: int, *, stream: str = STREAM, start: int = 0) -> list[RawId]:
    """Add events ``e0``, ``e1``, and so on."""
    return [
        await broker.append(NewEntry(stream, fields(f"e{number}"))) for number in range(start, start + count)
    ]


async def run(archiver: Archiver, broker: StreamBroker, stream: str = STREAM, **how: Any) -> ArchivePage:
    """Archive a stream; all pages in one."""
    steps = [step async for step in archiver.run(broker, stream, **how)]
    return ArchivePage(
        stream,
        looked=sum(step.looked for step in steps),
        archived=sum(step.archived for step in steps),
        gone=sum(step.gone for step in steps),
        held=sum(step.held for step in steps),
        held_by=tuple(dict.fromkeys(hold for step in steps for hold in step.held_by)),
        failed=tuple(failure for step in steps for failure in step.failed),
    )


async def kept(archive: Archive, stream: str = STREAM) -> list[str]:
    """The event ids in the archive, in order."""
    return [message.event_id for message in await archive.find_many(stream, count=100_000)]


async def there(broker: StreamBroker, stream: str = STREAM) -> list[str]:
    """The event ids in the stream, in order."""
    entries = await broker.range(stream)
    return [NATIVE.read(stream, entry[0], entry[1]).id for entry in entries]


async def settle(broker: StreamBroker, group: str, count: int, *, stream: str = STREAM) -> None:
    """Have a group handle the next *count* entries."""
    await broker.create_group(stream, group, BEGINNING)
    for _ in range(count):
        read = await broker.read_group(group, "ann", [stream], count=1)
        for name, entries in read.batches:
            await broker.acknowledge(name, group, [entry[0] for entry in entries])
