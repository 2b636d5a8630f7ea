"""The files of a copy: whatever they are called, whoever has them open, and however little room there is for them."""

import os
import resource
import sqlite3
import threading
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from penstock.errors import IsolationError, PenstockError, StoreUnavailableError
from penstock.replays._sqlite import _removing
from penstock.replays._sqlite._file import PlainFile
from penstock.store._sqlite import SqliteBackend
from penstock.store.abc import StoredEvent
from tests.replays.sqlite.spending import Spending, Thing, both, direct, raw_of
from tests.replays.sqlite.test_switch import add
from tests.replays.things import KEY, nothing


def checked(store: SqliteBackend, version: int, stored: int) -> None:
    """The live read model is whole and of this version."""
    with direct(store.database.path) as user:
        totals, entries = both(user)
        assert {row[2] for row in totals} == {row[2] for row in entries} == {version}
        assert [row[1] for row in entries] == list(range(1, stored + 1))
        assert user.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.covers("ZDT-2", "ZDT-10", "ZDT-13")
@pytest.mark.parametrize(
    "name",
    ["a?mode=ro", "a#b", "100%25", "Läufe 日本", 'it\'s "it"', "x;y", "file:a", "back\\slash", "\udcff"],
)
async def test_a_file_may_be_called_whatever_the_system_takes(tmp_path: Path, name: str) -> None:
    """Also its folder: the copy is beside it, fenced in, compared, exchanged and removed like any other."""
    folder = tmp_path / f"{name} folder"
    folder.mkdir()
    store = SqliteBackend("local", folder / name)
    await store.open()
    try:
        await add(store, 20)
        thing = Thing(store)
        thing.run_live()
        thing.create()

        def leave(event: StoredEvent, raw: sqlite3.Connection) -> None:
            sqlite3.connect(store.database.path).close()

        with pytest.raises(IsolationError):
            thing.feed(handlers=Spending(2, leave))
        with raw_of(thing.copy.database) as connection:
            connection.execute("UPDATE main.penstock_projections SET retry_at = 0")
        thing.feed()
        if name.isprintable():
            with thing.meeting(2) as held, thing.copy.comparing(held) as seen:
                [table] = [each for each in thing.copy.tables if each.name == "entries"]
                for which in (seen.live(table), seen.copy(table)):
                    found = seen.database.execute(seen.connection, f"SELECT count(*) FROM {which}")
                    assert found.fetchone() == (20,)
        assert not [each for each in thing.copy.preflight() if each.severity == "refusal"]
        for version in (2, 1, 2):
            thing.switch(version)
            checked(store, version, 20)
        thing.copy.drop()
        assert {each.removesuffix("-wal").removesuffix("-shm") for each in os.listdir(folder)} == {name}
    finally:
        await store.close()


@pytest.mark.covers("ZDT-2")
async def test_whoever_reaches_the_file_by_a_link_finds_the_same_copy(
    store: SqliteBackend, tmp_path: Path
) -> None:
    """One process may name it by a link that another does not know of."""
    await add(store, 20)
    thing = Thing(store)
    thing.run_live()
    thing.create()
    thing.feed()
    (tmp_path / "elsewhere").mkdir()
    link = tmp_path / "elsewhere" / "link.db"
    link.symlink_to(store.database.path)
    linked = SqliteBackend("local", link)
    await linked.open()
    try:
        other = Thing(linked)
        assert other.copy.exists()
        assert other.copy.where == thing.copy.where
        other.switch(2)
        checked(store, 2, 20)
        thing.switch(1)
        checked(store, 1, 20)
    finally:
        await linked.close()


@pytest.mark.covers("ZDT-10", "ZDT-12", "LEAD-2")
async def test_a_reader_with_an_old_look_keeps_it_and_holds_up_nothing(store: SqliteBackend) -> None:
    """Through promotions, the way back and the removal, until it ends its transaction; then it sees what is live."""
    await add(store, 30)
    thing = Thing(store)
    thing.run_live()
    thing.create()
    thing.feed()
    with direct(store.database.path) as reader, direct(store.database.path) as late:
        reader.execute("BEGIN")
        first = reader.execute("SELECT customer, orders, v FROM totals ORDER BY customer").fetchall()
        done = thing.switch(2)
        assert done.tries == 0
        late.execute("BEGIN")
        assert {row[2] for row in both(late)[0]} == {2}
        for version in (1, 2):
            await add(store, 10)
            thing.run_live(3 - version)
            thing.feed(version)
            thing.switch(version)
        thing.copy.drop()
        totals, entries = both(reader)
        assert (totals, {row[2] for row in totals}) == (first, {1})
        assert [row[1:] for row in entries] == [(number, 1) for number in range(1, 31)]
        assert ({row[2] for row in both(late)[1]}, len(both(late)[1])) == ({2}, 30)
        for each in (reader, late):
            each.execute("COMMIT")
            assert {row[2] for row in both(each)[0]} == {2}
    checked(store, 2, 50)


@pytest.mark.covers("ZDT-12")
async def test_a_reader_of_the_former_one_keeps_what_it_looks_at(store: SqliteBackend) -> None:
    """While the copy's file is made again after a switch, who reads there sees what was there, and then the new."""
    await add(store, 30)
    thing = Thing(store)
    thing.run_live()
    thing.create()
    thing.feed()
    with direct(thing.copy.where) as reader:
        reader.execute("BEGIN")
        assert {row[2] for row in both(reader)[0]} == {2}
        thing.switch(2)
        assert thing.place(KEY).version == 1
        assert {row[2] for row in both(reader)[1]} == {2}
        reader.execute("COMMIT")
        assert {row[2] for row in both(reader)[1]} == {1}


