"""Names on the server: one slot for a stream and all that is kept beside it, and no two things under one key."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UsageError
from penstock.streams.keys import Keys, escape, hash_tag, unescape

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
TRICKY = st.text("ab%:{}/2537BD", min_size=1, max_size=12)
NAMESPACES = st.sampled_from(["", "shop", "a:b", "ä"])


def slot_text(key: bytes) -> bytes:
    """What a server hashes, written from its specification and not from our code."""
    found = re.search(rb"\{([^}]*)\}", key, re.S)
    return found[1] if found and found[1] else key


@pytest.mark.covers("CONF-2")
@given(NAMESPACES, NAMES | TRICKY, st.lists(TRICKY, max_size=2))
def test_everything_of_a_stream_shares_its_slot(namespace: str, stream: str, names: list[str]) -> None:
    """Whatever the name, a key beside a stream hashes as the stream does; names where it cannot are refused."""
    keys = Keys(namespace)
    try:
        key = keys.stream(stream)
    except UsageError:
        return
    assert slot_text(keys.beside(stream, "failed", *names)) == slot_text(key)
    assert slot_text(keys.base(stream)) == slot_text(key)


@pytest.mark.covers("CONF-2")
@given(NAMESPACES, st.text("ab%:{", min_size=1, max_size=6), st.text("ab%:{", min_size=1, max_size=6))
def test_two_streams_never_share_a_key(namespace: str, one: str, other: str) -> None:
    """Names with colons, percent signs and braces cannot be made to meet."""
    keys = Keys(namespace)
    if one != other:
        assert keys.stream(one) != keys.stream(other)
        assert keys.base(one) != keys.base(other)
        assert keys.beside("s", "failures", one) != keys.beside("s", "failures", other)
        assert keys.consumer(one, "c") != keys.consumer(other, "c")
        assert keys.consumer("g", one) != keys.consumer("g", other)


@given(NAMES | TRICKY)
def test_escaping_is_undone(text: str) -> None:
    """What was escaped reads as it was, and has nothing left that could be taken for a separator."""
    assert unescape(escape(text)) == text
    assert not set(escape(text)) & set(":{}")


@pytest.mark.covers("CONF-2")
@given(st.sampled_from(["shop", "a:b", "ä"]), NAMES)
def test_every_key_begins_with_the_namespace(namespace: str, stream: str) -> None:
    """Two applications with different namespaces see nothing of each other."""
    keys = Keys(namespace)
    prefix = f"{namespace}:".encode()
    try:
        found = [keys.stream(stream), keys.base(stream), keys.streams, keys.consumer("g", "c")]
    except UsageError:
        return
    assert all(key.startswith(prefix) for key in found)
    assert keys.name_of(found[0]) == stream


@pytest.mark.parametrize(
    ("key", "tag"),
    [
        ("orders", "orders"),
        ("orders{eu}", "eu"),
        ("{eu}:orders{us}", "eu"),
        ("orders{}{eu}", "orders{}{eu}"),
        ("orders{eu", "orders{eu"),
        ("orders}{eu}", "eu"),
        ("{{eu}}", "{eu"),
    ],
)
def test_the_tag_is_what_a_server_hashes(key: str, tag: str) -> None:
    """The text between the first opening brace and the next closing one, unless that is empty or missing."""
    assert hash_tag(key) == tag
    assert slot_text(key.encode()) == tag.encode()


def test_the_layout_of_keys_is_as_documented() -> None:
    """Others read these keys, too: they are part of what is promised."""
    keys = Keys("shop")
    assert keys.stream("orders") == b"shop:orders"
    assert (
        keys.beside("orders", "failures", "bill:ing")
        == b"shop:penstock:{shop:orders}:orders:failures:bill%3Aing"
    )
    assert keys.beside("o{eu}", "groups") == b"shop:penstock:{eu}:o%7Beu%7D:groups"
    assert keys.streams == b"shop:penstock:streams"
    assert keys.consumer("billing", "a:1") == b"shop:penstock:{billing}:consumer:a%3A1"
    assert Keys().stream("orders") == b"orders"


@pytest.mark.parametrize("name", ["", "a}b", "orders{}{eu}", "penstock:streams", "penstock:{x}:y", "\udc80"])
def test_names_that_cannot_be_kept_are_refused(name: str) -> None:
    """Each is refused before anything is sent, and the message shows it."""
    with pytest.raises(UsageError) as caught:
        Keys().stream(name)
    assert "stream" in str(caught.value)


@pytest.mark.parametrize("namespace", ["{x}", "a{b", "a}"])
def test_a_namespace_has_no_braces(namespace: str) -> None:
    """Braces in it would put all streams of the namespace into one slot, or tear a stream apart."""
    with pytest.raises(UsageError, match="braces"):
        Keys(namespace)


def test_many_names_do_not_fill_the_memory() -> None:
    """The remembered keys are bounded; forgotten ones are made again."""
    keys = Keys("n")
    for number in range(20_050):
        assert keys.stream(f"s{number}") == b"n:s%d" % number
    assert len(keys._streams) <= 10_000
