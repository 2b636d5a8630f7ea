"""The registry in BeeORM's YAML loads as it stands in its document, beside settings of ours, checked as they are."""

from pathlib import Path

import pytest

from penstock.config import Settings, load_settings
from penstock.errors import InvalidSettingsError

DOCUMENT = """\
default:
    redis: localhost:6379:0
    streams:
        stream-a:
          - read-group-a
          - read-group-ab
        stream-b:
          - read-group-ab
second:
    redis: 192.168.1.20:6379:3
    streams:
        stream-c:
          - read-group-c
"""
"""The registry of the document, letter by letter."""


def load(folder: Path, text: str) -> Settings:
    """Settings from a YAML file."""
    (folder / ".git").mkdir(exist_ok=True)
    (folder / "penstock.yaml").write_text(text)
    return load_settings(start=folder, environ={})


def problems(folder: Path, text: str) -> list[str]:
    """What is wrong with it, without the folder."""
    with pytest.raises(InvalidSettingsError) as caught:
        load(folder, text)
    return [each.removeprefix(f"{folder}/") for each in caught.value.problems]


@pytest.mark.covers("CONF-3")
def test_the_registry_of_the_document_loads_as_it_stands(tmp_path: Path) -> None:
    """Pools with their servers, streams with their groups; the default pool is ours."""
    settings = load(tmp_path, DOCUMENT)
    assert settings.streams == "redis://localhost:6379/0"
    assert {name: (pool.url, pool.namespace) for name, pool in settings.pools.items()} == {
        "second": ("redis://192.168.1.20:6379/3", "")
    }
    assert {name: (each.pool, each.groups) for name, each in settings.stream_settings.items()} == {
        "stream-a": ("default", ("read-group-a", "read-group-ab")),
        "stream-b": ("default", ("read-group-ab",)),
        "stream-c": ("second", ("read-group-c",)),
    }
    assert settings.origins["stream.stream-c.pool"] == "penstock.yaml"


@pytest.mark.covers("CONF-2", "CONF-3")
def test_every_form_of_its_addresses_is_understood(tmp_path: Path) -> None:
    """With a namespace, by a socket's path, and by sentinels; a pool without a namespace has none, whatever ours is."""
    settings = load(
        tmp_path,
        """\
default:
    redis: localhost:6380:2:shop
a:
    redis: /run/valkey.sock:1
b:
    redis: /run/valkey.sock:0:mail
c:
    sentinel:
        master:2:
            - 10.0.0.1:26379
            - 10.0.0.2:26379
""",
    )
    assert (settings.streams, settings.namespace) == ("redis://localhost:6380/2", "shop")
    assert {name: (pool.url, pool.namespace) for name, pool in settings.pools.items()} == {
        "a": ("unix:///run/valkey.sock?db=1", ""),
        "b": ("unix:///run/valkey.sock?db=0", "mail"),
        "c": ("redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/master/2", ""),
    }


@pytest.mark.covers("CONF-3")
def test_what_beeorm_keeps_beside_streams_is_passed_over_and_ours_may_stand_in_the_same_file(
    tmp_path: Path,
) -> None:
    """One file serves both sides while they run: databases and caches are not ours, strict mode and layouts are."""
    settings = load(
        tmp_path,
        DOCUMENT.replace(
            "default:\n", "default:\n    mysql: root:root@tcp(localhost:3306)/db\n    local_cache: 1000\n"
        )
        + """\
users:
    mysql: root:root@tcp(localhost:3310)/users
    mysqlEncoding: utf8mb4
strict: true
stream:
    stream-a:
        layout: beeorm
    stream-c:
        max_entries: 10
pools:
    third:
        url: redis://third
        streams: [stream-d]
""",
    )
    assert settings.strict
    assert set(settings.pools) == {"second", "third"}
    streams = settings.stream_settings
    assert (streams["stream-a"].layout, streams["stream-a"].groups) == (
        "beeorm",
        ("read-group-a", "read-group-ab"),
    )
    assert (streams["stream-c"].pool, streams["stream-c"].max_entries) == ("second", 10)
    assert streams["stream-d"].pool == "third"


