"""Two revisions of a repository over the same events, by the command line as a job would use it."""

import json
import time

import pytest

from tests.replays.diffing.project import SHOP, Project

PAYMENTS = [("ann", 1), ("bob", 2), ("ann", 3), ("cat", 4), ("bob", 5)]


@pytest.mark.covers("LEAD-3")
def test_equal_revisions_end_with_0(project: Project) -> None:
    """Code that was changed and does the same is told from code that does not: no differences, exit code 0."""
    project.pay(*PAYMENTS)
    project.write("app.py", SHOP.replace("def add(", "def add_up("))
    found = project.run("replays", "diff", "totals", "--from", "first", "--json")
    assert found.code == 0, found.err
    document = found.document
    assert document["equal"]
    assert document["before"]["commit"] == project.git("rev-parse", "first").strip()
    assert document["after"]["commit"] == ""
    assert [document[side]["events"] for side in ("before", "after")] == [5, 5]
    [table] = document["tables"]
    assert (table["table"], table["live_rows"], table["copy_rows"], table["differing"]) == ("totals", 3, 3, 0)


@pytest.mark.covers("LEAD-3")
def test_revisions_are_compared_where_code_is_below_a_folder(project: Project) -> None:
    """Code that is imported from a folder of the repository is that of each revision, and nothing of the present one.

    A handler that treats one customer otherwise is found: the key, the column, both values, and exit code 1.
    """
    project.pay(*PAYMENTS)
    assert project.run("--app", "app", "store", "export", "events.jsonl").code == 0
    (project.folder / "app.py").unlink()
    project.write("src/shop.py", SHOP)
    project.write("deep/.keep", "")
    project.commit("in-src")
    project.write("src/shop.py", SHOP.replace("=paid.cents", '=paid.cents + (paid.customer == "bob")'))
    project.commit("second")
    project.write("src/shop.py", SHOP.replace("=paid.cents", "=0"))
    path = str(project.folder / "src")
    words = ("replays", "diff", "totals", "--app", "shop", "--from", "in-src", "--to", "second")
    found = project.run(*words, "--events", "../events.jsonl", "--json", folder="deep", PYTHONPATH=path)
    assert found.code == 1, found.err
    [table] = found.document["tables"]
    assert table["rows"] == [{"key": {"customer": "bob"}, "kind": "changed", "columns": {"cents": [7, 9]}}]
    wrong = project.run(*words, "--events", "nowhere.jsonl", "--json", PYTHONPATH=path)
    assert wrong.code == 2
    assert "nowhere.jsonl cannot be opened" in wrong.document["error"]["message"]


@pytest.mark.torture
@pytest.mark.timeout(600)
@pytest.mark.covers("LEAD-3")
def test_a_job_over_100_000_events_takes_less_than_a_minute(project: Project) -> None:
    """Both sides are built, and the one customer that is treated otherwise is found among 5,000."""
    with (project.folder / "events.jsonl").open("w") as lines:
        for number in range(1, 100_001):
            customer = f"c{number * 7919 % 5000}"
            line = {
                "position": number,
                "stream": f"customer-{customer}",
                "id": f"event-{number}",
                "name": "paid",
                "key": customer,
                "time": "2026-01-31T12:00:00Z",
                "data": {"customer": customer, "cents": number % 100},
            }
            lines.write(json.dumps(line) + "\n")
    project.write("app.py", SHOP.replace("=paid.cents", '=paid.cents + (paid.customer == "c17")'))
    began = time.monotonic()
    found = project.run("replays", "diff", "totals", "--from", "first", "--events", "events.jsonl", "--json")
    took = time.monotonic() - began
    assert found.code == 1, found.err
    [table] = found.document["tables"]
    assert (table["live_rows"], table["differing"]) == (5000, 1)
    assert table["rows"][0]["key"] == {"customer": "c17"}
    assert [found.document[side]["events"] for side in ("before", "after")] == [100_000, 100_000]
    assert took < 60
