"""One server a data folder: started by the first, shared by all, ended by the last, with the data kept."""

import stat
from datetime import timedelta
from pathlib import Path

import pytest

from penstock.streams.embedded import server_status, stop_server, use_server
from tests.embedded.helpers import NO_LINGER, Starter, client, server_pids_of, starts, wait_until, watcher_of

LONG = timedelta(minutes=10)


@pytest.mark.covers("LEAD-15")
def test_a_server_starts_with_nothing_but_a_folder_to_be(data_folder: Path) -> None:
    """The folder appears, and behind the URL is a server that keeps every write in an append-only file."""
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        server.xadd("orders", {"data": "1"})
        said = server.config_get("*")
    assert (said["appendonly"], said["appendfsync"], said["save"]) == ("yes", "everysec", "")
    assert (said["maxmemory-policy"], said["port"], said["aof-load-truncated"]) == ("noeviction", "0", "yes")
    assert said["dir"] == str(data_folder)
    assert (data_folder / ".gitignore").read_text(encoding="utf-8") == "*\n"


def test_only_its_user_can_reach_the_server(data_folder: Path) -> None:
    """Its socket is outside the project, in a folder that nobody else may enter, and it listens to no network."""
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        socket = Path(use.url.removeprefix("unix://"))
        assert not socket.is_relative_to(data_folder)
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
        assert stat.S_IMODE(socket.stat().st_mode) == 0o700
        assert server.info("server")["tcp_port"] == 0


def test_all_uses_of_a_folder_share_one_server(data_folder: Path, companion: Starter) -> None:
    """In this process and in others, by whatever name they call the folder."""
    link = data_folder.with_name("link")
    link.symlink_to(data_folder)
    with use_server(data_folder, linger=NO_LINGER) as first, use_server(link, linger=NO_LINGER) as second:
        assert first.url == second.url == companion().do("use")["url"]
        assert server_status(data_folder).users == 3
    assert starts(data_folder) == 1


def test_two_folders_have_two_servers(data_folder: Path) -> None:
    """What is written in one is not seen in the other."""
    inner = data_folder / "inner"
    with use_server(data_folder, linger=NO_LINGER) as first, client(first.url) as one:
        one.set("here", 1)
        with use_server(inner, linger=NO_LINGER) as second, client(second.url) as other:
            assert other.get("here") is None


@pytest.mark.covers("LEAD-15")
def test_data_outlives_the_server(data_folder: Path) -> None:
    """What was written before the last user left is there for the next one, groups and pending entries included."""
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        server.xgroup_create("orders", "billing", id="0", mkstream=True)
        entry_id = server.xadd("orders", {"data": "ä"})
        server.xreadgroup("billing", "ann", {"orders": ">"})
    assert server_status(data_folder).state == "stopped"

    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        assert server.xrange("orders") == [(entry_id, {b"data": "ä".encode()})]
        assert server.xpending("orders", "billing")["pending"] == 1
    assert starts(data_folder) == 2


def test_only_the_last_to_leave_ends_the_server(data_folder: Path) -> None:
    """Without a linger it has ended, with its socket cleared away, when the last release returns; twice is as once."""
    first, second = (use_server(data_folder, linger=NO_LINGER) for _ in range(2))
    first.release()
    first.release()
    with client(second.url) as server:
        assert server.ping()
    second.release()
    assert server_pids_of(data_folder) == []
    assert not Path(second.url.removeprefix("unix://")).parent.exists()


def test_the_next_command_finds_the_server_of_the_last_one(data_folder: Path, companion: Starter) -> None:
    """While it lingers, whoever comes joins the server that runs, also when the former user ended without a word."""
    emit, show = companion(linger_s=LONG.total_seconds()), companion(linger_s=LONG.total_seconds())
    emitted = emit.do("use")
    emit.kill()
    assert show.do("use") == emitted
    show.do("release")
    assert server_status(data_folder).users == 0
    assert server_pids_of(data_folder) == [emitted["pid"]]


def test_a_server_that_nobody_comes_back_to_ends(data_folder: Path) -> None:
    """When the linger has passed without a user, the server ends, and who waited for that does, too."""
    use = use_server(data_folder, linger=timedelta(seconds=0.2))
    [watcher] = watcher_of(data_folder)
    use.release()
    assert watcher_of(data_folder) == [watcher]
    wait_until(lambda: not server_pids_of(data_folder), "the server ends")
    wait_until(lambda: not watcher_of(data_folder), "the watcher ends")
    assert server_status(data_folder).state == "stopped"


def test_the_linger_starts_again_with_every_visit(data_folder: Path) -> None:
    """A server in steady use by short commands is one server; the linger of whoever came last counts."""
    use_server(data_folder, linger=timedelta(seconds=0.3)).release()
    for _ in range(4):
        use = use_server(data_folder, linger=timedelta(seconds=0.3))
        use.release()
    use_server(data_folder, linger=LONG).release()
    assert starts(data_folder) == 1
    with (data_folder / "users.lock").open(encoding="ascii") as file:
        assert float(file.read()) == LONG.total_seconds()


def test_a_stop_ends_the_waiting_too(data_folder: Path) -> None:
    """Who waits for the linger to pass does not outlive the server."""
    use_server(data_folder, linger=LONG).release()
    assert watcher_of(data_folder)
    assert stop_server(data_folder)
    wait_until(lambda: not watcher_of(data_folder), "the watcher ends")


def test_the_stricter_durability_is_kept(data_folder: Path) -> None:
    """A user who asks for ``always`` gets it from a server that runs already; later users do not loosen it."""
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        with use_server(data_folder, linger=NO_LINGER, durability="always"):
            assert server.config_get("appendfsync") == {"appendfsync": "always"}
        with use_server(data_folder, linger=NO_LINGER, durability="everysec"):
            assert server.config_get("appendfsync") == {"appendfsync": "always"}
        assert server_status(data_folder).durability == "always"


def test_a_folder_with_an_unusual_name_works(data_folder: Path) -> None:
    """Spaces, quotes, umlauts and a URL's own characters in a path do no harm."""
    odd = data_folder / "mein Projekt \"x\" 'y' #1 ?%20 ü"
    with use_server(odd, linger=NO_LINGER) as use, client(use.url) as server:
        server.set("a", 1)
    with use_server(odd, linger=NO_LINGER) as use, client(use.url) as server:
        assert server.get("a") == b"1"
