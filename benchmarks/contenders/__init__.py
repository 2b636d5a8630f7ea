"""Who takes part. To add a contender, write its module here and name it in `ENTRANTS`."""

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.job import Role

__all__ = ["ABSENT", "ENTRANTS", "EXCLUSIVE", "KEYED", "OURS", "RAW", "Entrant"]

OURS: Final = "penstock"
"""The name under which our own side takes part; goals are about it."""

KEYED: Final = "penstock keyed"
EXCLUSIVE: Final = "penstock exclusive"
"""Our own side in the modes that keep an order; they take part where order is the question."""

RAW: Final = "raw loop"
"""The limit that every other contender is compared with."""

ABSENT: Final = {"streamerson": "not found on the package index"}
"""Peers that a goal names and that cannot be installed, with the reason."""


@dataclass(frozen=True, slots=True)
class Entrant:
    """One contender: where its code is, which packages it needs, and in what it takes part."""

    name: str
    code: str
    """``module:Class``, the module below `benchmarks.contenders`."""
    packages: tuple[str, ...]
    """Modules that have to be importable."""
    rates: Mapping[Role, int] = field(default_factory=dict)
    """Events per second to expect, for each role it can take: they decide how many it gets, not how it is judged."""

    def missing(self) -> tuple[str, ...]:
        """The modules it needs that are not installed."""
        return tuple(name for name in self.packages if importlib.util.find_spec(name) is None)


ENTRANTS: Final = (
    Entrant(
        RAW,
        "raw:Raw",
        ("hiredis",),
        {
            Role.PUBLISH: 20_000,
            Role.PUBLISH_SHARED: 100_000,
            Role.PUBLISH_BATCH: 180_000,
            Role.CONSUME: 220_000,
            Role.CONSUME_EACH: 28_000,
            Role.CONSUME_PACED: 200,
        },
    ),
    Entrant(
        OURS,
        "penstock:Penstock",
        ("penstock",),
        {
            Role.PUBLISH: 15_000,
            Role.PUBLISH_SHARED: 60_000,
            Role.PUBLISH_BATCH: 120_000,
            Role.CONSUME: 150_000,
            Role.CONSUME_ORDERED: 150_000,
            Role.CONSUME_EACH: 14_000,
            Role.CONSUME_PACED: 200,
        },
    ),
    Entrant(
        KEYED,
        "penstock:Keyed",
        ("penstock",),
        {Role.CONSUME_ORDERED: 60_000},
    ),
    Entrant(
        EXCLUSIVE,
        "penstock:Exclusive",
        ("penstock",),
        {Role.CONSUME_ORDERED: 60_000},
    ),
    Entrant(
        "redis-py",
        "redispy:RedisPy",
        ("redis",),
        {
            Role.PUBLISH: 13_000,
            Role.PUBLISH_SHARED: 20_000,
            Role.PUBLISH_BATCH: 60_000,
            Role.CONSUME: 130_000,
            Role.CONSUME_EACH: 14_000,
            Role.CONSUME_PACED: 200,
        },
    ),
    Entrant(
        "walrus",
        "walrus_peer:Walrus",
        ("walrus",),
        {
            Role.PUBLISH: 16_000,
            Role.PUBLISH_BATCH: 90_000,
            Role.CONSUME: 150_000,
            Role.CONSUME_EACH: 18_000,
            Role.CONSUME_PACED: 200,
        },
    ),
    Entrant(
        "FastStream",
        "faststream_peer:FastStream",
        ("faststream",),
        {
            Role.PUBLISH: 11_000,
            Role.PUBLISH_SHARED: 15_000,
            Role.PUBLISH_BATCH: 40_000,
            Role.CONSUME: 5_000,
            Role.CONSUME_EACH: 5_000,
            Role.CONSUME_PACED: 200,
        },
    ),
    Entrant(
        "FastStream batch",
        "faststream_peer:FastStreamBatch",
        ("faststream",),
        {Role.CONSUME: 50_000, Role.CONSUME_PACED: 200},
    ),
    Entrant(
        "taskiq",
        "taskiq_peer:Taskiq",
        ("taskiq", "taskiq_redis"),
        {
            Role.PUBLISH: 5_000,
            Role.PUBLISH_SHARED: 5_500,
            Role.CONSUME: 3_000,
            Role.CONSUME_EACH: 3_000,
            Role.CONSUME_PACED: 200,
        },
    ),
)
