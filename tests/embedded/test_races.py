"""Whoever comes first starts the server: two processes never start two, however close they come."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from penstock.streams.embedded import ServerUse, server_status, stop_server, use_server
from tests.embedded.helpers import NO_LINGER, Starter, server_pids_of, starts

ROUNDS = 50


def test_two_processes_that_start_at_once_start_one_server(data_folder: Path, companion: Starter) -> None:
    """In every round both get the same server, and a server was started once a round; leaving at once works, too."""
    both = [companion(), companion()]
    for number in range(1, ROUNDS + 1):
        for process in both:
            process.tell("use")
        first, second = (process.answer() for process in both)
        assert first == second
        assert server_pids_of(data_folder) == [first["pid"]]
        for process in both:
            process.tell("release")
        assert [process.answer() for process in both] == ["released"] * 2
        assert starts(data_folder) == number
    assert server_status(data_folder).state == "stopped"


def test_many_processes_that_start_at_once_start_one_server(data_folder: Path, companion: Starter) -> None:
    """The same with more of them, which also come while the server of the former round is just ending."""
    crowd = [companion() for _ in range(5)]
    for _ in range(10):
        for process in crowd:
            process.tell("use")
        answers = [process.answer() for process in crowd]
        assert all(answer == answers[0] for answer in answers)
        for process in crowd:
            process.tell("release")
        for process in reversed(crowd):
            assert process.answer() == "released"


def test_many_threads_that_start_at_once_start_one_server(data_folder: Path) -> None:
    """Locks tell the uses of one process apart as well as those of several."""
    with ThreadPoolExecutor(8) as threads:
        started = [threads.submit(use_server, data_folder, linger=NO_LINGER) for _ in range(8)]
        uses = [future.result() for future in started]
        assert len({use.url for use in uses}) == 1
        assert starts(data_folder) == 1
        list(threads.map(ServerUse.release, uses))
    assert server_pids_of(data_folder) == []


def test_leaving_and_coming_at_once_never_costs_a_user_its_server(
    data_folder: Path, companion: Starter
) -> None:
    """One leaves as the last while another comes: who comes has a server that answers, the old one or a new one."""
    leaving, coming = companion(), companion()
    leaving.do("use")
    for _ in range(ROUNDS):
        leaving.tell("release")
        coming.tell("use")
        assert leaving.answer() == "released"
        found = coming.answer()
        assert server_pids_of(data_folder) == [found["pid"]]
        leaving, coming = coming, leaving


def test_using_and_stopping_at_once_end_in_order(data_folder: Path, companion: Starter) -> None:
    """A stop takes away the server that runs, never one that somebody is just starting in its place, half-done."""
    users = [companion(), companion()]
    for _ in range(15):
        for process in users:
            process.tell("use")
        stop_server(data_folder)
        for process in users:
            assert "error" not in process.answer()
        for process in users:
            process.do("release")
