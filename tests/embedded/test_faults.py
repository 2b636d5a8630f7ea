"""What can be wrong with a server or its files: it is mended, or said with the log's own words and the remedy."""

import json
import os
import re
import resource
import signal
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import redis

from penstock.errors import EmbeddedServerError
from penstock.streams.embedded import find_binary, server_status, stop_server, use_server
from penstock.streams.embedded._record import ServerFolder
from penstock.streams.embedded._starting import explain
from tests.embedded.helpers import NO_LINGER, add, client, entry_ids, server_pids_of, starts, wait_until

SHORT = timedelta(seconds=0.5)
Wrap = Callable[[str, str], Path]


def written(folder: Path, count: int = 100) -> None:
    """A data folder whose stopped server holds a list of numbers."""
    with use_server(folder, linger=NO_LINGER) as use, client(use.url) as server:
        for number in range(count):
            server.rpush("numbers", number)


def test_what_a_killed_server_left_is_not_taken_for_a_server(data_folder: Path) -> None:
    """A socket nobody listens on, a note with a process id that is somebody else's now: ours, which is left alone."""
    written(data_folder)
    note = data_folder / "server.json"
    record = json.loads(note.read_text(encoding="utf-8"))
    record["pid"] = os.getpid()
    note.write_text(json.dumps(record), encoding="utf-8")
    socket = Path(record["socket"])
    socket.parent.mkdir(mode=0o700)
    socket.touch()

    assert server_status(data_folder).state == "stopped"
    assert stop_server(data_folder) is False
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        assert server.llen("numbers") == 100
        assert server_status(data_folder).pid in server_pids_of(data_folder)


@pytest.mark.parametrize(
    "text", ["", '{"socket": "/tmp/x', "[]", "null", '{"socket": 7, "lock": 8}', "\x00" * 64]
)
def test_a_damaged_note_is_written_anew(data_folder: Path, text: str) -> None:
    """Whether the server runs, as the lock says, or not: it is found where it must be, or started."""
    note = data_folder / "server.json"
    with use_server(data_folder, linger=NO_LINGER) as use:
        whole = json.loads(note.read_text(encoding="utf-8"))
        note.write_text(text, encoding="utf-8")
        assert server_status(data_folder).state == "running"
        with use_server(data_folder, linger=NO_LINGER) as again:
            assert again.url == use.url
        assert json.loads(note.read_text(encoding="utf-8"))["pid"] == whole["pid"]
    note.write_text(text, encoding="utf-8")
    assert server_status(data_folder).state == "stopped"
    with use_server(data_folder, linger=NO_LINGER):
        assert starts(data_folder) == 2


def test_a_server_whose_socket_was_cleared_away_is_started_again(data_folder: Path) -> None:
    """As at a logout, which takes the runtime folder: the server lives but nobody new can reach it. No data is lost."""
    written(data_folder)
    with use_server(data_folder, linger=NO_LINGER) as use:
        socket = Path(use.url.removeprefix("unix://"))
        [unreachable] = server_pids_of(data_folder)
        socket.unlink()
        with use_server(data_folder, linger=NO_LINGER) as again, client(again.url) as server:
            assert again.url == use.url
            assert server.llen("numbers") == 100
            assert unreachable not in server_pids_of(data_folder)


def test_a_server_whose_socket_was_cleared_away_can_be_stopped(data_folder: Path) -> None:
    """It is told by a signal what it cannot be asked; its data is complete all the same."""
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        server.set("a", 1)
        Path(use.url.removeprefix("unix://")).unlink()
        assert stop_server(data_folder)
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        assert server.get("a") == b"1"


