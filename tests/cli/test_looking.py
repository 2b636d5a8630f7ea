"""What people see: tables of streams, groups, listeners and settings, and the status of it all."""

import pytest

from tests.cli.conftest import SHOP, Project, fail, order, place


@pytest.mark.covers("LISTEN-17")
def test_listeners_are_listed_by_event_and_compactly(shop: Project) -> None:
    """Events with their listeners, one a line; compact: the events alone; none where there is none."""
    full = shop("listeners", "list").out
    assert "charge (group billing, app:charge)" in full
    assert "thank (group mail, app:thank)" in full
    assert shop("listeners", "list", "--compact").out.split() == ["Event", "order.placed"]
    shop.write("app.py", 'from penstock import App\napp = App("quiet")\n')
    assert "has no listeners" in shop("listeners", "list").out


def test_streams_and_groups_are_shown_as_tables(shop: Project) -> None:
    """Counts, lag and failures are there to be seen, without any cut-off text."""
    fail(shop, "1", "2", "3")
    place(shop, *map(str, range(1500)))
    streams = shop("streams", "list").out
    assert "1,503" in streams
    groups = shop("groups", "list").out
    row = next(line for line in groups.splitlines() if "billing" in line)
    assert row.split()[:3] == ["order.placed", "billing", "1,500"]
    assert row.split()[-1] == "3"
    shown = shop("groups", "show", "order.placed", "billing").out
    assert "1,500 entries" in shown
    assert "3 failed, 0 retrying" in shown


def test_a_stream_is_shown_with_its_groups(shop: Project) -> None:
    """First and last entry come with their times."""
    fail(shop, "1")
    shown = shop("streams", "show", "order.placed").out
    assert "UTC)" in shown
    assert "billing" in shown
    registered = shop("streams", "show", "order.placed", "--app", "app").out
    assert "yes, registered" in registered


def test_tail_shows_who_what_and_where(shop: Project) -> None:
    """Id, name, key and body on one line; a name other than the stream's with its stream; no body, no body."""
    shop("emit", "order.placed", order("7"))
    shop("emit", "note", "--stream", "order.placed", "--key", "k")
    shown = shop("streams", "tail", "order.placed", "--no-follow").out.splitlines()
    assert shown[0].endswith('order.placed 7 {"order_id":"7","total_cents":100}')
    assert shown[1].endswith("note (order.placed) k")


def test_status_shows_everything_and_where_to_go_on(shop: Project) -> None:
    """Server, streams, groups, workers, failures, and the command that shows these."""
    fail(shop, "1")
    shown = shop("status").out
    for word in ("valkey", "order.placed", "billing", "1 failed, 0 retrying", "penstock failed list"):
        assert word in shown


def test_looking_at_a_server_that_was_never_used_starts_and_creates_nothing(bare: Project) -> None:
    """In a fresh folder every looking command answers, and leaves the folder as it was."""
    bare.write("app.py", SHOP)
    before = sorted(bare.folder.iterdir())
    for command in ("status", "streams list", "groups list", "failed list", "server status", "config show"):
        assert bare(*command.split()).code == 0, command
    assert "not running; the first use starts it" in bare("status").out
    assert "No streams yet" in bare("streams", "list").out
    assert "not yet" in bare("groups", "list", "--app", "app").out
    assert sorted(bare.folder.iterdir()) == before


@pytest.mark.covers("CONF-5")
def test_settings_are_shown_with_their_origin_and_without_passwords(shop: Project) -> None:
    """Code, file, environment and command line: each value says where it came from."""
    shop.write("penstock.toml", 'app = "app:app"\nmax_body = "2 MiB"\n')
    shop.patch.setenv("PENSTOCK_STREAMS", "redis://user:secret@localhost:1")
    ending = shop("config", "show", "--log-level", "error")
    rows = {line.split()[0]: line for line in ending.out.splitlines()}
    assert "penstock.toml" in rows["max_body"]
    assert "environment PENSTOCK_STREAMS" in rows["streams"]
    assert "command line" in rows["log_level"]
    assert "default" in rows["strict"]
    assert "secret" not in ending.out
    assert "user:***@" in rows["streams"]


@pytest.mark.covers("CONF-3", "CONF-5")
def test_config_check_names_everything_that_is_wrong(shop: Project) -> None:
    """All problems at once, each with the nearest name; good settings are said to be good."""
    assert shop("config", "check").code == 0
    shop.write("penstock.toml", 'max_boddy = 1\nstrict = "yes please"\n')
    ending = shop("config", "check")
    assert ending.code == 1
    assert "2 settings are wrong" in ending.err
    assert "did you mean 'max_body'?" in ending.err
    error = shop("config", "check", "--json").error
    assert len(error["facts"]["problems"]) == 2
    assert error["did_you_mean"] == ["max_body"]
