"""Names of topics, shards and partitions: reversible, and the same for who writes and who reads."""

import re
from zlib import crc32

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from penstock import Topic
from penstock.errors import UsageError
from penstock.streams.keys import Keys
from penstock.streams.partitions import (
    declared_of,
    lane_names,
    lane_of,
    partition_of,
    split_lane,
)
from penstock.streams.topics import split_shard, with_shard

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
TRICKY = st.text("a:/#%{}23A5 é", min_size=1, max_size=8)
PARTS = TEXT | TRICKY
TOPICS = st.builds(
    Topic,
    PARTS,
    namespace=st.none() | PARTS,
    subtopics=st.lists(PARTS, max_size=3).map(tuple),
    shard_name=st.none() | PARTS,
)
ROLES = ["stream", "requests", "responses"]


@pytest.mark.covers("TOPIC-1")
@given(TOPICS, st.sampled_from(ROLES))
@example(Topic("a:requests"), "requests")
@example(Topic("a::b", namespace="a::"), "stream")
@example(Topic("a", subtopics=("b/c",)), "responses")
@example(Topic("a#b", shard_name="b%23"), "stream")
def test_a_topics_streams_say_which_topic_they_are_of(topic: Topic, role: str) -> None:
    """Whatever text its parts are: the topic, and what the stream is for, are read back from the name."""
    name: str = getattr(topic, role)
    assert Topic.parse(name) == topic
    assert Topic.role_of(name) == role


@pytest.mark.covers("TOPIC-1")
@given(TOPICS, TOPICS)
def test_different_topics_have_different_streams(one: Topic, other: Topic) -> None:
    """No two of their streams are the same."""
    assume(one != other)
    assert {getattr(one, role) for role in ROLES}.isdisjoint({getattr(other, role) for role in ROLES})


@pytest.mark.covers("TOPIC-1")
def test_names_are_as_documented() -> None:
    """The table of the reference page, and plain names stay as they are."""
    topic = Topic("orders", namespace="shop").subtopic("eu").shard("tenant-1")
    assert topic.stream == "shop::orders/eu#tenant-1"
    assert topic.requests == "shop::orders/eu#tenant-1:requests"
    assert topic.responses == "shop::orders/eu#tenant-1:responses"
    assert Topic("order.placed").stream == "order.placed"
    assert Topic("a/b:c#d%e{f}").stream == "a%2Fb%3Ac%23d%25e%7Bf%7D"


@pytest.mark.covers("TOPIC-1")
@given(TOPICS, PARTS)
def test_a_subtopic_keeps_namespace_and_shard(topic: Topic, name: str) -> None:
    """It differs from its topic by its own name alone."""
    within = topic.subtopic(name)
    assert (within.namespace, within.name, within.shard_name) == (
        topic.namespace,
        topic.name,
        topic.shard_name,
    )
    assert within.subtopics == (*topic.subtopics, name)


@pytest.mark.covers("TOPIC-2")
@given(st.builds(Topic, PARTS, namespace=st.none() | PARTS), PARTS)
def test_writer_and_reader_of_a_shard_meet(topic: Topic, shard: str) -> None:
    """``shard=`` on a topic's stream, and the topic's shard, are one name."""
    assert with_shard(topic.stream, shard) == topic.shard(shard).stream
    assert split_shard(topic.shard(shard).stream) == (topic.stream, shard)


@given(TOPICS)
def test_a_topics_streams_can_be_kept(topic: Topic) -> None:
    """They are names that a server takes, with all that is kept beside them."""
    for role in ROLES:
        Keys("shop").beside(getattr(topic, role), "lane")


@pytest.mark.parametrize("bad", ["", "\ud800"])
def test_a_part_is_text(bad: str) -> None:
    """Neither empty nor what no UTF-8 can carry."""
    for make in (
        lambda: Topic(bad),
        lambda: Topic("a", namespace=bad),
        lambda: Topic("a").subtopic(bad),
        lambda: Topic("a").shard(bad),
        lambda: with_shard("a", bad),
    ):
        with pytest.raises(UsageError):
            make()


def test_a_shard_has_no_shards() -> None:
    """One name for each, not a chain of them."""
    with pytest.raises(UsageError, match="already"):
        Topic("orders").shard("a").shard("b")
    with pytest.raises(UsageError, match="'#'"):
        with_shard("orders#a", "b")


@pytest.mark.parametrize("name", ["order:placed", "a#b#c", "x/", "::a", "a%41", "a#", "orders:3", "a{b}"])
def test_what_no_topic_is_called_is_refused(name: str) -> None:
    """A name that cannot be read back says so, rather than be read as something else."""
    with pytest.raises(UsageError):
        Topic.parse(name)


@pytest.mark.covers("TOPIC-2")
@given(PARTS | st.just(""), st.integers(1, 1024))
def test_a_key_has_one_partition(key: str, partitions: int) -> None:
    """The same on every machine: zlib's crc32 of the UTF-8, modulo the number of partitions."""
    assert partition_of(key, partitions) == crc32(key.encode("utf-8")) % partitions


@pytest.mark.covers("TOPIC-2")
def test_partitions_are_as_documented() -> None:
    """Values that a program in another language can be held against."""
    check_value = 0xCBF43926  # of crc32, for these nine digits
    assert partition_of("123456789", 1024) == check_value % 1024
    assert [partition_of(key, 8) for key in ("", "customer-1", "ключ", "鍵:1")] == [0, 5, 2, 5]
    assert lane_names("order.placed", 3) == ("order.placed:0", "order.placed:1", "order.placed:2")


def test_keys_are_spread() -> None:
    """Numbered keys, as they are usual, reach every partition evenly."""
    counts = [0] * 8
    for number in range(8000):
        counts[partition_of(f"customer-{number}", 8)] += 1
    assert min(counts) > 900


def test_a_key_that_is_no_text_is_refused() -> None:
    """Before anything is sent."""
    with pytest.raises(UsageError, match="UTF-8"):
        partition_of("\ud800", 8)


@given(PARTS, st.integers(0, 5000))
def test_a_partitions_name_says_which_it_is(stream: str, number: int) -> None:
    """Stream and number are read back."""
    assert split_lane(lane_of(stream, number)) == (stream, number)


@pytest.mark.parametrize(
    "name", ["orders", "orders:", ":3", "orders:03", "orders:-1", "orders:x", "orders:٣"]
)
def test_other_names_are_no_partitions(name: str) -> None:
    """Neither without a number, nor with one that is written in another way."""
    assert split_lane(name) is None


@given(st.sampled_from(["orders", "plain", "eu:x"]), st.none() | PARTS, st.none() | st.integers(0, 9))
def test_what_is_declared_of_the_whole_is_declared_of_its_parts(
    stream: str, shard: str | None, number: int | None
) -> None:
    """For shards and partitions; a stream without partitions has none to speak for."""
    name = stream if shard is None else with_shard(stream, shard)
    lane = name if number is None else lane_of(name, number)
    said = declared_of(lane, {"orders": "orders", "plain": "plain", "eu:x": "eu:x"}, {"orders", "eu:x"})
    is_another = stream == "plain" and shard is None and number is not None
    assert said == (None if is_another else stream)


def test_no_sign_of_a_name_is_left_unescaped() -> None:
    """What a part may hold, and what has a meaning between parts, do not overlap."""
    assert not set(re.sub("%[0-9A-F]{2}", "", Topic("%:#/{}").stream))