def limited(path: str, told: Any) -> None:
    """A process that has the copy brought over, and may not write larger files than it is told; what it is told."""
    while True:
        resource.setrlimit(resource.RLIMIT_FSIZE, (told.recv(), resource.RLIM_INFINITY))
        try:
            Thing(SqliteBackend("local", path)).switch(2)
        except StoreUnavailableError as failure:
            told.send(str(failure))
        except BaseException as failure:  # noqa: BLE001  the test looks at it
            told.send(repr(failure))
        else:
            told.send("done")
            return


@pytest.mark.covers("ZDT-8", "ZDT-10")
async def test_a_disk_that_takes_no_more_is_told_and_production_is_as_it_was(
    store_in_memory: SqliteBackend,
) -> None:
    """Wherever in the way it happens, in a transaction or at its end; with room again it goes on from there."""
    store = store_in_memory
    await add(store, 300)
    thing = Thing(store)
    thing.run_live()
    thing.create()
    thing.feed()
    files = [str(store.database.path), thing.copy.where]
    for path in files:
        with direct(path) as user:
            user.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    await store.close()
    step = most = max(map(os.path.getsize, files)) // 8
    mine, theirs = get_context("spawn").Pipe()
    process = get_context("spawn").Process(target=limited, args=(files[0], theirs))
    process.start()
    told = list[str]()
    while not told or told[-1] != "done":
        mine.send(most)
        told.append(mine.recv())
        checked(store, 2 if told[-1] == "done" else 1, 300)
        most += step
    process.join()
    assert len(told) > 3
    assert all("cannot be read or written: look at its disk" in each for each in told[:-1]), told
    await store.open()
    await add(store, 10)
    thing.run_live(2)
    thing.feed(1)
    thing.switch(1)
    checked(store, 1, 310)


@pytest.mark.covers("ZDT-8", "ZDT-10")
async def test_a_file_that_cannot_grow_is_told_as_full(
    store: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said what to do, and with room again the copy is brought over."""
    await add(store, 50)
    thing = Thing(store)
    thing.run_live()
    thing.create()
    thing.feed()
    opened: list[Any] = []
    connect = PlainFile.connect

    def small(self: Any, **how: Any) -> Any:
        connection = connect(self, **how)
        [pages] = connection.execute("PRAGMA main.page_count").fetchone()
        connection.execute(f"PRAGMA main.max_page_count = {pages + 1}")
        opened.append(connection)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(PlainFile, "connect", small)
        with pytest.raises(StoreUnavailableError, match="is full: free some space"):
            thing.copy.prepare_switch(nothing)
    assert opened
    checked(store, 1, 50)
    thing.switch(2)
    checked(store, 2, 50)


def together(*acts: Callable[[], object]) -> list[BaseException]:
    """Do all of it at once; what was raised."""
    gate, raised = threading.Barrier(len(acts)), list[BaseException]()

    def run(act: Callable[[], object]) -> None:
        gate.wait()
        try:
            act()
        except BaseException as failure:  # noqa: BLE001  the test looks at it
            raised.append(failure)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised


@pytest.mark.covers("ZDT-13")
async def test_two_that_remove_a_copy_at_once_are_both_content(store_in_memory: SqliteBackend) -> None:
    """Whoever is later finds it gone."""
    store = store_in_memory
    await add(store, 5)
    thing, other = Thing(store), Thing(store)
    thing.run_live()
    for _ in range(10):
        thing.create()
        assert together(thing.copy.drop, other.copy.drop) == []
        assert not list(store.database.path.parent.glob("*.replay*"))
    checked(store, 1, 5)


@pytest.mark.covers("ZDT-13")
async def test_a_file_that_goes_while_it_is_looked_at_is_removed_all_the_same(
    store: SqliteBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by another who removes the copy between the look and the opening."""
    thing = Thing(store)
    thing.run_live()
    thing.create()
    opened = _removing._opened

    def too_late(path: Path) -> Any:
        path.unlink(missing_ok=True)
        return opened(path)

    monkeypatch.setattr(_removing, "_opened", too_late)
    thing.copy.drop()
    assert not thing.copy.exists()
    assert not list(store.database.path.parent.glob("*.replay*"))


@pytest.mark.covers("ZDT-10")
async def test_two_that_switch_at_once_do_it_one_after_the_other(store: SqliteBackend) -> None:
    """Each switch is whole, whoever comes first."""
    await add(store, 20)
    things = [Thing(store), Thing(store)]
    thing = things[0]
    thing.run_live()
    thing.create()
    thing.feed()

    def switch(mine: Thing) -> None:
        mine.switch(3 - mine.place().version)

    for _ in range(5):
        raised = together(*(partial(switch, each) for each in things))
        assert all(isinstance(each, PenstockError) for each in raised)
        checked(store, thing.place().version, 20)
        assert thing.place().version + thing.place(KEY).version == 3
        with raw_of(thing.copy.database) as connection:
            assert connection.execute("SELECT count(*) FROM main.entries").fetchone() == (20,)
