"""``penstock projections reset`` and ``delete``, and the same commands on PostgreSQL."""

import signal
import sqlite3
from pathlib import Path

import pytest

from tests.cli.conftest import Project
from tests.cli.projecting import APP, SETTINGS, log, place, rows, run_all, status, wait_for_state


@pytest.mark.covers("PROJ-12")
def test_a_reset_projection_is_filled_again(service: Project) -> None:
    """It asks first; the read model is emptied and made again from the first event, running or not."""
    place(service, "1", "2")
    run_all(service)
    assert service("projections", "reset", "totals").code == 1
    assert service("projections", "reset", "totals", "--dry-run").code == 0
    assert rows(service) == ["1", "2"]
    assert service("projections", "reset", "totals", "--yes").out == "totals: begins again\n"
    assert (rows(service), status(service, "totals")["position"]) == ([], 0)
    run_all(service)
    assert rows(service) == ["1", "2"]

    running = service.start("run")
    wait_for_state(service, running, "totals", "running")
    assert service("projections", "reset", "totals", "--yes").out == "totals: begins again\n"
    running.wait_until("it is filled again", lambda: rows(service) == ["1", "2"])
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == 0


@pytest.mark.covers("PROJ-12")
def test_a_projection_is_deleted_with_or_without_its_read_model(service: Project) -> None:
    """Without, its rows stay and only its record goes, for which no code is needed; with, both are gone."""
    place(service, "1")
    run_all(service)
    (service.folder / "app.py").rename(service.folder / "gone.txt")
    assert service("projections", "delete", "totals", "--yes").out == "totals: deleted\n"
    assert service("projections", "show", "totals").code == 1
    assert rows(service) == ["1"]
    Path(service.folder / "gone.txt").rename(service.folder / "app.py")
    with sqlite3.connect(service.folder / ".penstock/events.db") as database:
        database.execute("DELETE FROM totals")
    database.close()
    run_all(service)
    assert service("projections", "delete", "totals", "--read-model", "--yes").code == 0
    assert rows(service) == []


def shared(project: Project) -> list[str]:
    """The orders in the shared store."""
    lines = project("store", "events", "--store", "shared", "--json").lines
    return [line["payload"]["order_id"] for line in lines]


@pytest.mark.covers("PROJ-12", "PROJ-2")
def test_a_relay_begins_again_and_adds_nothing_twice(service: Project) -> None:
    """Between stores, whether it runs or not: it reads from the first event, and the target has each once."""
    place(service, "1", "2")
    run_all(service)
    planned = service("projections", "reset", "shared", "--dry-run")
    assert planned.out.startswith("shared is at position 2. Hand everything on once more")
    assert service("projections", "reset", "shared", "--yes").out == "shared: begins again\n"
    assert status(service, "shared", "relays")["position"] == 0
    run_all(service)
    assert (status(service, "shared", "relays")["position"], shared(service)) == (2, ["1", "2"])

    running = service.start("run")
    wait_for_state(service, running, "totals", "running")
    assert service("projections", "reset", "shared", "--yes").out == "shared: begins again\n"
    running.wait_until("it is there again", lambda: status(service, "shared", "relays")["position"] == 2)
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == 0
    assert shared(service) == ["1", "2"]


@pytest.mark.covers("PROJ-12")
def test_a_relay_that_was_removed_from_the_code_holds_nothing_once_it_is_deleted(service: Project) -> None:
    """Its record goes, and what the source has noted of it, for which that keeps events."""
    place(service, "1")
    service.write("app.py", f"{APP}\napp.relay('gone', target='shared', to='all')\n")
    run_all(service)
    assert _noted(service) == ["gone", "shared"]
    service.write("app.py", APP)
    assert service("projections", "delete", "gone", "--yes").out == "gone: deleted\n"
    assert _noted(service) == ["shared"]
    assert service("relays", "show", "gone").code == 1


def _noted(project: Project) -> list[str]:
    """Which relays the store knows of that read it."""
    with sqlite3.connect(project.folder / ".penstock/events.db") as database:
        found = database.execute("SELECT relay FROM penstock_relays ORDER BY relay").fetchall()
    database.close()
    return [relay for [relay] in found]


@pytest.mark.covers("PROJ-12", "PROJ-13", "FAIL-12")
def test_the_same_commands_work_on_postgresql(service: Project, postgres_database: str) -> None:
    """Migrate, run, fail, look, retry, put aside, reset, delete: as on a file, with the read model in the server."""
    service.write("penstock.toml", f'store = "{postgres_database}"\n{SETTINGS}')
    service.write(
        "app.py",
        APP.replace("sqlite3.Connection", "psycopg.Connection")
        .replace("VALUES (?, ?)", "VALUES (%s, %s)")
        .replace("import sqlite3", "import psycopg"),
    )
    assert "penstock db migrate --store local" in service("projections", "list").err
    assert service("db", "migrate", "--all").code == 0
    place(service, "1", "2", "2")
    service.write("broken", "2")
    running = service.start("run", "--log-level", "critical")
    assert wait_for_state(service, running, "totals", "halted")["error"] == "cannot add 2"
    running.wait_until("they are put aside", lambda: status(service, "parked")["parked"] == 2)
    items = service("failed", "list", "--json").document["items"]
    assert [(each["projection"], each["position"], each["state"]) for each in items] == [
        ("parked", 2, "parked"),
        ("parked", 3, "waiting"),
    ]
    # Before it is mended: one that is halted tries again by itself.
    assert service("projections", "retry").code == 0
    (service.folder / "broken").unlink()
    running.wait_until("it goes on", lambda: status(service, "totals")["position"] == 3)
    assert service("failed", "retry", "--projection", "parked").code == 0
    assert service("failed", "list").out == "No failed messages\n"
    assert service("projections", "reset", "totals", "--yes").code == 0
    running.wait_until("it is filled again", lambda: status(service, "totals")["position"] == 3)
    assert [each["what"] for each in log(service)] == ["reset", "retry", "retry"]
    assert service("projections", "stop", "--all").code == 0
    running.process.send_signal(signal.SIGTERM)
    assert running.end().code == 0
    assert service("projections", "delete", "totals", "--read-model", "--yes").code == 0
    shown = service("store", "show").out
    assert "PostgreSQL, postgresql://" in shown
    assert "Events          3\n" in shown
