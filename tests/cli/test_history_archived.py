"""The history of one entity through archive, deletion and restoration, as it is typed."""

import pytest

from tests.cli.conftest import Project, place

SETTINGS = """
[archive]
driver = "files"

[stream."order.placed"]
history = true
"""


@pytest.mark.covers("ARCH-9", "HIST-4")
def test_a_history_survives_archive_deletion_and_restoration(shop: Project) -> None:
    """The same events in the same order at every step, each once, whoever reads it with or without the archive."""
    shop.write("penstock.toml", SETTINGS)
    place(shop, "a", "b", "a", "a")
    assert shop("run", "--until-idle").code == 0

    def told() -> list[str]:
        ending = shop("history", "show", "order.placed", "a", "--events", "--json")
        assert ending.code == 0, ending
        return [each["event_id"] for each in ending.document["items"]]

    first = told()
    assert len(first) == 3
    assert shop("archive", "run", "--streams", "order.placed", "--json").code == 0
    assert shop("streams", "show", "order.placed", "--json").document["stream"]["length"] == 0
    # A process that has no archive must not forget what is there.
    shop.write("penstock.toml", SETTINGS.replace('driver = "files"', ""))
    assert told() == []
    shop.write("penstock.toml", SETTINGS)
    assert told() == first
    assert shop("streams", "delete", "order.placed", "--yes").code == 0
    assert shop("archive", "restore", "--stream", "order.placed", "--yes", "--json").code == 0
    assert told() == first
    assert shop("streams", "show", "order.placed", "--json").document["stream"]["length"] == 4
