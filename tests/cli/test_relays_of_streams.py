"""``penstock relays`` with relays out of streams, which have entry ids for places."""

import re

import pytest

from tests.cli.conftest import Project
from tests.cli.projecting import place, status


@pytest.mark.covers("PROJ-13")
def test_relays_out_of_streams_show_position_and_lag(empty: Project) -> None:
    """In events and seconds, with the position as an entry id; partitions are added up to one line."""
    empty.write("penstock.toml", STREAM_RELAYS)
    for number in range(20):
        assert empty("emit", "order.placed", "{}", "--stream", "orders", "--key", f"k{number}").code == 0
        assert empty("emit", "order.paid", "{}", "--stream", "paid").code == 0
    place(empty, "1")

    before = {each["name"]: each for each in empty("relays", "list", "--json").document["items"]}
    assert {name: (each["state"], each["lag_events"]) for name, each in before.items()} == {
        "keep": ("idle", 20),
        "keep-paid": ("idle", 20),
    }
    empty.write("app.py", "from penstock import App\n\napp = App('keeper')\n")
    ending = empty("run", "--until-idle", "--only", "relay", "--log-level", "critical")
    assert ending.code == 0, ending
    (empty.folder / "app.py").unlink()
    for number in range(5):
        assert empty("emit", "order.placed", "{}", "--stream", "orders", "--key", f"k{number}").code == 0
    assert empty("emit", "order.paid", "{}", "--stream", "paid").code == 0
    after = {each["name"]: each for each in empty("relays", "list", "--json").document["items"]}
    assert {name: (each["source"], each["lag_events"]) for name, each in after.items()} == {
        "keep": ("stream:orders", 5),
        "keep-paid": ("stream:paid", 1),
    }
    assert all(
        0 < each["lag_seconds"] < 60 and each["head"] > each["position"] > 0 for each in after.values()
    )
    told = empty("relays", "show", "keep-paid").out
    assert re.search(r"Position +\d+-\d+ of \d+-\d+\n", told), told
    assert "Lag         1 event (" in told
    assert empty("relays", "stop", "keep").out == "keep: stopped\n"
    assert status(empty, "keep", "relays")["state"] == "stopped"
    assert empty("status", "--json").document["projections"][0]["lag_events"] == 5


def test_what_a_relay_out_of_a_stream_could_not_take_has_an_entry_id(empty: Project) -> None:
    """By which it is listed, shown with its message, grouped by error, and run again."""
    empty.write("app.py", TAKING)
    for number in range(2):
        body = f'{{"number": {number}}}'
        assert empty("emit", "order.placed", body, "--stream", "orders", "--id", f"{number + 1}-1").code == 0
    empty.write("broken", "")
    assert empty("run", "--until-idle", "--log-level", "critical").code == 0
    items = empty("failed", "list", "--json").document["items"]
    assert [(each["entry_id"], each["projection"], each["position"]) for each in items] == [
        ("1-1", "keep", None),
        ("2-1", "keep", None),
    ]
    shown = empty("failed", "show", "2-1").out
    assert ('"number": 1' in shown, "2-1 of stream orders" in shown) == (True, True)
    (empty.folder / "broken").unlink()
    again = empty("failed", "retry", "--projection", "keep", "--id", "1-1", "--log-level", "critical")
    assert (again.code, again.out) == (0, "Ran 1 failed message again: 1 succeeded\n")
    [left] = empty("failed", "list", "--by-error", "--json").document["items"]
    assert (left["example"], left["error"]) == ("2-1", "no place for it")


TAKING = """
from pathlib import Path

from penstock import App, Retry

app = App("keeper")


def place_of(event: object) -> str:
    if Path("broken").exists():
        raise ValueError("no place for it")
    return "taken"


app.relay("keep", source="stream:orders", target="local", to=place_of, on_failure="skip", retry=Retry(attempts=1))
"""


def test_a_relay_is_shown_when_its_stream_cannot_be_reached(empty: Project) -> None:
    """With what its store has recorded, the reason, and exit code 3."""
    empty.write("penstock.toml", STREAM_RELAYS)
    place(empty, "1")
    empty.patch.setenv("PENSTOCK_STREAMS", "redis://127.0.0.1:1")
    ending = empty("relays", "list", "--json")
    assert (ending.code, [each["name"] for each in ending.document["items"]]) == (3, ["keep", "keep-paid"])
    assert "stream 'paid'" in ending.err


STREAM_RELAYS = """
[stream.orders]
partitions = 4

[relays.keep]
source = "stream:orders"
target = "local"

[relays.keep-paid]
source = "stream:paid"
target = "local"
"""
