"""`penstock listen`: the app's listeners for some events, or a look at the messages."""

import pytest

from tests.cli.conftest import SHOP, Project, place

TWO = (
    SHOP
    + """

@app.listener("order.shipped", group="mail")
async def ship(payload: dict) -> None:
    note("shipped")
"""
)


@pytest.mark.covers("LISTEN-2", "READ-1")
def test_without_a_group_every_listener_hears_every_event(shop: Project) -> None:
    """All listeners of the event run, a line for each; nothing is acknowledged and no group comes into being."""
    place(shop, "1", "2")
    ending = shop("listen", "order.placed", "--from", "beginning", "--once")
    assert ending.code == 0
    rows = [line.split()[:5] for line in ending.out.splitlines()]
    assert (
        sorted((row[0], row[3]) for row in rows) == [("handled", "charge")] * 2 + [("handled", "thank")] * 2
    )
    assert not [each for each in shop("groups", "list", "--json").document["items"] if each["exists"]]


@pytest.mark.covers("LISTEN-2", "GROUP-2")
def test_with_a_group_its_listeners_work(shop: Project) -> None:
    """What was handled is acknowledged; the other group's listeners do not run; a second time there is nothing."""
    place(shop, "1", "2")
    ending = shop("listen", "order.placed", "--group", "billing", "--once")
    assert ending.code == 0
    assert ending.out.count("charge (billing)") == 2
    assert "thank" not in ending.out
    assert shop("listen", "order.placed", "--group", "billing", "--once").out == ""


@pytest.mark.covers("LISTEN-2")
def test_an_event_without_listener_is_warned_of(shop: Project) -> None:
    """The others are listened to; only when none has a listener it is refused, with exit code 1."""
    place(shop, "1")
    ending = shop("listen", "order.placed,order.lost", "--from", "beginning", "--once")
    assert ending.code == 0
    assert "Warning: app 'shop' has no listener for 'order.lost'" in ending.err
    assert "charge" in ending.out
    refused = shop("listen", "order.lost", "oder.placed", "--from", "beginning", "--once")
    assert refused.code == 1
    assert "did you mean 'order.placed'?" in refused.err
    assert shop("listen", "order.placed", "--group", "mial", "--once", "--json").error["did_you_mean"] == [
        "mail"
    ]


@pytest.mark.covers("LISTEN-2")
def test_all_means_every_event_that_has_a_listener(shop: Project) -> None:
    """One process for everything."""
    shop.write("app.py", TWO)
    place(shop, "1")
    assert shop("emit", "order.shipped", "{}").code == 0
    ending = shop("listen", "--all", "--from", "beginning", "--once")
    assert {line.split()[3] for line in ending.out.splitlines()} == {"charge", "thank", "ship"}
    only = shop("listen", "order.shipped", "--from", "beginning", "--once")
    assert {line.split()[3] for line in only.out.splitlines()} == {"ship"}


def test_a_failure_is_a_line_too(shop: Project) -> None:
    """With the error; in a group it is on the list of failed messages afterwards."""
    place(shop, "1")
    shop.write("broken", "")
    ending = shop("listen", "order.placed", "--group", "billing", "--once")
    assert ending.code == 0
    assert "failed " in ending.out
    assert "ValueError: card declined for 1" in ending.out
    assert len(shop("failed", "list", "--json").document["items"]) == 1


def test_quiet_says_nothing_per_message(shop: Project) -> None:
    """The work is done all the same."""
    place(shop, "1")
    ending = shop("listen", "order.placed", "--group", "billing", "--once", "--quiet")
    assert (ending.code, ending.out) == (0, "")
    assert shop.notes() == ["begin 1", "end 1"]


def test_a_program_gets_one_object_per_run(shop: Project) -> None:
    """Which listener, which message, how long, and how it ended."""
    place(shop, "1")
    [line] = shop("listen", "order.placed", "--group", "billing", "--once", "--json").lines
    assert (line["listener"], line["group"], line["outcome"], line["error"]) == (
        "charge",
        "billing",
        "handled",
        None,
    )
    assert line["seconds"] >= 0


@pytest.mark.covers("LISTEN-6")
def test_a_group_begins_where_it_is_told_unless_it_has_a_place(shop: Project) -> None:
    """--from creates a group there; for one that exists it is refused by name."""
    place(shop, "1", "2", "3")
    [_, second, _] = shop("streams", "tail", "order.placed", "--no-follow", "--json").lines
    after = shop("listen", "order.placed", "--group", "billing", "--from", second["entry_id"], "--once")
    assert after.code == 0
    assert shop.notes() == ["begin 3", "end 3"]
    refused = shop("listen", "order.placed", "--group", "billing", "--from", "beginning", "--once")
    assert refused.code == 2
    assert "has a place of its own" in refused.err


@pytest.mark.covers("READ-1")
def test_without_an_app_messages_are_shown(empty: Project) -> None:
    """As a look without a group, or as a member of one: then each message is shown once."""
    for number in range(3):
        assert empty("emit", "note", str(number)).code == 0
    looked = empty("listen", "note", "--from", "beginning", "--once")
    assert [line.split()[-1] for line in looked.out.splitlines()] == ["0", "1", "2"]
    assert [
        line["payload"] for line in empty("listen", "--all", "--group", "tool", "--once", "--json").lines
    ] == [0, 1, 2]
    assert empty("listen", "note", "--group", "tool", "--once").out == ""


@pytest.mark.covers("GROUP-9")
def test_reclaim_takes_over_what_others_left(shop: Project) -> None:
    """What a consumer has held for longer is handled here first."""
    place(shop, "1")
    import asyncio

    from penstock.position import BEGINNING
    from penstock.streams.valkey import ValkeyBroker

    async def hold() -> None:
        broker = ValkeyBroker(shop.environ["PENSTOCK_STREAMS"], namespace=shop.environ["PENSTOCK_NAMESPACE"])
        await broker.open()
        await broker.create_group("order.placed", "billing", BEGINNING)
        await broker.read_group("billing", "gone", ["order.placed"], count=1)
        await broker.close()

    asyncio.run(hold())
    nothing = shop("listen", "order.placed", "--group", "billing", "--once", "--reclaim", "1h")
    assert nothing.out == ""
    ending = shop(
        "listen", "order.placed", "--group", "billing", "--once", "--reclaim", "1ms", "--consumer", "me"
    )
    assert "charge (billing)" in ending.out
