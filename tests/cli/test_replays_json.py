"""``penstock replays ... --json``: each document has the facts that the reference says, and no others."""

import re

import pytest

from tests.cli.conftest import ROOT, Project
from tests.cli.replaying import bring_to

ALWAYS = {"penstock", "command", "next"}


def told() -> dict[str, list[str]]:
    """The facts of each command, as the table of the reference has them: words in code, in order."""
    page = (ROOT / "docs/reference/replays.md").read_text(encoding="utf-8")
    table = page.partition("**JSON.**")[2].partition("`--dry-run` of a step")[0]
    found: dict[str, list[str]] = {}
    for commands, facts in re.findall(r"^\| (`.*?) \| (.*) \|$", table, flags=re.M):
        for command in re.findall(r"`(\w+)`", commands):
            found[command] = re.findall(r"`([\w-]+)`", facts)
    return found


@pytest.mark.covers("ZDT-16")
def test_each_document_has_the_facts_that_the_reference_says(bare: Project) -> None:
    """From the first command of a replay's life to the last."""
    facts = told()
    bring_to(bare, "")
    for words, wanted in (
        ("plan totals", facts["plan"]),
        ("create k totals --dry-run", ["plan", "dry_run"]),
        ("create k totals", facts["create"][:2]),
        ("start k --dry-run", ["step", "replay", "says", "findings", "refusals", "dry_run"]),
        ("start k", facts["start"]),
        ("follow k", facts["follow"]),
        ("unfollow k", facts["unfollow"]),
        ("verify k", facts["verify"]),
        ("promote k --yes", facts["promote"]),
        ("rollback k --yes", facts["rollback"]),
        ("list", ["items", "problems"]),
        ("show k", facts["show"]),
        ("remove k --yes", ["replay", "dry_run"]),
    ):
        ending = bare("replays", *words.split(), "--json")
        assert ending.code == 0, (words, ending)
        assert set(ending.document) - ALWAYS == set(wanted), words
    assert (facts["list"], facts["remove"]) == (
        ["items", "replay", "progress", "problems"],
        ["replay", "dry_run"],
    )
    assert facts["create"] == ["replay", "dry_run", "--dry-run", "plan", "dry_run"]
