"""Relays into streams: ``relayed`` beside a stream has, of each relay, its last event there under the last two layouts.

It is not removed with the stream: what a relay wrote once, it must not write again.
"""

from collections.abc import Mapping, Sequence

from penstock.streams._valkey.appends import limits
from penstock.streams._valkey.history import history_keys, index_arguments
from penstock.streams._valkey.removal import floor_keys
from penstock.streams._valkey.server import Server
from penstock.streams.abc import RelayBatch, Relayed, RelayMark, RelayOutcome, check_relayed

__all__ = ["ValkeyRelays"]

_KEYS_BEFORE_HISTORIES = 7


class ValkeyRelays:
    """`RelayStore` on the server that keeps the streams."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def add(self, relay: str, batch: RelayBatch) -> Relayed:
        """Add the events above the relay's mark, in order, and move the mark."""
        check_relayed(batch)
        server, stream = self._server, batch.stream
        beside = server.keys.beside
        histories: dict[bytes, int] = {}
        told: list[bytes | str | int] = [
            *(relay, batch.after, batch.epoch or 0, batch.partitions),
            *limits(batch.cap),
        ]
        for entry in batch.entries:
            number = 0
            if entry.index is not None:
                history, _ = history_keys(server, stream, entry.index)
                number = histories.setdefault(history, _KEYS_BEFORE_HISTORIES + 1 + len(histories))
            told += (entry.position, entry.event_id, number, *index_arguments(entry.index), len(entry.fields))
            told += entry.fields
        keys = (
            server.keys.stream(stream),
            self._marks(stream),
            beside(stream, "lane"),
            *floor_keys(server, stream),
            beside(stream, "histories"),
            *histories,
        )
        if stream not in server.known:
            server.remember(stream, await server.appends.at(keys[0]).ready())
        outcome, position, added = await server.run(server.appends, "relay", keys, told, stream=stream)
        return Relayed(RelayOutcome(outcome.decode()), int(position), added)

    async def marks(self, relay: str, streams: Sequence[str]) -> Mapping[str, Sequence[RelayMark]]:
        """How far the relay has come into each stream, under the last two layouts."""
        found: dict[str, Sequence[RelayMark]] = {}
        server = self._server
        for stream in streams:
            noted = await server.ask(
                server.looks, "HMGET", self._marks(stream), f"last:{relay}", f"former:{relay}", stream=stream
            )
            if noted[0] is not None:
                found[stream] = [_mark(each.decode()) for each in noted if each is not None]
        return found

    async def forget(self, relay: str, stream: str) -> bool:
        """Remove the relay's marks in a stream."""
        server = self._server
        removed = await server.ask(
            server.settles, "HDEL", self._marks(stream), f"last:{relay}", f"former:{relay}", stream=stream
        )
        return bool(removed)

    def _marks(self, stream: str) -> bytes:
        return self._server.keys.beside(stream, "relayed")


def _mark(noted: str) -> RelayMark:
    epoch, partitions, position, event_id = noted.split(" ", 3)
    return RelayMark(int(position), event_id, int(epoch), int(partitions))
