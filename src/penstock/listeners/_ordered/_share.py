"""Fair share: how many lanes a member holds, which it asks for, and which it gives back. Pure."""

import zlib
from collections.abc import Mapping, Sequence
from fractions import Fraction

__all__ = ["fair_share", "in_own_order"]


def fair_share(lanes: Mapping[str, Sequence[str]], members: Mapping[str, int]) -> int:
    """How many lanes one member holds at most.

    Both are by stream: the lanes that the stream is made of, and how many living members read it. Of each stream a
    member is due its part, of the sum the next whole number; so all shares together are never less than all lanes.
    """
    due = sum(
        (Fraction(len(parts), max(1, members.get(stream, 1))) for stream, parts in lanes.items()), Fraction()
    )
    return -(-due.numerator // due.denominator)


def in_own_order(lanes: Sequence[str], token: str) -> list[str]:
    """All lanes, beginning where no other member begins: members that start together ask for different ones first."""
    if not lanes:
        return []
    begin = zlib.crc32(token.encode()) % len(lanes)
    return [*lanes[begin:], *lanes[:begin]]
