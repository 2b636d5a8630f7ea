"""Archiving while an app works: after all listeners, once nobody else needs it; a failing archive fails no message."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest

from penstock import App, Event, Retry
from penstock.archive import ArchivedMessage, Created, MemoryArchive
from penstock.errors import ArchiveUnavailableError
from penstock.message import Meta
from penstock.operations import Operations, Work
from penstock.operations._scope import Place
from penstock.position import BEGINNING
from penstock.streams.abc import Index, NewEntry
from penstock.streams.layouts import NATIVE
from penstock.streams.memory import MemoryBroker


class OrderPlaced(Event, name="order.placed", key="order_id"):
    """An order came in."""

    order_id: str


class Flaky(MemoryArchive):
    """An archive that takes part, or not."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False
        self.order: list[str] = []

    async def create_many(self, messages: Sequence[ArchivedMessage]) -> list[Created]:
        """Keep messages, unless it is away."""
        self.order += [f"archive {message.meta.key}" for message in messages]
        if self.is_away:
            raise ArchiveUnavailableError("no space left on device")
        return await super().create_many(messages)


class Shop:
    """The app, its archive, and its streams."""

    def __init__(self) -> None:
        self.broker = MemoryBroker()
        self.app = App("shop", broker=self.broker)
        self.archive = self.app.archive = Flaky()
        for group in ("billing", "mail"):
            listen = self.app.group(group, retry=Retry(attempts=1)).on(OrderPlaced, name=group)
            listen(self._listener(group))

    def _listener(self, name: str) -> Callable[[OrderPlaced], Awaitable[None]]:
        async def listen(order: OrderPlaced) -> None:
            self.archive.order.append(f"{name} {order.order_id}")
            if order.order_id == "bad":
                raise ValueError(name)

        return listen

    async def work(self, *groups: str) -> None:
        """Work these groups until nothing is left to do, archiving what they handle."""
        after = await Operations(self.app).archive.after_handled()
        await Work(self.app, only=groups, until_idle=True, after=after).run()

    async def emit(self, *order_ids: str) -> None:
        """Emit orders."""
        await self.app.emit_many([OrderPlaced(order_id=each) for each in order_ids])

    async def where(self) -> tuple[list[str], list[str]]:
        """The orders in the stream, and those in the archive."""
        entries = await self.broker.range("order.placed")
        streamed = [NATIVE.read("order.placed", entry[0], entry[1]).key or "" for entry in entries]
        return streamed, [message.meta.key or "" async for message in self.archive.all()]


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    """A shop of two groups, with an archive of its own."""
    made = Shop()
    async with made.app:
        yield made


@pytest.mark.covers("ARCH-2")
async def test_a_message_is_archived_after_the_last_group_has_handled_it(shop: Shop) -> None:
    """The first group's worker leaves it, the second's takes it along; all listeners run before."""
    await shop.emit("1", "2")
    await shop.broker.create_group("order.placed", "mail", BEGINNING)
    await shop.work("billing")
    assert await shop.where() == (["1", "2"], [])
    await shop.work("mail")
    assert await shop.where() == ([], ["1", "2"])
    assert shop.archive.order[:4] == ["billing 1", "billing 2", "mail 1", "mail 2"]


@pytest.mark.covers("ARCH-2")
async def test_groups_that_work_together_archive_everything(shop: Shop) -> None:
    """Whichever of them is last."""
    numbers = [str(number) for number in range(200)]
    await shop.emit(*numbers)
    await shop.work()
    await shop.work()
    streamed, archived = await shop.where()
    assert sorted([*streamed, *archived]) == sorted(numbers)
    async for _ in Operations(shop.app).archive.run(await places(shop)):
        pass
    assert (await shop.where())[0] == []


async def places(shop: Shop) -> list[Place]:
    """Where its streams are."""
    return await Operations(shop.app).archive.places()


@pytest.mark.covers("ARCH-2")
async def test_what_failed_is_not_archived_and_holds_nothing(shop: Shop) -> None:
    """Its record has the payload; the message stays for `archive run`, or for the retry that mends it."""
    await shop.emit("bad", "good")
    await shop.work()
    await shop.work()
    assert (await shop.where())[0] == ["bad"]
    assert (await shop.where())[1] == ["good"]


@pytest.mark.covers("ARCH-2")
async def test_an_archive_that_fails_warns_and_the_message_stays(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """It is handled and acknowledged all the same; when the archive is back, the next run takes it."""
    shop.archive.is_away = True
    await shop.emit("1")
    await shop.broker.create_group("order.placed", "mail", BEGINNING)
    await shop.work("billing")
    with caplog.at_level(logging.WARNING):
        await shop.work("mail")
    assert "no space left on device" in caplog.text
    assert await shop.where() == (["1"], [])
    assert (await shop.broker.pending_summary("order.placed", "mail")).count == 0
    shop.archive.is_away = False
    pages = [each async for each in Operations(shop.app).archive.run(await places(shop))]
    assert sum(page.archived for page in pages) == 1
    assert await shop.where() == ([], ["1"])


@pytest.mark.covers("ARCH-5")
async def test_a_restored_message_takes_its_place_in_the_history_again(shop: Shop) -> None:
    """Where the server has a history of its entity; after archiving and restoring it reads the same."""
    fields = NATIVE.pack("e1", "order.placed", Meta(time=1, key="o-1"), b"{}")
    index = Index("order.placed", "o-1")
    first = await shop.broker.append(NewEntry("order.placed", fields, index=index))
    archive = Operations(shop.app).archive
    async for _ in archive.run(await places(shop), force=True):
        pass
    [result] = [each async for each in archive.restore(everything=True)]
    [chapter] = (await shop.broker.history.page("order.placed", "order.placed", "o-1")).chapters
    assert (bytes(chapter.place), chapter.entry_id) == (first, result.new_id)
    assert chapter.entry is not None
