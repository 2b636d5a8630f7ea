"""Partitioned streams: which of its partitions an event goes to, what they are called, and the layout that says so.

A stream with N partitions is the N streams ``name:0`` to ``name:N-1``. An event's partition is
``crc32(key as UTF-8) % N``, where crc32 is that of zlib, gzip and PNG, unsigned: any program can compute it. An event
without a key goes by its event id.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final, TypeVar
from zlib import crc32

from penstock.errors import IllegalTransitionError, UsageError
from penstock.streams.abc import LayoutPhase, PartitionLayout
from penstock.streams.topics import split_shard

__all__ = [
    "MOST_PARTITIONS",
    "begun",
    "check_count",
    "declared_of",
    "first_layout",
    "given_up",
    "lane_names",
    "lane_of",
    "opening",
    "partition_of",
    "settled",
    "split_lane",
]

MOST_PARTITIONS: Final = 1024
"""More would cost every reader more than it brings."""

V = TypeVar("V")


def partition_of(key: str, partitions: int) -> int:
    """The number of the partition that events of *key* are in. Raises `UsageError` for a key that is no UTF-8 text."""
    try:
        return crc32(key.encode()) % partitions
    except UnicodeEncodeError:
        raise UsageError(f"key {key!r} cannot be written as UTF-8") from None


def lane_of(stream: str, partition: int) -> str:
    """The stream that is partition number *partition* of *stream*."""
    return f"{stream}:{partition}"


def lane_names(stream: str, partitions: int) -> tuple[str, ...]:
    """The streams that partitions 0 to *partitions* - 1 of *stream* are."""
    return tuple(lane_of(stream, partition) for partition in range(partitions))


def split_lane(stream: str) -> tuple[str, int] | None:
    """What `lane_of` was given; ``None`` for a name that it does not give."""
    base, colon, number = stream.rpartition(":")
    if not (colon and base and number.isascii() and number.isdigit() and str(int(number)) == number):
        return None
    return base, int(number)


def check_count(partitions: int) -> int:
    """The number, if a stream may have so many partitions. Raises `UsageError`."""
    if not 1 <= partitions <= MOST_PARTITIONS:
        raise UsageError(f"{partitions} partitions; a stream has 1 to {MOST_PARTITIONS}")
    return partitions


def declared_of(stream: str, declared: Mapping[str, V], partitioned: Collection[str]) -> V | None:
    """What is declared for *stream*, by its own name, or as a partition or shard of one that is declared.

    *partitioned* are those declared streams that have partitions.
    """
    if (found := declared.get(stream)) is not None:
        return found
    lane = split_lane(stream)
    if lane is not None and (split_shard(lane[0])[0] in partitioned or lane[0] in partitioned):
        return declared_of(lane[0], declared, partitioned)
    return declared.get(split_shard(stream)[0])


# -- the life of a layout: settled, draining, opening, settled ------------------------------------------------------


def first_layout(stream: str, partitions: int, now_us: int) -> PartitionLayout:
    """The layout of a stream that has none: its partitions are to be opened. Raises `UsageError`."""
    count = check_count(partitions)
    return PartitionLayout(stream, count, now_us, LayoutPhase.OPENING, ever=count, revision=1)


def begun(layout: PartitionLayout, partitions: int) -> PartitionLayout:
    """The change to *partitions* has begun: the present partitions are to be closed, and to drain.

    Raises:
        UsageError: A stream cannot have so many.
        IllegalTransitionError: A change is under way already.
    """
    _check_phase(layout, LayoutPhase.SETTLED, "draining")
    return replace(
        layout,
        phase=LayoutPhase.DRAINING,
        target=check_count(partitions),
        ever=max(layout.ever, partitions),
        revision=layout.revision + 1,
    )


def opening(layout: PartitionLayout, now_us: int) -> PartitionLayout:
    """Everything was drained: the new partitions are to be opened. From here on the change can only be finished."""
    _check_phase(layout, LayoutPhase.DRAINING, "opening")
    return replace(
        layout,
        partitions=layout.target or layout.partitions,
        target=None,
        # Time has a part in it, so that it grows even where the record before it was lost.
        epoch=max(layout.epoch + 1, now_us),
        phase=LayoutPhase.OPENING,
        revision=layout.revision + 1,
    )


def given_up(layout: PartitionLayout) -> PartitionLayout:
    """The change is taken back: it goes on to the partitions that there are, which need not drain for it."""
    _check_phase(layout, LayoutPhase.DRAINING, "given up")
    return replace(layout, target=layout.partitions, revision=layout.revision + 1)


def settled(layout: PartitionLayout) -> PartitionLayout:
    """Every partition was opened."""
    _check_phase(layout, LayoutPhase.OPENING, "settled")
    return replace(layout, phase=LayoutPhase.SETTLED, revision=layout.revision + 1)


def _check_phase(layout: PartitionLayout, needed: LayoutPhase, wanted: str) -> None:
    if layout.phase is not needed:
        raise IllegalTransitionError(
            f"the layout of stream {layout.stream!r}", state=layout.phase.value, wanted=wanted
        )
