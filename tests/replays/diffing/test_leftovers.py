"""What a comparison leaves when it is killed is cleared away by the next one, and what is in use is not."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from penstock.replays.diffing._workrooms import clear_leftovers, workroom
from penstock.store import make_backend
from penstock.store.migrating import apply
from tests.replays.diffing.project import SHOP, Project

SLOW = SHOP.replace("app = App", "import os, time\nfrom pathlib import Path\n\napp = App").replace(
    "    rows.increment",
    "    Path('pid').write_text(str(os.getpid()))\n    time.sleep(0.05)\n    rows.increment",
)
"""The shop, whose handler says in which process it is and takes its time: a minute for all events."""
EVENTS = 1200


def wait_until(is_so: Callable[[], object]) -> None:
    """Wait for a condition."""
    ends = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < ends
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@contextmanager
def begun(project: Project, *words: str, **environ: str) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A command that was begun, and the process in which its slow handler is at work."""
    told = project.folder / "pid"
    told.unlink(missing_ok=True)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PENSTOCK_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock", *words],
        cwd=project.folder,
        env={**kept, **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: told.exists() and told.read_text())
        yield process, int(told.read_text())
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of temporary files, for this process and those that it starts."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.mark.covers("LEAD-3")
def test_what_a_killed_comparison_leaves_is_cleared_by_the_next(project: Project, made: Path) -> None:
    """Not while a process that it started is at work in it; and that one ends by itself, since nobody waits for it."""
    project.pay(*[("ann", number) for number in range(EVENTS)])
    project.write("slow.py", SLOW)
    other = made / "penstock-diff-of_mine"
    other.mkdir()
    (other / "notes").touch()
    words = ("replays", "diff", "totals", "--app", "app")
    with begun(project, *words, "--from", "slow:app", "--to", ".") as (process, side):
        [folder] = [each for each in made.iterdir() if each.is_dir() and each != other]
        os.kill(side, signal.SIGSTOP)
        process.kill()
        process.wait()
        assert project.run(*words, "--from", ".", "--to", ".", "--keys", "ann").code == 0
        assert folder.exists()
        os.kill(side, signal.SIGCONT)
        wait_until(lambda: not is_running(side))
    assert folder.exists()
    assert not (folder / "answer.json").exists()
    assert project.run("--app", "app", "replays", "at", "totals", "--position", "1").code == 0
    assert [each for each in made.iterdir() if each.is_dir()] == [other]


@pytest.mark.covers("LEAD-3", "LEAD-14")
def test_what_is_left_in_postgresql_is_cleared_by_the_next(
    project: Project, made: Path, each_postgres_database: str
) -> None:
    """A schema is in use as long as its maker is connected; others of that name that are not ours stay."""
    url = each_postgres_database
    apply(make_backend("local", url).database)
    project.write("app.py", SLOW)
    project.pay(*[("ann", number) for number in range(EVENTS)])

    def schemas() -> set[str]:
        with psycopg.connect(url) as connection:
            found = connection.execute(
                "SELECT nspname FROM pg_namespace WHERE nspname ~ '^penstock_'"
            ).fetchall()
        return {name for [name] in found}

    def connected() -> int:
        with psycopg.connect(url) as connection:
            sql = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'penstock throw-away'"
            [count] = connection.execute(sql).fetchone() or (0,)
        return int(count)

    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA penstock_at_0123456789ab")
    looking = ("--app", "app", "replays", "at", "totals", "--in", url)
    with begun(project, *looking, "--position", str(EVENTS)):
        [used] = schemas() - {"penstock_at_0123456789ab"}
        assert project.run(*looking, "--position", "1").code == 0
        assert schemas() == {"penstock_at_0123456789ab", used}
    wait_until(lambda: not connected())
    assert used in schemas()
    comparing = ("--app", "app", "replays", "diff", "totals", "--from", ".", "--to", "app:app", "--in", url)
    with begun(project, *comparing) as (process, side):
        wait_until(lambda: len(schemas()) == 3)
        assert used not in schemas()
        process.kill()
        process.wait()
        wait_until(lambda: side == process.pid or not is_running(side))
    wait_until(lambda: not connected())
    assert project.run(*looking, "--position", "2").code == 0
    assert schemas() == {"penstock_at_0123456789ab"}


def test_a_folder_that_was_cleared_before_it_was_locked_is_made_again(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between making a folder and locking it somebody may take it for left behind."""
    lock, seen = fcntl.flock, list[Path]()

    def late(folder: int, how: int) -> None:
        seen.extend(made.iterdir())
        monkeypatch.setattr(fcntl, "flock", lock)
        clear_leftovers()
        lock(folder, how)

    monkeypatch.setattr(fcntl, "flock", late)
    with workroom("at") as room:
        assert [each for each in seen if not each.exists()] == seen != [room.path]
        clear_leftovers()
        assert list(made.iterdir()) == [room.path]


def test_nobody_clears_what_somebody_has_just_made(made: Path) -> None:
    """Folders that several make and clear at the same time are there until their makers leave them."""
    gone: list[Path] = []

    def work() -> None:
        for _ in range(100):
            clear_leftovers()
            with workroom("at") as room:
                (room.path / "read_model.db").touch()
                clear_leftovers()
                if not (room.path / "read_model.db").exists():
                    gone.append(room.path)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert gone == []
    assert list(made.iterdir()) == []