def test_a_server_that_is_still_loading_is_waited_for_and_not_given_up(
    data_folder: Path, wrapped_server: Wrap
) -> None:
    """Too little time is an error with the progress; the server loads on without users, and the next one joins it."""
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        server.mset({f"key {number}": number for number in range(3000)})
        server.bgrewriteaof()
        wait_until(
            lambda: server.info("persistence")["aof_base_size"] > 30_000, "the data is in the base file"
        )
        wait_until(lambda: not server.info("persistence")["aof_rewrite_in_progress"], "the rewrite is done")
    wrapped_server("", "--key-load-delay 500 --loading-process-events-interval-bytes 1024")
    with pytest.raises(
        EmbeddedServerError, match=r"still loading its data after 500ms \([0-9]+ % read\).*start_timeout"
    ) as caught:
        use_server(data_folder, start_timeout=SHORT, linger=NO_LINGER)
    assert f"{data_folder}/server.log ends with:\n" in str(caught.value)
    assert "loading" in (server_status(data_folder).problem or "")
    [pid] = server_pids_of(data_folder)
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        assert server.dbsize() == 3000
        assert server_pids_of(data_folder) == [pid]


def test_a_server_that_does_not_answer_is_an_error_in_time(data_folder: Path) -> None:
    """With where it should answer, what holds the lock, and the end of its log."""
    with use_server(data_folder, linger=NO_LINGER):
        [pid] = server_pids_of(data_folder)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(EmbeddedServerError, match="takes connections but does not answer") as caught:
            use_server(data_folder, start_timeout=SHORT, linger=NO_LINGER)
        os.kill(pid, signal.SIGCONT)
        for word in (str(data_folder / "server.lock"), "penstock server stop", "Ready to accept connections"):
            assert word in str(caught.value)


def test_a_server_that_ends_at_once_is_an_error_with_its_own_words(
    data_folder: Path, wrapped_server: Wrap
) -> None:
    """At once, not when the time is up; what it complained about is in the message."""
    wrapped_server("", "--no-such-setting 1")
    with pytest.raises(EmbeddedServerError, match="ended as soon as it was started") as caught:
        use_server(data_folder, linger=NO_LINGER)
    assert "Bad directive" in str(caught.value)
    assert server_status(data_folder).state == "stopped"


def test_a_server_that_ends_without_a_word_is_an_error_too(data_folder: Path, wrapped_server: Wrap) -> None:
    """It is not started again and again, though the one before it ended in order."""
    written(data_folder, 1)
    tries = data_folder.parent / "tries"
    wrapped_server(f'[ "$1" = --version ] || {{ echo >>{tries}; exit 3; }}', "")
    with pytest.raises(
        EmbeddedServerError, match=r"ended as soon as it was started.*\n.*server.log:\n    nothing"
    ):
        use_server(data_folder, linger=NO_LINGER)
    assert tries.read_text(encoding="utf-8") == "\n"


def test_data_of_a_newer_server_is_refused_with_the_remedy(data_folder: Path) -> None:
    """The server's own check of the file's version, and what it means."""
    written(data_folder)
    [base] = (data_folder / "appendonlydir").glob("*.base.rdb")
    data = base.read_bytes()
    base.write_bytes(data[:6] + b"999" + data[9:])
    with pytest.raises(EmbeddedServerError, match=r"written by a newer server.*PENSTOCK_SERVER") as caught:
        use_server(data_folder, linger=NO_LINGER)
    assert "RDB format version" in str(caught.value)


