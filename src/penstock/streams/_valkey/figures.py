"""Figures of handlers: one hash beside the stream, a field for each group, day and listener."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Final

from penstock.streams._valkey.server import Server
from penstock.streams._valkey.values import text
from penstock.streams.abc import FIGURE_BUCKETS, GroupFigures, RunFigures
from penstock.streams.keys import escape, unescape

__all__ = ["ValkeyFigures"]

_DAYS: Final = 9
_SLOT_SECONDS: Final = 10
_SLOTS: Final = 6
_EPOCH: Final = date(1970, 1, 1)


class ValkeyFigures:
    """`FigureStore` on the server that keeps the streams."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def note(self, stream: str, group: str, events: int, runs: Mapping[str, RunFigures]) -> None:
        """Add settled events, and runs by listener, to those of today by the server's clock."""
        server = self._server
        told: list[bytes | str | int] = [
            part for listener, each in runs.items() for part in (escape(listener), _written(each))
        ]
        arguments = [escape(group), events, _DAYS, _SLOT_SECONDS, _SLOTS, *told]
        key = server.keys.beside(stream, "figures")
        await server.run(server.settles, "note_figures", (key,), arguments, stream=stream, group=group)

    async def figures(self, stream: str, group: str) -> GroupFigures:
        """What was told within the last nine days."""
        server = self._server
        key = server.keys.beside(stream, "figures")
        flat = await server.ask(server.looks, b"HGETALL", key, stream=stream)
        seconds = int((await server.ask(server.looks, b"TIME"))[0])
        today, slot = _EPOCH + timedelta(days=seconds // 86400), seconds // _SLOT_SECONDS
        recent, days = 0, dict[date, dict[str, RunFigures]]()
        for name, value in zip(flat[::2], flat[1::2], strict=True):
            of_group, _, rest = text(name).partition(":")
            if unescape(of_group) != group or not rest:
                continue
            if rest == "pace":
                recent = _within(text(value), slot - _SLOTS)
                continue
            number, _, listener = rest.partition(":")
            day = _EPOCH + timedelta(days=int(number))
            if day > today - timedelta(days=_DAYS):
                days.setdefault(day, {})[unescape(listener)] = _read(text(value))
        return GroupFigures(
            recent / (_SLOTS * _SLOT_SECONDS),
            {day: dict(sorted(runs.items())) for day, runs in sorted(days.items())},
        )


def _within(pace: str, oldest: int) -> int:
    slots = (part.split("=") for part in pace.split())
    return sum(int(events) for slot, events in slots if int(slot) > oldest)


def _written(runs: RunFigures) -> str:
    return " ".join(map(str, (runs.runs, runs.failed, round(runs.seconds * 1_000_000), *runs.buckets)))


def _read(written: str) -> RunFigures:
    runs, failed, micros, *buckets = map(int, written.split())
    return RunFigures(runs, failed, micros / 1_000_000, tuple(buckets[:FIGURE_BUCKETS]))
