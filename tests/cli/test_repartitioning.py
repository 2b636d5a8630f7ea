"""`penstock streams repartition`: planned, asked for, done; given up when groups do not finish; taken up again."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from penstock.position import BEGINNING
from penstock.streams.abc import StreamBroker
from penstock.streams.partitions import begun
from penstock.streams.valkey import ValkeyBroker
from tests.cli.conftest import Project, place

DIVIDED = '[stream."order.placed"]\npartitions = 4\n'
COMMAND = ("streams", "repartition", "order.placed")


@pytest.fixture
def divided(shop: Project) -> Project:
    """A shop whose orders come in four partitions."""
    before = shop.folder / "penstock.toml"
    shop.write("penstock.toml", (before.read_text() if before.exists() else "") + DIVIDED)
    return shop


def on_server(project: Project, do: Callable[[StreamBroker], Awaitable[None]]) -> None:
    """Do something with the project's streams."""

    async def run() -> None:
        broker = ValkeyBroker(
            project.environ["PENSTOCK_STREAMS"], namespace=project.environ["PENSTOCK_NAMESPACE"]
        )
        await broker.open()
        await do(broker)
        await broker.close()

    asyncio.run(run())


@pytest.mark.covers("TOPIC-2")
def test_a_stream_is_repartitioned_and_goes_on(divided: Project) -> None:
    """Planned first, asked for, then done; the settings that do not fit any more are named, and refused at a start."""
    place(divided, "1", "2", "3")
    assert divided("run", "--until-idle").code == 0
    planned = divided(*COMMAND, "6", "--dry-run", "--json").document
    assert (planned["partitions"], planned["wanted"], planned["undrained"]) == (4, 6, [])
    asked = divided(*COMMAND, "6")
    assert (asked.code, asked.out) == (1, "")
    assert "--yes" in asked.err
    done = divided(*COMMAND, "6", "--yes")
    assert (done.code, done.out) == (0, "order.placed has 6 partitions\n")
    assert "partitions = 6" in done.err

    refused = divided("run", "--until-idle")
    assert refused.code == 1
    assert "penstock streams repartition order.placed 4" in refused.err
    divided.write("penstock.toml", DIVIDED.replace("4", "6"))
    place(divided, "4", "5")
    assert divided("run", "--until-idle").code == 0
    assert sorted(line for line in divided.notes() if line.startswith("end")) == [
        f"end {number}" for number in range(1, 6)
    ]
    again = divided(*COMMAND, "6", "--json").document
    assert (again["before"], again["partitions"], again["held_by"]) == (6, 6, [])


def test_groups_that_do_not_finish_are_named(divided: Project) -> None:
    """The change is given up, and nothing is different."""
    place(divided, "1")
    on_server(divided, lambda broker: _group_everywhere(broker, "late"))
    given_up = divided(*COMMAND, "6", "--yes", "--timeout", "50ms")
    assert given_up.code == 1
    assert "late" in given_up.out
    assert "still has 4 partitions" in given_up.err
    told = divided(*COMMAND, "6", "--yes", "--timeout", "50ms", "--json")
    assert told.code == 1
    [held] = told.document["held_by"]
    assert (held["group"], held["lag_entries"], held["pending"]) == ("late", 1, 0)
    place(divided, "2")


@pytest.mark.covers("TOPIC-2")
def test_what_was_interrupted_is_taken_up_or_back(divided: Project) -> None:
    """The same command goes on; another number is refused; --abort goes back."""
    place(divided, "1")
    on_server(divided, _begin)
    refused = divided(*COMMAND, "5", "--yes")
    assert refused.code != 0
    assert "--abort" in refused.err
    assert divided(*COMMAND, "--abort", "--yes", "--json").document["partitions"] == 4
    place(divided, "2")
    on_server(divided, _begin)
    assert divided(*COMMAND, "7", "--yes").code == 0
    assert divided(*COMMAND, "--dry-run", "7", "--json").document["state"] == "settled"


def test_a_wrong_call_does_nothing(divided: Project) -> None:
    """Neither a number nor --abort, both, a number that cannot be, a stream that is not there."""
    assert divided(*COMMAND).code == 2
    assert divided(*COMMAND, "3", "--abort").code == 2
    assert divided(*COMMAND, "0", "--yes").code == 2
    assert divided(*COMMAND, "3", "--timeout", "5").code == 2
    missing = divided("streams", "repartition", "oder.placed", "3", "--yes")
    assert missing.code == 1
    assert "order.placed" in missing.err
    assert divided("streams", "repartition", "plain", "--abort", "--yes").code == 1


async def _begin(broker: StreamBroker) -> None:
    """What a command leaves behind that was killed while it waited."""
    layout = await broker.partitions.layout("order.placed")
    assert layout is not None
    assert await broker.partitions.put(begun(layout, 7))
    assert await broker.partitions.close_lane("order.placed:0", layout.epoch)


async def _group_everywhere(broker: StreamBroker, group: str) -> None:
    for number in range(4):
        await broker.create_group(f"order.placed:{number}", group, BEGINNING)
