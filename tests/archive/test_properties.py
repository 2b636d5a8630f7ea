"""Whatever a message holds, it comes back; and whatever is done to an archive, it has what a plain dict would have."""

import asyncio
import tempfile
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.archive import Archive, ArchivedMessage, Archiver, Created, MemoryArchive, Restorer
from penstock.archive.files import FilesArchive
from penstock.archive.sql import SqlArchive
from penstock.message import Meta
from penstock.position import EntryId
from penstock.streams.abc import NewEntry
from penstock.streams.layouts import NATIVE
from penstock.streams.memory import MemoryBroker
from penstock.testing.contracts.archive import archived

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
META = st.builds(
    Meta,
    time=st.integers(0, 2**53),
    source=st.none() | TEXT,
    key=st.none() | TEXT,
    version=st.integers(1, 1000),
    kind=TEXT,
    content_type=TEXT,
    headers=st.dictionaries(TEXT, TEXT, max_size=4),
    correlation=st.none() | TEXT,
    causation=st.none() | TEXT,
)


def opened(kind: str, folder: str) -> Archive:
    """An archive of that kind."""
    match kind:
        case "memory":
            return MemoryArchive()
        case "sql":
            return SqlArchive(f"sqlite:///{folder}/archive.db")
        case _:
            return FilesArchive(folder)


@pytest.mark.covers("ARCH-8", "MSG-9")
@pytest.mark.parametrize("kind", ["sql", "files"])
@given(event_id=TEXT.filter(bool), name=TEXT, meta=META, data=st.none() | st.binary(max_size=200))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_envelope_survives_two_rounds(
    kind: str, event_id: str, name: str, meta: Meta, data: bytes | None
) -> None:
    """Archived, restored, archived and restored: all fields are equal, and the first place is named."""

    async def rounds() -> None:
        with tempfile.TemporaryDirectory() as folder:
            broker, archive = MemoryBroker(), opened(kind, folder)
            await archive.open()
            first = await broker.append(NewEntry("s", NATIVE.pack(event_id, name, meta, data)))
            for _ in range(2):
                async for _ in Archiver(archive).run(broker, "s"):
                    pass
                [result] = await Restorer(archive).restore(broker, await archive.find_many("s"))
                assert result.error is None
            await archive.close()
            [[raw_id, fields]] = await broker.range("s")
            message = NATIVE.read("s", raw_id, fields)
            assert (message.id, message.name, message.data) == (event_id, name, data)
            assert message.original_id == EntryId.parse(first)
            message.meta.original_id = None
            assert message.meta == meta

    asyncio.run(rounds())


IDS = st.sampled_from(["a", "b", "c", "d"])
PLACES = st.builds(EntryId, st.sampled_from([5, 6, 86_400_005]), st.integers(0, 2))


def _message(name: str, place: EntryId) -> ArchivedMessage:
    return archived(name, place, stream="s")


MESSAGES = st.builds(_message, IDS, PLACES)
MOVES: st.SearchStrategy[tuple[str, list[ArchivedMessage]]] = st.one_of(
    st.tuples(st.just("keep"), st.lists(MESSAGES, max_size=4)),
    st.tuples(st.just("remove"), st.lists(MESSAGES, max_size=3)),
    st.tuples(st.just("reopen"), st.just([])),
)


@pytest.mark.covers("ARCH-1", "ARCH-4")
@pytest.mark.parametrize("kind", ["memory", "sql", "files"])
@given(moves=st.lists(MOVES, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_an_archive_has_what_a_dict_has(kind: str, moves: list[tuple[str, list[ArchivedMessage]]]) -> None:
    """Kept, moved on, removed in any order: one copy of each, at the latest of its places."""

    async def play() -> None:
        with tempfile.TemporaryDirectory() as folder:
            archive, model = opened(kind, folder), dict[str, ArchivedMessage]()
            await archive.open()
            for what, messages in moves:
                if what == "reopen":
                    await archive.close()
                    archive = archive if kind == "memory" else opened(kind, folder)
                    await archive.open()
                elif what == "keep":
                    expected: list[Any] = []
                    for message in messages:
                        known = model.get(message.event_id)
                        expected.append(Created.NEW if known is None else Created.THERE)
                        if known is None or known.entry_id < message.entry_id:
                            model[message.event_id] = message
                    assert await archive.create_many(messages) == expected
                else:
                    places = {message.place for message in messages}
                    gone = [name for name, message in model.items() if message.place in places]
                    assert await archive.delete("s", list(places)) == len(gone)
                    for name in gone:
                        del model[name]
                ordered = sorted(model.values(), key=lambda message: message.place)
                assert await archive.find_many("s") == ordered
                assert dict(await archive.counts()) == ({"s": len(model)} if model else {})
            await archive.close()

    asyncio.run(play())
