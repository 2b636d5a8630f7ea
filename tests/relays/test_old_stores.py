"""A store that was put back to an earlier state and has grown since: its new events are not passed over in silence."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from penstock.errors import StoreWentBackError
from penstock.projections._engine._lease import LeaseTerms
from penstock.projections._engine._resetting import reset
from penstock.relays.abc import RelayPlan
from penstock.store.abc import EventFilter, StoreBackend
from penstock.store.backends import make_backend
from penstock.streams.abc import StreamBroker
from penstock.streams.memory import MemoryBroker
from tests.relays.conftest import Relaying, append, names_in, new_event, opened_store

PutBack = Callable[[], Awaitable[None]]


@contextlib.asynccontextmanager
async def restorable(folder: Path) -> AsyncIterator[tuple[StoreBackend, Callable[[], None], PutBack]]:
    """A store in a file, what takes a copy of it, and what puts the copy back."""
    store = make_backend("local", f"sqlite:///{folder}/local.db")
    await store.open()
    saved = folder / "saved.db"

    def save() -> None:
        connection = store.database.connect()
        store.database.execute(connection, f"VACUUM INTO '{saved}'")
        connection.close()

    async def put_back() -> None:
        await store.close()
        for part in ("-wal", "-shm"):
            (folder / f"local.db{part}").unlink(missing_ok=True)
        shutil.copy(saved, folder / "local.db")
        await store.open()

    yield store, save, put_back
    await store.close()


@pytest.mark.covers("EMIT-7")
@pytest.mark.parametrize("partitions", [0, 3])
async def test_streams_are_not_left_without_the_new_events_of_an_old_store(
    tmp_path: Path, partitions: int
) -> None:
    """Marks of what was published from positions that have other events now halt the relay; a reset begins anew."""
    broker = MemoryBroker()
    async with restorable(tmp_path) as (store, save, put_back):
        lanes = {"order.placed": partitions} if partitions else None

        def relaying() -> Relaying:
            return Relaying({"local": store}, broker, partitions=lanes)

        await append(store, new_event(), new_event())
        await relaying().finish(RelayPlan("orders"))
        save()
        await append(store, *(new_event() for _ in range(5)))
        running = relaying()
        await running.finish(RelayPlan("orders"))
        await put_back()
        new = [new_event(id=f"new {n}") for n in range(8)]
        await append(store, *new)
        for again in (running, relaying()):
            with pytest.raises(StoreWentBackError, match=r"instead of .*reset what reads it") as caught:
                await again.catch_up(RelayPlan("orders"))
            assert caught.value.position <= 7

        run = relaying().run(RelayPlan("orders"))
        await asyncio.to_thread(reset, run.supervised, run.database, LeaseTerms())
        await relaying().finish(RelayPlan("orders"))
        names = [f"order.placed:{n}" for n in range(partitions)] or ["order.placed"]
        published = [event_id for name in names for event_id in await names_in(broker, name)]
        assert {event.id for event in new} <= set(published)


async def test_an_old_store_that_has_not_grown_as_far_is_noticed_as_well(tmp_path: Path) -> None:
    """Its end lies below the mark of what was published."""
    broker = MemoryBroker()
    async with restorable(tmp_path) as (store, save, put_back):
        await append(store, new_event())
        await Relaying({"local": store}, broker).finish(RelayPlan("orders"))
        save()
        await append(store, *(new_event() for _ in range(5)))
        await Relaying({"local": store}, broker).finish(RelayPlan("orders"))
        await put_back()
        await append(store, new_event())
        with pytest.raises(StoreWentBackError, match="the store ends at 2") as caught:
            await Relaying({"local": store}, broker).finish(RelayPlan("orders"))
        assert (caught.value.position, caught.value.last) == (6, 2)


@pytest.mark.covers("PROJ-2")
async def test_another_store_is_not_left_without_the_new_events_of_an_old_one(tmp_path: Path) -> None:
    """The last event that was read is compared when the relay begins; with other events it halts, naming both."""
    broker = MemoryBroker()
    async with (
        restorable(tmp_path) as (store, save, put_back),
        opened_store("shared", f"sqlite:///{tmp_path}/shared.db") as shared,
    ):
        relaying = Relaying({"local": store, "shared": shared}, broker)
        plan = RelayPlan("share", target="shared", page=2)
        save()
        read = [new_event() for _ in range(5)]
        await append(store, *read)
        await relaying.finish(plan)
        await relaying.finish(plan)
        await put_back()
        await append(store, *(new_event(id=f"new {n}") for n in range(8)))
        with pytest.raises(StoreWentBackError, match=f"'new 4' there instead of '{read[4].id}'"):
            await relaying.catch_up(plan)


@pytest.mark.covers("EMIT-7", "PROJ-2")
async def test_events_that_were_deleted_say_nothing(
    local: StoreBackend, shared: StoreBackend, broker: StreamBroker, relaying: Relaying
) -> None:
    """A store that let go of what was relayed is the same store."""
    plans = (RelayPlan("orders"), RelayPlan("share", target="shared"))
    await append(local, *(new_event(stream="order-1") for _ in range(3)))
    for plan in plans:
        await relaying.finish(plan)
    await local.delete("order-1", through=100)
    later = new_event()
    await append(local, later)
    for plan in plans:
        await relaying.finish(plan)

    assert (await names_in(broker, "order.placed"))[3:] == [later.id]
    assert [event.id for event in (await shared.read(EventFilter(), limit=10)).events][3:] == [later.id]
