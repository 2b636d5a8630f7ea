"""A forked child holds the server by itself: neither can take it away from the other."""

import os
from pathlib import Path

import pytest

from penstock.streams.embedded import server_status, use_server
from penstock.streams.embedded._locks import FileLock
from tests.embedded.helpers import NO_LINGER, client, server_pids_of, wait_until
from tests.forking import forked

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def test_a_childs_release_leaves_the_parents_server_running(data_folder: Path) -> None:
    """The child is a user of its own from its first moment on, and no more when it is gone."""
    with use_server(data_folder, linger=NO_LINGER) as use:
        pid = forked(use.release)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        with client(use.url) as server:
            assert server.ping()
        assert server_status(data_folder).users == 1
    assert server_pids_of(data_folder) == []


def test_a_child_keeps_the_server_when_its_parent_leaves(data_folder: Path) -> None:
    """It ends the server itself when it leaves as the last."""
    reading, writing = os.pipe()
    use = use_server(data_folder, linger=NO_LINGER)

    def outlive_the_parent() -> None:
        os.close(writing)
        os.read(reading, 1)
        with client(use.url) as server:
            server.set("from", "child")
        use.release()

    pid = forked(outlive_the_parent)
    wait_until(lambda: server_status(data_folder).users == 2, "the child holds the server, too")
    use.release()
    assert server_status(data_folder).users == 1
    os.close(writing)
    os.close(reading)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert server_pids_of(data_folder) == []


def test_a_child_inherits_no_lock_that_is_held_alone(tmp_path: Path) -> None:
    """Forked while a server is being started or ended, it does not keep the next one from starting."""
    reading, writing = os.pipe()

    def wait_for_parent() -> None:
        os.close(writing)
        os.read(reading, 1)

    with FileLock(tmp_path / "server.lock") as lock:
        assert lock.try_exclusive()
        pid = forked(wait_for_parent)
    with FileLock(tmp_path / "server.lock") as again:
        wait_until(again.try_exclusive, "the lock is free while the child lives")
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.close(writing)
    os.close(reading)
    os.waitpid(pid, 0)
