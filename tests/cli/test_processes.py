"""`penstock run` and `penstock listen` as processes: signals, several workers, reloading, death."""

import os
import re
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import SHOP, Project, Running, order, place


def ready(running: Running) -> None:
    """Wait until the groups are being worked."""
    running.wait_for("working group billing")


def begun(project: Project, running: Running, order_id: str) -> None:
    """Wait until a listener has begun with an order."""
    running.wait_until(f"{order_id} has begun", lambda: f"begin {order_id}" in project.notes())


@pytest.mark.covers("LISTEN-10")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains_and_the_exit_code_is_0(how: signal.Signals, shop: Project) -> None:
    """A handler that has begun finishes and its message is acknowledged; nothing else stays pending here."""
    place(shop, "slow")
    running = shop.start("run", "--only", "billing")
    begun(shop, running, "slow")
    running.process.send_signal(how)
    running.wait_for("finishing what was begun")
    assert running.process.poll() is None
    shop.write("finish", "")

    ending = running.end()

    assert ending.code == 0, ending
    assert shop.notes() == ["begin slow", "end slow"]
    [billing] = [each for each in shop("groups", "list", "--json").document["items"] if each["exists"]]
    assert (billing["pending"], billing["lag_entries"]) == (0, 0)


@pytest.mark.covers("LISTEN-10")
def test_the_second_signal_stops_at_once(shop: Project) -> None:
    """Whoever cannot wait is not made to: exit code 130, and the message is left for others."""
    place(shop, "slow")
    running = shop.start("run")
    begun(shop, running, "slow")
    running.process.send_signal(signal.SIGINT)
    running.wait_for("finishing what was begun")
    running.process.send_signal(signal.SIGINT)

    assert running.end().code == 130
    assert shop.notes() == ["begin slow"]
    items = shop("groups", "show", "order.placed", "billing", "--json").document
    assert items["group"]["pending"] + items["group"]["lag_entries"] == 1


@pytest.mark.covers("LISTEN-8")
def test_idle_exit_ends_after_the_idle_time(shop: Project) -> None:
    """With nothing to do the command ends by itself, with code 0."""
    place(shop, "1")
    ending = shop.start("run", "--idle-exit", "300ms").end()
    assert ending.code == 0
    assert shop.notes() == ["begin 1", "end 1"]


@pytest.mark.covers("LISTEN-18")
def test_several_processes_share_the_work_and_drain_together(shop: Project) -> None:
    """Each worker is a process of its own; one signal to the supervisor drains all of them."""
    running = shop.start("run", "--processes", "2")
    running.wait_until("both work", lambda: running.err.read_text().count("working group billing") == 2)
    place(shop, "slow", *map(str, range(200)))
    begun(shop, running, "slow")
    running.process.terminate()
    running.wait_until("both drain", lambda: running.err.read_text().count("finishing what was begun") == 2)
    shop.write("finish", "")

    assert running.end().code == 0
    assert "end slow" in shop.notes()


@pytest.mark.covers("LISTEN-18", "GROUP-9")
def test_a_dead_worker_is_started_again(shop: Project) -> None:
    """kill -9 of one worker: another takes its place, and what it held is handled by someone."""
    running = shop.start("run", "--processes", "2", PENSTOCK_GROUPS__BILLING__MIN_IDLE="500ms")
    running.wait_until("both work", lambda: running.err.read_text().count("working group billing") == 2)
    place(shop, "slow")
    begun(shop, running, "slow")
    [victim] = shop.workers()
    os.kill(victim, signal.SIGKILL)
    running.wait_for("ended by SIGKILL; starting it again")
    shop.write("finish", "")
    running.wait_until("it was handled", lambda: "end slow" in shop.notes())
    running.wait_until(
        "the new one works", lambda: running.err.read_text().count("working group billing") == 3
    )
    running.process.terminate()
    assert running.end().code == 0


@pytest.mark.covers("LISTEN-10")
def test_workers_drain_when_their_supervisor_is_killed(shop: Project) -> None:
    """kill -9 of the supervisor leaves no orphans behind: the workers notice and end."""
    running = shop.start("run", "--processes", "2")
    running.wait_until("both work", lambda: running.err.read_text().count("working group billing") == 2)
    pids = worker_pids(running)
    running.process.kill()
    running.process.wait()
    running.wait_until("both end", lambda: not any(is_alive(pid) for pid in pids))
    assert running.err.read_text().count("the supervisor is gone") == 2


def worker_pids(running: Running) -> list[int]:
    """The processes that the supervisor says it started."""
    return [int(found) for found in re.findall(r"is process (\d+)", running.err.read_text())]


def is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_what_no_worker_could_start_with_is_refused_once(shop: Project) -> None:
    """A wrong declaration ends the supervisor, instead of being met by every worker for ever."""
    shop.write(
        "app.py",
        SHOP.replace("async def thank(order: OrderPlaced)", "async def thank(order: OrderPlaced, x: Path)"),
    )
    ending = shop.start("run", "--processes", "2").end()
    assert ending.code == 1
    assert "nothing provides" in ending.err
    assert "is process" not in ending.err


def test_several_processes_end_when_all_are_done(shop: Project) -> None:
    """--until-idle holds for each; the supervisor ends with the last."""
    place(shop, *map(str, range(20)))
    ending = shop.start("run", "--processes", "2", "--until-idle").end()
    assert ending.code == 0
    assert sum(note.startswith("end") for note in shop.notes()) == 20


