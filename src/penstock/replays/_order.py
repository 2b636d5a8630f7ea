"""Several replays of one projection: the one that was made live last is the one that goes back first.

A switch exchanges what is live with what the replay keeps. Out of order it would give one replay the copy of another,
of another version perhaps and never compared, under a record that says something else.
"""

from collections.abc import Iterable, Mapping

from penstock.replays._records import Record
from penstock.replays.abc import Finding, Replay

__all__ = ["out_of_order"]


def out_of_order(replay: Replay, all_of_them: Iterable[Record], live: Mapping[str, int]) -> list[Finding]:
    """What keeps a promoted replay from going back: what is *live*, by version, is not what it has made live."""
    if replay.state != "promoted":
        return []
    later = [each.replay for each in all_of_them if _is_after(each.replay, replay)]
    if later:
        return [
            Finding(
                "refusal",
                f"replay {each.key}",
                "it was made live after this one; roll it back first, or leave both as they are",
            )
            for each in later
        ]
    return [
        Finding(
            "refusal",
            f"projection {name}",
            f"what is live is of version {live[name]}, and this replay has made version {version} live; remove it, and "
            "create another one",
        )
        for name, version in replay.versions.items()
        if live.get(name, version) != version
    ]


def _is_after(other: Replay, replay: Replay) -> bool:
    """Whether *other* was made live after *replay*, in its place."""
    if other.state != "promoted" or other.promoted_at is None or replay.promoted_at is None:
        return False
    shared = set(other.projections) & set(replay.projections)
    return other.key != replay.key and bool(shared) and other.promoted_at > replay.promoted_at
