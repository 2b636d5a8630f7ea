"""Hypothesis strategies for what travels through streams. Hypothesis is needed for this module only."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from penstock.position import EntryId

__all__ = ["entry_ids", "event_names", "fields", "names", "payloads"]

_LARGEST = 2**64 - 1
_TELLING = "ab0 .-_/:%{}é注\U0001f680*?[]\n"
"""Letters beside everything that means something to a server, a URL, a pattern, or to us."""


def entry_ids() -> SearchStrategy[EntryId]:
    """Any place in a stream, ``0-0`` included."""
    numbers = st.one_of(st.integers(0, 5), st.integers(0, _LARGEST))
    return st.builds(EntryId, numbers, numbers)


def names() -> SearchStrategy[str]:
    """Names of groups, consumers and listeners. As a stream's name, one with a lone ``}`` is refused."""
    text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
    return st.one_of(st.text(_TELLING, min_size=1, max_size=12), text)


def event_names() -> SearchStrategy[str]:
    """Names as people give to events: ``order.placed``."""
    word = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=10)
    return st.lists(word, min_size=1, max_size=3).map(".".join)


def fields(*, max_pairs: int = 6) -> SearchStrategy[list[bytes]]:
    """An entry's flat names and values: at least one pair, empty texts and repeated names included."""
    pair = st.tuples(st.binary(max_size=20), st.binary(max_size=60))
    return st.lists(pair, min_size=1, max_size=max_pairs).map(
        lambda pairs: [word for one in pairs for word in one]
    )


def payloads() -> SearchStrategy[Any]:
    """What JSON and MessagePack can both carry."""
    numbers = st.one_of(st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False, allow_infinity=False))
    leaves = st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=30))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=10), inner, max_size=4)
        ),
        max_leaves=15,
    )