@pytest.mark.covers("GROUP-16")
def test_a_pool_grows_while_events_wait_and_shrinks_when_none_do(shop: Project) -> None:
    """From one process to the most allowed, and back to the fewest; nothing is lost on the way."""
    place(shop, *["slow"] * 30)
    running = shop.start(
        *("run", "--only", "billing", "--processes", "1-3", "--idle-timeout", "300ms"),
        PENSTOCK_GROUPS__BILLING__CONCURRENCY="1",
        PENSTOCK_GROUPS__BILLING__MAX_BATCH="1",
    )
    running.wait_for("growing from 2 workers to 3")
    running.wait_until("all three work", lambda: len(shop.workers()) == 3)
    shop.write("finish", "")
    running.wait_for("draining worker 3")
    running.wait_for("draining worker 2")
    running.wait_until("one is left", lambda: sum(map(is_alive, worker_pids(running))) == 1)
    running.process.terminate()
    assert running.end().code == 0
    assert shop.notes().count("end slow") == 30


def test_reload_drains_and_starts_with_the_present_code(shop: Project) -> None:
    """A saved file takes effect; what was begun under the old code finishes under it."""
    running = shop.start("run", "--reload")
    ready(running)
    place(shop, "slow")
    begun(shop, running, "slow")
    shop.write("app.py", SHOP.replace("end {order.order_id}", "new end {order.order_id}"))
    running.wait_for("app.py changed")
    running.wait_for("finishing what was begun")
    shop.write("finish", "")
    running.wait_until("it works again", lambda: running.err.read_text().count("working group billing") == 2)
    place(shop, "2")
    running.wait_until("the new code ran", lambda: "new end 2" in shop.notes())
    running.process.send_signal(signal.SIGINT)
    assert running.end().code == 0
    assert "end slow" in shop.notes()


def test_reload_survives_broken_code(shop: Project) -> None:
    """A file that cannot be loaded is reported; the next change is tried again."""
    running = shop.start("run", "--reload")
    ready(running)
    shop.write("app.py", "from penstock import nothing_like_this\n")
    running.wait_for("it starts again when the code has changed")
    assert "nothing_like_this" in running.err.read_text()
    shop.write("app.py", SHOP)
    running.wait_until("it works again", lambda: running.err.read_text().count("working group billing") == 2)
    running.process.terminate()
    assert running.end().code == 0


@pytest.mark.covers("LISTEN-10")
def test_listen_ends_cleanly_on_a_signal(shop: Project) -> None:
    """The same two beats for `listen`."""
    running = shop.start("listen", "order.placed", "--group", "billing")
    running.wait_for("Listening to order.placed as group billing")
    place(shop, "1")
    running.wait_for("charge (billing)")
    running.process.terminate()
    assert running.end().code == 0


@pytest.mark.covers("LISTEN-9")
def test_keep_alive_restarts_as_often_as_it_is_told(shop: Project) -> None:
    """N restarts after an error that is no listener's, then a non-zero exit code."""
    shop.write(
        "app.py",
        SHOP.replace("retry=Retry(attempts=1)", 'on_failure="halt"'),
    )
    shop.write("broken", "")
    place(shop, "1")
    running = shop.start(
        "listen", "order.placed", "--group", "billing", "--keep-alive", "--max-attempts", "2"
    )
    ending = running.end(60)
    assert ending.code == 1
    assert ending.err.count("starting again in") == 2
    assert "1 restarts left" in ending.err
    assert "0 restarts left" in ending.err
    assert "halted at entry" in ending.err


def test_keep_alive_ends_on_a_signal_while_it_waits(shop: Project) -> None:
    """Between two attempts nothing is being handled: a signal ends it at once, with code 0."""
    shop.write("app.py", SHOP.replace("retry=Retry(attempts=1)", 'on_failure="halt"'))
    shop.write("broken", "")
    place(shop, "1")
    running = shop.start("listen", "order.placed", "--group", "billing", "--keep-alive")
    running.wait_for("starting again in 1.0 s")
    running.process.terminate()
    assert running.end(10).code == 0


def test_a_reader_that_has_had_enough_fails_no_listener(shop: Project) -> None:
    """`penstock listen ... | head -0`: the pipe is closed, the command ends with code 0, and nothing is recorded."""
    place(shop, *map(str, range(50)))
    reading, writing = os.pipe()
    os.close(reading)
    running = shop.start("listen", "order.placed", "--group", "billing", "--json", stdout=writing)
    os.close(writing)

    ending = running.end()

    assert ending.code == 0, ending
    assert "BrokenPipe" not in ending.err
    assert shop("failed", "list", "--json").document["items"] == []
    [billing] = [each for each in shop("groups", "list", "--json").document["items"] if each["exists"]]
    ended = sum(note.startswith("end") for note in shop.notes())
    assert billing["pending"] + billing["lag_entries"] == 50 - ended


def test_emitting_can_be_interrupted_while_it_waits_for_input(shop: Project) -> None:
    """Lines are emitted as they come; Ctrl-C while none comes ends at once, and says how many were emitted."""
    reading, writing = os.pipe()
    running = shop.start("emit", "order.placed", "-", stdin=reading)
    os.close(reading)
    os.write(writing, f"{order('1')}\n".encode())
    running.wait_until(
        "the line is emitted at once",
        lambda: any(each["length"] for each in shop("streams", "list", "--json").document["items"]),
    )
    running.process.send_signal(signal.SIGINT)
    ending = running.end()
    os.close(writing)

    assert ending.code == 130, ending
    assert "Interrupted; 1 events were emitted before" in ending.err
    assert "Traceback" not in ending.err
