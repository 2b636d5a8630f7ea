"""`penstock failed parked` and `failed unpark`: keys that wait for a person."""

import pytest

from tests.cli.conftest import SHOP, Project, fail

KEYED = SHOP.replace('app.group("billing"', 'app.group("billing", mode="keyed", on_failure="park"')


@pytest.fixture
def parking(shop: Project) -> Project:
    """A shop whose group parks; one order failed, and a later event of its key stands behind it."""
    assert KEYED != SHOP
    shop.write("app.py", KEYED)
    fail(shop, "1", "2", "1")
    return shop


@pytest.mark.covers("LEAD-7")
def test_parked_keys_are_shown_with_what_is_wrong(parking: Project) -> None:
    """One row a key: how many events wait, and the error of the first."""
    items = parking("failed", "parked", "--json").document["items"]
    assert [(item["key"], item["events"]) for item in items] == [("1", 2), ("2", 1)]
    head, first, _ = parking("failed", "parked").out.splitlines()
    assert head.split()[:4] == ["Stream", "Group", "Key", "Events"]
    assert "card declined for 1" in first
    [record] = parking("failed", "list", "--state", "parked", "--receiver", "*", "--json").document["items"]
    assert (record["cause"], record["parked_key"]) == ("behind", "1")
    assert "Parked under" in parking("failed", "show", record["entry_id"]).out


@pytest.mark.covers("LEAD-7")
def test_a_parked_message_is_not_retried_but_unparked(parking: Project) -> None:
    """Retry keeps it and says what to do; unpark has it handled with those behind it by the next run."""
    (parking.folder / "broken").unlink(missing_ok=True)
    kept = parking("failed", "retry", "--all")
    assert (kept.code, "unpark" in kept.out) == (1, True)
    assert "would be handled" in parking("failed", "unpark", "--all", "--dry-run").out
    assert parking("failed", "unpark", "--key", "1").out.startswith("2 events of 1 key will be handled")
    assert parking("run", "--until-idle").code == 0
    assert [item["key"] for item in parking("failed", "parked", "--json").document["items"]] == ["2"]
    assert parking("failed", "unpark", "--key", "1").code == 1


def test_flushing_a_parked_message_opens_its_key(parking: Project) -> None:
    """What was given up does not hold later events of its key."""
    assert parking("failed", "flush", "--yes").code == 0
    assert parking("failed", "parked").out == "No parked keys\n"
