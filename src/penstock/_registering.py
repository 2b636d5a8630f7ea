"""Telling the servers which groups will read which streams, so that nothing is removed before they come."""

import asyncio
from typing import TYPE_CHECKING

from penstock._wiring import Brokers
from penstock.errors import BrokerFullError, BrokerRefusedError, UnregisteredStreamError
from penstock.streams.partitions import lane_names
from penstock.telemetry import LOGGER

if TYPE_CHECKING:
    from penstock.app import App

__all__ = ["declared_groups", "register_groups"]


def declared_groups(app: "App") -> dict[str, set[str]]:
    """The groups of each stream, as settings and code declare them."""
    found: dict[str, set[str]] = {}
    for stream, group in (*app.settings.stream_groups(), *app.registry.stream_groups()):
        found.setdefault(stream, set()).add(group)
    return found


async def register_groups(app: "App", brokers: Brokers) -> None:
    """Register every declared group once per connection. A server that will not have it is told of, and left.

    Raises:
        PartitionCountError: A stream has another number of partitions than the settings say.
    """
    if brokers.is_registered:
        return
    try:
        for stream in app.settings.partitions:
            await brokers.lanes_of(stream)
        await asyncio.gather(
            *(
                _register(brokers, each, sorted(groups))
                for stream, groups in declared_groups(app).items()
                for each in _lanes(app, stream)
            )
        )
    except (BrokerRefusedError, BrokerFullError) as failure:
        LOGGER.warning("the groups of the app could not be registered: %s", failure)
    brokers.is_registered = True


def _lanes(app: "App", stream: str) -> tuple[str, ...]:
    """What a group of the stream reads: its partitions, if it is declared to have some."""
    declared = app.settings.stream_settings.get(stream)
    return (
        lane_names(stream, declared.partitions) if declared is not None and declared.partitions else (stream,)
    )


async def _register(brokers: Brokers, stream: str, groups: list[str]) -> None:
    try:
        broker = brokers.broker_for(stream)
    except UnregisteredStreamError:
        return  # nobody may read it either; whoever tries is told
    for lane in await brokers.lanes_of(stream):
        await broker.removal.register_groups(lane, groups)