@pytest.mark.covers("CONF-3")
def test_everything_wrong_with_it_is_told_at_once_with_line_and_key_as_the_file_has_them(
    tmp_path: Path,
) -> None:
    """The stream that is in two pools is the example of its document; all the others are told with it."""
    found = problems(
        tmp_path,
        """\
default:
    redis: localhost:6379:0
    streams:
        stream-a:
          - read-group-a
        stream-e: []
second:
    redis: 192.168.1.20
    stream:
        stream-x: [g]
third:
    redis: 192.168.1.20:6379:3
    streams:
        stream-a:
          - read-group-c
fourth:
    streams:
        stream-d: [g]
groups:
    read-group-b:
        streams: [stream-a]
stream:
    stream-z:
        pool: thrid
""",
    )
    assert found == [
        "penstock.yaml, line 8: second.redis: '192.168.1.20' is no address; write HOST:PORT:DATABASE",
        "penstock.yaml, line 6 (default.streams.stream-e): pools.default.streams.stream-e: the list is empty; "
        'name at least one, as in ["billing", "mail"], or leave it out',
        "penstock.yaml, line 9 (second.stream): pools.second.stream: there is no such setting; did you mean 'streams'?",
        "penstock.yaml, line 16 (fourth): pools.fourth: the pool has no server; add url = 'redis://HOST:6379'",
        "penstock.yaml, line 24: stream.stream-z.pool: stream 'stream-z' is in pool 'thrid', "
        "which is declared nowhere; did you mean 'third'?",
        "penstock.yaml, line 14 (third.streams.stream-a): pools.third.streams: "
        f"stream 'stream-a' is declared in more than one pool: "
        f"'default' ({tmp_path}/penstock.yaml, line 4 (default.streams.stream-a)), "
        f"'third' ({tmp_path}/penstock.yaml, line 14 (third.streams.stream-a)); a stream lives in one, keep that",
        "penstock.yaml, line 21: groups.read-group-b.streams: stream 'stream-a' has the groups read-group-c, "
        "and not this one; add it there",
    ]


@pytest.mark.covers("CONF-3")
def test_a_stream_in_two_pools_is_refused_as_its_document_says(tmp_path: Path) -> None:
    """Names of streams are unique over all pools, and the message has both places."""
    [problem] = problems(tmp_path, DOCUMENT.replace("stream-c", "stream-a"))
    assert problem == (
        "penstock.yaml, line 12 (second.streams.stream-a): pools.second.streams: "
        f"stream 'stream-a' is declared in more than one pool: "
        f"'default' ({tmp_path}/penstock.yaml, line 4 (default.streams.stream-a)), "
        f"'second' ({tmp_path}/penstock.yaml, line 12 (second.streams.stream-a)); a stream lives in one, keep that"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "default:\n    redis: localhost:6379:0\nstreams: redis://far\n",
            "line 2: default.redis: it is set a second time as streams; keep one of them",
        ),
        (
            "far:\n    redis: localhost:6379:0\npools:\n    far:\n        url: redis://far\n",
            "line 1: far: pool 'far' is set a second time under pools; keep one of them",
        ),
        ("far:\n    redis: 5\n", "line 2: far.redis: 5 is no address; write HOST:PORT:DATABASE"),
        ("far:\n    redis: localhost:6379:zero\n", "line 2: far.redis: 'localhost:6379:zero' is no address"),
        (
            "far:\n    sentinel: master\n",
            "line 2: far.sentinel: 'master' is no address; write {MASTER:DATABASE:",
        ),
        ("far:\n    sentinel: {a: b}\n", "line 2: far.sentinel: {'a': 'b'} is no address"),
        ("far:\n    sentinel: {'a:b': [c]}\n", "line 2: far.sentinel: {'a:b': ['c']} is no address"),
        ("far:\n    rdis: localhost:6379:0\n", "line 1: far: there is no such setting"),
    ],
)
def test_a_mistake_in_it_is_told_where_it_stands(text: str, expected: str, tmp_path: Path) -> None:
    """By the line and the key of the file."""
    [problem] = problems(tmp_path, text)
    assert expected in problem
