"""Processes that are killed tidy nothing up: what they leave is adopted, or ended by who waits for that."""

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from penstock.streams.embedded import server_status, use_server
from penstock.streams.embedded._locks import FileLock
from tests.embedded.helpers import (
    NO_LINGER,
    Starter,
    client,
    entry_ids,
    server_pids_of,
    starts,
    wait_until,
    watcher_of,
)


def test_a_server_outlives_the_kill_of_its_starter(data_folder: Path, companion: Starter) -> None:
    """It is in a session of its own, and nobody's child; the other users notice nothing."""
    starter = companion(linger_s=600)
    started = starter.do("use")
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        server.set("a", 1)
        assert os.getsid(started["pid"]) not in {os.getsid(starter.pid), os.getsid(0)}
        starter.kill()
        assert server.get("a") == b"1"
        assert server_status(data_folder).users == 1


def test_a_server_whose_users_were_all_killed_is_adopted(data_folder: Path, companion: Starter) -> None:
    """It stays for the linger they asked for, and the next user finds it as it was."""
    users = [companion(linger_s=600), companion(linger_s=600)]
    started, _ = (user.do("use") for user in users)
    for user in users:
        user.kill()
    assert server_status(data_folder).users == 0
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        assert server.info("server")["run_id"] == started["run_id"]
    assert server_pids_of(data_folder) == []


def test_a_server_whose_users_were_all_killed_ends_by_itself(data_folder: Path, companion: Starter) -> None:
    """Nothing stays behind for ever: the kernel tells the watcher, which ends the server and itself."""
    users = [companion(linger_s=0.1), companion(linger_s=0.1)]
    for user in users:
        user.do("use")
    for user in users:
        user.kill()
    wait_until(lambda: not server_pids_of(data_folder), "the server ends")
    wait_until(lambda: not watcher_of(data_folder), "the watcher ends")
    assert "User requested shutdown" in (data_folder / "server.log").read_text(encoding="utf-8")


def test_a_watcher_that_was_killed_is_replaced(data_folder: Path) -> None:
    """By whoever comes or leaves next."""
    with use_server(data_folder, linger=timedelta(seconds=0.1)):
        for _ in range(2):
            wait_until(lambda: len(watcher_of(data_folder)) == 1, "there is a watcher")
            os.kill(watcher_of(data_folder)[0], signal.SIGKILL)
            # A dying process loses its arguments a moment before its locks.
            with FileLock(data_folder / "watcher.lock") as lock:
                wait_until(lock.try_shared, "the watcher is gone")
            use_server(data_folder, linger=timedelta(seconds=0.1)).release()
    wait_until(lambda: not server_pids_of(data_folder), "the server ends")


def test_without_a_watcher_the_last_user_ends_the_server(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no Python to be run, as inside a frozen application, nobody could wait for the linger."""
    monkeypatch.setattr("sys.executable", "/usr/bin/an-application")
    with use_server(data_folder, linger=timedelta(minutes=10)):
        assert watcher_of(data_folder) == []
    assert server_pids_of(data_folder) == []


def test_a_server_that_was_killed_is_started_again_by_the_next_use(data_folder: Path) -> None:
    """At the same URL, with the data, and whoever held it before is a user of the new one, too."""
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        server.set("a", 1)
        [pid] = server_pids_of(data_folder)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: server_status(data_folder).state == "stopped", "the server is gone")
        with pytest.raises(redis.ConnectionError):
            server.ping()
        with use_server(data_folder, linger=NO_LINGER) as again:
            assert again.url == use.url
        assert server.get("a") == b"1"
        assert server_pids_of(data_folder) != [pid]
    assert starts(data_folder) == 2


def test_a_starter_killed_before_its_server_was_ready_leaves_a_usable_server(data_folder: Path) -> None:
    """It had noted where the server listens but not yet which process it is; the next user completes the note."""
    with use_server(data_folder, linger=NO_LINGER) as use:
        note = data_folder / "server.json"
        [pid] = server_pids_of(data_folder)
        note.write_text(
            note.read_text(encoding="utf-8").replace(f'"pid": {pid}', '"pid": null'), encoding="utf-8"
        )
        with use_server(data_folder, linger=NO_LINGER) as again:
            assert again.url == use.url
        assert f'"pid": {pid}' in note.read_text(encoding="utf-8")
    assert starts(data_folder) == 1


@pytest.mark.parametrize("durability", ["always", "everysec"])
def test_what_a_killed_server_had_acknowledged_is_there_again(
    data_folder: Path, companion: Starter, durability: str
) -> None:
    """Every entry whose id a writer got before the server was killed is in the stream afterwards, at most one more.

    Under ``always`` this is promised. Under ``everysec`` a disk that does not keep up costs the last ones of a round:
    what is missing is an end of what was written, never something in between.
    """
    lost: set[bytes] = set()
    acknowledged = data_folder / "acknowledged"
    for killed in range(3):
        writer = companion(durability=durability)
        writer.do("use")
        acknowledged.touch()
        enough = acknowledged.stat().st_size + 2_500
        writer.tell("write_until_killed")
        while acknowledged.stat().st_size < enough:
            assert writer.process.poll() is None
        [pid] = server_pids_of(data_folder)
        os.kill(pid, signal.SIGKILL)
        assert "lost" in writer.answer()
        writer.kill()
        with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
            written = entry_ids(server)
        noted = acknowledged.read_bytes().split()
        missing = [each for each in noted if each not in written and each not in lost]
        assert missing == noted[len(noted) - len(missing) :]
        assert durability == "everysec" or not missing
        lost.update(missing)
        assert len(written) - (len(noted) - len(lost)) <= killed + 1
