"""From nothing: `penstock init`, the embedded server, and the first event, each as it is typed."""

import re
from pathlib import Path

import pytest

from penstock.streams.embedded._wire import ask
from tests.cli.conftest import SHOP, Project


@pytest.mark.covers("CONF-4")
def test_what_init_writes_works_as_typed(bare: Project) -> None:
    """The program, and the two commands that init proposes: the event reaches the listener."""
    ending = bare("init", "shop")
    assert ending.code == 0
    folder = bare.folder / "shop"
    assert sorted(path.name for path in folder.iterdir()) == [".gitignore", "app.py", "penstock.toml"]
    assert len((folder / "app.py").read_text().splitlines()) <= 15
    commands = re.findall(r"^  (penstock .*)$", ending.out, re.MULTILINE)
    assert [command.split()[1] for command in commands] == ["run", "emit"]
    bare.folder = folder
    bare.patch.chdir(folder)
    try:
        running = bare.start("run")
        running.wait_for("working group shop over order.placed")
        body = commands[1].split(" ", 3)[3].strip("'")
        assert bare("emit", "order.placed", body).code == 0
        running.wait_for("order 1: 5.00")
        running.process.terminate()
        assert running.end().code == 0
    finally:
        assert bare("server", "stop", "--yes").code == 0


def test_init_overwrites_nothing(bare: Project) -> None:
    """One file that is there already is enough to refuse, and then nothing is written; .gitignore only grows."""
    bare.write("penstock.toml", "# mine\n")
    refused = bare("init")
    assert refused.code == 1
    assert "penstock.toml" in refused.err
    assert not (bare.folder / "app.py").exists()
    (bare.folder / "penstock.toml").unlink()
    bare.write(".gitignore", "*.pyc")
    assert bare("init", "--dry-run").code == 0
    assert not (bare.folder / "app.py").exists()
    assert bare("init").code == 0
    assert (bare.folder / ".gitignore").read_text() == "*.pyc\n.penstock/\n"


def test_a_folder_that_cannot_be_written_is_refused(bare: Project) -> None:
    """A file stands where the folder should be."""
    bare.write("here", "")
    assert bare("init", "here/below").code == 1


def test_the_embedded_server_is_started_shown_and_stopped(bare: Project) -> None:
    """It stays without users once it was started, and its data survives."""
    assert bare("server", "status", "--json").document["state"] == "stopped"
    assert bare("server", "stop", "--json").document["stopped"] is False
    started = bare("server", "start", "--json").document
    assert (started["state"], started["stays"]) == ("running", True)
    assert bare("emit", "note", "1").code == 0
    assert "running" in bare("server", "status").out
    assert bare("server", "stop", "--dry-run", "--json").document == {
        "penstock": 1,
        "command": "server stop",
        "stopped": False,
        "dry_run": True,
        "users": 0,
        "next": None,
    }
    assert bare("server", "status", "--json").document["pid"] == started["pid"]
    assert bare("server", "stop").code == 0
    assert bare("server", "status", "--json").document["state"] == "stopped"
    assert bare("streams", "list", "--json").document["items"][0]["length"] == 1
    assert bare("server", "stop", "--yes").code == 0


def test_a_server_in_use_is_stopped_only_when_meant(bare: Project) -> None:
    """Its users would lose their connections: somebody has to say yes."""
    running = bare.start("streams", "tail", "note")
    running.wait_until("it uses the server", lambda: bare("server", "status", "--json").document["users"] > 0)
    refused = bare("server", "stop")
    assert refused.code == 1
    assert "--yes" in refused.err
    running.process.terminate()
    running.process.wait()
    assert bare("server", "stop", "--yes").code == 0


def test_without_a_server_to_start_the_error_says_what_to_do(bare: Project) -> None:
    """Install one, name one, or give a URL."""
    bare.patch.setenv("PENSTOCK_SERVER", "/nonexistent/valkey-server")
    ending = bare("emit", "note", "1")
    assert ending.code == 1
    assert "penstock[embedded]" in ending.err
    assert "PENSTOCK_STREAMS" in ending.err


def test_a_server_that_may_evict_is_refused_unless_forced(bare: Project) -> None:
    """At its memory limit it would delete streams that nobody has read."""
    bare.write("app.py", SHOP)
    socket = Path(bare("server", "start", "--json").document["socket"])
    assert ask(socket, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru") == "OK"
    try:
        for command in (
            "run --until-idle",
            "run --processes 2 --until-idle",
            "listen --all --group mail --once",
        ):
            refused = bare(*command.split())
            assert refused.code == 1, command
            assert "allkeys-lru" in refused.err
            assert "--force" in refused.err
        assert bare("run", "--until-idle", "--force").code == 0
        assert bare("listen", "--all", "--group", "mail", "--once", "--force").code == 0
    finally:
        assert bare("server", "stop", "--yes").code == 0


@pytest.mark.covers("CONF-7")
def test_a_server_that_comes_later_is_waited_for(bare: Project) -> None:
    """A worker that starts before its server goes on trying, and works as soon as the server is there."""
    bare.write("app.py", SHOP)
    url = bare("server", "start", "--json").document["url"]
    assert bare("server", "stop", "--yes").code == 0
    running = bare.start("run", PENSTOCK_STREAMS=url)
    running.wait_for("trying again in")
    assert running.process.poll() is None
    try:
        assert bare("server", "start").code == 0
        running.wait_for("working group billing")
        running.process.terminate()
        assert running.end().code == 0
    finally:
        assert bare("server", "stop", "--yes").code == 0


@pytest.mark.covers("CONF-7")
def test_a_server_is_waited_for_as_often_as_the_settings_say(bare: Project) -> None:
    """Then the error says what cannot be reached, with exit code 1."""
    bare.write("app.py", SHOP)
    ending = bare.start("run", PENSTOCK_STREAMS="redis://127.0.0.1:1", PENSTOCK_RECONNECT_ATTEMPTS="2").end()
    assert ending.code == 1
    assert ending.err.count("trying again in") == 2
    assert "Error: the server at 127.0.0.1:1 cannot be reached" in ending.err