def test_a_server_too_old_to_see_the_data_is_not_started(
    data_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis 6.2 looks for its append-only file elsewhere and would start empty without a word."""
    written(data_folder)
    old = data_folder.parent / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.2.14 sha=00000000:0'\n", encoding="utf-8")
    old.chmod(0o700)
    monkeypatch.setenv("PENSTOCK_SERVER", str(old))
    with pytest.raises(EmbeddedServerError, match=r"newer server than .* \(redis 6\.2\.14\).*start empty"):
        use_server(data_folder, linger=NO_LINGER)


def test_an_append_only_file_cut_short_by_a_power_failure_loads(data_folder: Path) -> None:
    """All but the entry that was being written is there."""
    written(data_folder)
    [file] = (data_folder / "appendonlydir").glob("*.incr.aof")
    os.truncate(file, file.stat().st_size - 3)
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        assert server.llen("numbers") == 99


def test_an_append_only_file_damaged_in_the_middle_is_an_error_with_the_remedy(data_folder: Path) -> None:
    """Leaving out what cannot be read would be a silent loss; the repair that is named works."""
    written(data_folder)
    [file] = (data_folder / "appendonlydir").glob("*.incr.aof")
    data = bytearray(file.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = b"\0" * 40
    file.write_bytes(data)
    with pytest.raises(
        EmbeddedServerError, match=f"append-only file is damaged: .*valkey-check-aof --fix {file}"
    ):
        use_server(data_folder, linger=NO_LINGER)

    check = data_folder.parent / "valkey-check-aof"
    check.symlink_to(find_binary().path)
    assert os.system(f"echo y | {check} --fix {file} >/dev/null") == 0
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        assert 0 < server.llen("numbers") < 100


@pytest.mark.parametrize(
    ("log", "advice"),
    [
        ("# Can't handle RDB format version 80", "written by a newer server"),
        (
            "# Bad file format reading the append only file appendonly.aof.1.base.rdb: make a",
            "written by a newer server",
        ),
        (
            "# Unexpected end of file reading the append only file a.2.incr.aof. You can:",
            "keep a copy.*--fix .*/a.2.incr.aof",
        ),
        ("# Error writing to the AOF file: No space left on device", "free some space"),
        ("# Something else", "what its log says"),
    ],
)
def test_a_log_is_read_for_the_remedy(data_folder: Path, log: str, advice: str) -> None:
    """What the servers write at the end is known for the common cases; the log itself is shown in all."""
    assert re.search(advice, explain(ServerFolder(data_folder), f"7:M 21 Nov 2025 09:17:13.126 {log}"))


def test_a_full_disk_refuses_writes_and_keeps_what_was_written(
    data_folder: Path, wrapped_server: Wrap
) -> None:
    """Writes get MISCONF errors, reads go on, the status says so; with room again, writes go on by themselves."""
    wrapped_server("trap '' XFSZ\nulimit -S -f 256", "")
    block = "x" * 4000
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        answers: list[bytes] = []
        with pytest.raises(redis.ResponseError, match="MISCONF Errors writing to the AOF file"):
            answers.extend(add(server, block) for _ in range(1000))
        assert server.xlen("written") >= len(answers) > 20
        assert "is the disk full?" in (server_status(data_folder).problem or "")
        if hasattr(resource, "prlimit"):
            [pid] = server_pids_of(data_folder)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            wait_until(lambda: server_status(data_folder).problem is None, "the server writes again")
            answers.append(add(server, block))
    with use_server(data_folder, linger=NO_LINGER) as use, client(use.url) as server:
        assert entry_ids(server).issuperset(answers)


def test_a_full_disk_ends_a_server_that_promised_every_write(data_folder: Path, wrapped_server: Wrap) -> None:
    """Under ``always`` it cannot keep its promise, so it ends; everything it had acknowledged is there afterwards."""
    wrapped_server("trap '' XFSZ\nulimit -S -f 256", "")
    answers: list[bytes] = []
    with use_server(data_folder, linger=NO_LINGER, durability="always") as use, client(use.url) as server:
        with pytest.raises(redis.ConnectionError):
            answers.extend(add(server, "x" * 4000) for _ in range(1000))
        wrapped_server("", "")
        with use_server(data_folder, linger=NO_LINGER, durability="always"):
            assert entry_ids(server).issuperset(answers)
    assert len(answers) > 20


def test_the_log_is_kept_short(data_folder: Path) -> None:
    """A long one is put aside at the next start, in place of the one before."""
    data_folder.mkdir()
    (data_folder / "server.log").write_bytes(b"long\n" * 300_000)
    with use_server(data_folder, linger=NO_LINGER):
        assert starts(data_folder) == 1
    assert (data_folder / "server.log").stat().st_size < 10_000
    assert (data_folder / "server.log.1").stat().st_size == 1_500_000
