"""Removing handled entries at once, where nobody else needs them: ``listen --purge``."""

from collections.abc import Sequence

from penstock.streams.abc import RawId, StreamBroker
from penstock.telemetry import LOGGER

__all__ = ["purge_handled"]


async def purge_handled(broker: StreamBroker, stream: str, entry_ids: Sequence[RawId]) -> None:
    """Remove those of the entries that every reader has settled; the others stay for who needs them."""
    done = await broker.removal.remove(stream, entry_ids)
    if done.held:
        LOGGER.debug("%d handled entries of stream %r are needed by others and stay", len(done.held), stream)
