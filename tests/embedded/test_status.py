"""What people can ask: how a server is, to start it for good, to stop it."""

import os
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis

from penstock.streams.embedded import server_status, start_server, stop_server, use_server
from tests.embedded.helpers import NO_LINGER, client, server_pids_of, starts, wait_until, watcher_of


def test_asking_changes_nothing(data_folder: Path) -> None:
    """A folder that is not there stays so, and has a stopped server; stopping it says that none was running."""
    assert server_status(data_folder).state == "stopped"
    assert stop_server(data_folder) is False
    assert not data_folder.exists()


def test_a_running_server_tells_how_it_is(data_folder: Path) -> None:
    """Where it is, which one, since when, how many use it, and how much it holds."""
    before = datetime.now(UTC)
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        server.set("a", 1)
        status = server_status(data_folder)
        assert (status.state, status.url, status.users, status.keys, status.problem) == (
            "running",
            use.url,
            1,
            1,
            None,
        )
        assert (status.product, status.durability, status.stays) == ("valkey", "everysec", False)
        assert status.pid == server.info("server")["process_id"]
        assert status.version == server.info("server")["valkey_version"]
        assert status.socket == Path(use.url.removeprefix("unix://"))
        assert status.started_at is not None
        assert before <= status.started_at <= datetime.now(UTC)
        assert (status.memory_bytes or 0) > 100_000
        assert (status.append_only_file_bytes or 0) > 0
    stopped = server_status(data_folder)
    assert (stopped.state, stopped.pid, stopped.users) == ("stopped", None, 0)
    assert (stopped.product, stopped.version) == ("valkey", status.version)


def test_a_server_started_for_good_needs_no_users(data_folder: Path) -> None:
    """It stays when users come and go, nobody waits for them to leave, and it ends when it is stopped."""
    status = start_server(data_folder)
    assert (status.state, status.stays, server_status(data_folder).users) == ("running", True, 0)
    with use_server(data_folder, linger=NO_LINGER) as use:
        assert use.url == status.url
    wait_until(lambda: not watcher_of(data_folder), "the watcher sees that there is nothing to wait for")
    assert server_status(data_folder).pid == status.pid
    assert start_server(data_folder).pid == status.pid
    assert stop_server(data_folder)
    assert (server_status(data_folder).state, server_pids_of(data_folder)) == ("stopped", [])


def test_a_server_that_runs_already_can_be_made_to_stay(data_folder: Path) -> None:
    """The one that its users started is kept when they leave; once stopped, the next is an ordinary one again."""
    with use_server(data_folder, linger=NO_LINGER):
        status = start_server(data_folder)
    assert server_status(data_folder).pid == status.pid
    stop_server(data_folder)
    with use_server(data_folder, linger=NO_LINGER):
        assert server_status(data_folder).stays is False
    assert server_status(data_folder).state == "stopped"


def test_a_stop_saves_the_data_and_the_next_use_starts_again(data_folder: Path) -> None:
    """Users get connection errors meanwhile, and find everything at the same URL after somebody's next use."""
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        for number in range(1000):
            server.rpush("numbers", number)
        assert stop_server(data_folder)
        with pytest.raises(redis.ConnectionError):
            server.ping()
        with use_server(data_folder, linger=NO_LINGER) as again:
            assert again.url == use.url
            assert server.llen("numbers") == 1000
    assert starts(data_folder) == 2


def test_a_server_busy_with_a_script_is_made_to_stop(data_folder: Path) -> None:
    """It can neither be asked nor told, so it is killed when the time is up."""
    with (
        use_server(data_folder, linger=NO_LINGER) as use,
        client(use.url) as server,
        client(use.url) as other,
    ):
        server.set("before", 1)

        def run_for_ever() -> None:
            with pytest.raises(redis.ConnectionError):
                other.eval("while true do end", 0)

        thread = threading.Thread(target=run_for_ever)
        thread.start()
        wait_until(lambda: server_status(data_folder).problem, "the server is busy")
        assert stop_server(data_folder, timeout=timedelta(seconds=0.2))
        thread.join(10)
        with use_server(data_folder, linger=NO_LINGER):
            assert server.get("before") == b"1"


def test_a_frozen_server_is_made_to_stop(data_folder: Path) -> None:
    """A server that was suspended answers nothing; the status says so, and stopping it works all the same."""
    with use_server(data_folder, linger=NO_LINGER):
        [pid] = server_pids_of(data_folder)
        os.kill(pid, signal.SIGSTOP)
        status = server_status(data_folder)
        assert (status.state, status.pid) == ("running", pid)
        assert "does not answer" in (status.problem or "")
        assert stop_server(data_folder, timeout=timedelta(seconds=0.2))
        assert server_pids_of(data_folder) == []
