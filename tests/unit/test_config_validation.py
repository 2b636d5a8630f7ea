"""What is wrong with settings is told at once and together: place, key, reason, remedy."""

import re
from pathlib import Path
from typing import Any

import pytest

from penstock.config import load_settings
from penstock.errors import InvalidSettingsError

FAR = {"far": {"url": "redis://far"}, "farther": {"url": "redis://farther"}}


def problems(folder: Path, **said: Any) -> tuple[str, ...]:
    """Everything that is wrong with what is said."""
    (folder / ".git").mkdir(exist_ok=True)
    said.setdefault("environ", {})
    with pytest.raises(InvalidSettingsError) as caught:
        load_settings(start=folder, **said)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


@pytest.mark.covers("CONF-3")
@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        (
            {"pools": FAR, "stream": {"a": {"pool": "fra"}}},
            "code: stream.a.pool: stream 'a' is in pool 'fra', which is declared nowhere; did you mean 'far'?",
        ),
        (
            {
                "pools": {"far": {"url": "redis://far", "streams": ["a"]}},
                "stream": {"a": {"pool": "default"}},
            },
            "code: stream.a.pool: stream 'a' is declared in more than one pool: 'far' (code), 'default' (code); "
            "a stream lives in one, keep that",
        ),
        (
            {
                "pools": {
                    "far": {"url": "redis://far", "streams": {"a": ["g"]}},
                    "farther": {"url": "redis://farther", "streams": {"a": ["g"]}},
                }
            },
            "code: pools.farther.streams: stream 'a' is declared in more than one pool",
        ),
        (
            {
                "pools": {"far": {"url": "redis://far", "streams": {"a": ["g"]}}},
                "stream": {"a": {"groups": ["h"]}},
            },
            "code: pools.far.streams: the groups of stream 'a' are listed twice; keep one of the lists",
        ),
        (
            {"stream": {"a": {"groups": []}}},
            'code: stream.a.groups: the list is empty; name at least one, as in ["billing", "mail"], or leave it out',
        ),
        (
            {"pools": {"default": {"streams": {"a": []}}}},
            "code: pools.default.streams.a: the list is empty; name at least one",
        ),
        ({"pools": {"far": {}}}, "code: pools.far: the pool has no server; add url = 'redis://HOST:6379'"),
        (
            {"pools": {"default": {"url": "redis://far"}}},
            "code: pools.default.url: the default pool is set at the top of the settings; write it there as streams",
        ),
        (
            {"pools": {"default": {"namespace": "a"}}},
            "code: pools.default.namespace: the default pool is set at the top of the settings; "
            "write it there as namespace",
        ),
        (
            {
                "stream": {"order.placed": {"groups": ["mail"]}},
                "groups": {"billing": {"streams": ["order.placed"]}},
            },
            "code: groups.billing.streams: stream 'order.placed' has the groups mail, and not this one; add it there",
        ),
        (
            {"strict": True, "stream": {"orders": {}}, "groups": {"billing": {"streams": ["order"]}}},
            "code: groups.billing.streams: in strict mode stream 'order' has to be declared, and is not; "
            "did you mean 'orders'?",
        ),
    ],
)
def test_declarations_that_contradict_each_other_are_refused(
    code: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    """Pools, streams and groups are held against each other before anything starts; the offending name is told."""
    [problem] = problems(tmp_path, code=code)
    assert complaint in problem


@pytest.mark.covers("CONF-8")
def test_a_group_may_read_streams_of_several_pools(tmp_path: Path) -> None:
    """It is one group a pool: nothing contradicts that, wherever its streams are listed."""
    (tmp_path / ".git").mkdir()
    code = {
        "pools": {"far": {"url": "redis://far", "streams": {"a": ["g"]}}},
        "stream": {"b": {"groups": ["g"]}, "c": {}},
        "groups": {"g": {"streams": ["a", "b", "c"]}},
    }
    settings = load_settings(start=tmp_path, environ={}, code=code)
    assert {name: each.pool for name, each in settings.stream_settings.items()} == {
        "a": "far",
        "b": "default",
        "c": "default",
    }


def test_what_does_not_contradict_is_accepted(tmp_path: Path) -> None:
    """Saying the same twice is no mistake, and neither is a group that several streams of one pool list."""
    (tmp_path / ".git").mkdir()
    code = {
        "pools": {"far": {"url": "redis://far", "streams": {"a": ["g", "h"], "b": "any"}}},
        "stream": {"a": {"pool": "far", "groups": ["h", "g"], "max_entries": 5}, "c": {}},
        "groups": {"g": {"streams": ["a", "b", "d"][:2]}, "unknown": {"streams": ["undeclared"]}},
    }
    settings = load_settings(start=tmp_path, environ={}, code=code)
    streams = settings.stream_settings
    assert {name: stream.pool for name, stream in streams.items()} == {"a": "far", "c": "default", "b": "far"}
    assert (streams["a"].groups, streams["b"].groups, streams["c"].groups) == (("g", "h"), None, None)
    assert streams["a"].max_entries == 5
    assert settings.origins["stream.b.pool"] == "code"


@pytest.mark.parametrize(
    ("key", "value", "complaint"),
    [
        ("strem", 1, "there is no such setting; did you mean 'stream'?"),
        ("zzz", 1, "there is no such setting; known are app, archive, config, data_folder, durability"),
        ("STRICT", True, "there is no such setting; did you mean 'strict'?"),
        ("strict", "true", "'true' is neither true nor false; write true or false, without quotes"),
        ("strict", 1, "1 is neither true nor false"),
        ("namespace", 5, "5 is no text; put it in quotes"),
        ("namespace", "a{b}", "namespace 'a{b}' has braces in it"),
        ("source", " ", "it is empty; leave it out, or give it a value"),
        ("source", "\ud800", "cannot be written as UTF-8"),
        ("max_body", "1 MiBs", "'1 MiBs' is no size; write bytes, as in 65536, or '64 KiB', '1 MiB'"),
        ("max_body", 0, "0 is out of range; it is a whole number of at least 1"),
        pytest.param("max_body", 10**5000, "a int is out of range", id="too long to be written out"),
        ("max_body", 1.5, "1.5 is no whole number"),
        ("max_body", True, "True is no whole number"),
        ("reconnect_attempts", -1, "-1 is out of range; it is a whole number of at least 0"),
        ("reconnect_attempts", "3", "'3' is no whole number; write digits, as in 4, without quotes"),
        ("durability", "never", "'never' is not known here; choose one of 'everysec', 'always'"),
        ("durability", 5, "5 is not known here"),
        ("log_level", "loud", "'loud' is not known here; choose one of 'debug', 'info'"),
        ("data_folder", "a\0b", "is no path; it has a NUL in it"),
        ("data_folder", 5, "5 is no text"),
        ("app", "shop:", "'shop:' names no place in code; write 'module' or 'module:name'"),
        ("app", "../shop.py", "names no place in code"),
        ("streams", "localhost:6379", "'localhost:6379' is no URL of a server; write redis://HOST:6379"),
        ("streams", "http://localhost", "is no URL of a server"),
        ("streams", "memory://x", "is no URL of a server"),
        ("streams", "redis://h:port", "'redis://h:port' has no readable host and port"),
        ("streams", "redis://h/db", "has a database that is no number; write redis://HOST:6379/0"),
        ("streams", "unix://", "names no socket; write unix:///run/valkey.sock"),
        (
            "streams",
            {"order.placed": {}},
            'it is the URL of the default pool; one stream\'s settings go under [stream."NAME"]',
        ),
        ("stream", "redis://h", "it is the table of streams"),
        ("pools", ["a"], "['a'] is no table; write what is set under [pools]"),
        ("pools.far", "redis://h", "'redis://h' is no table; write what is set under [pools.far]"),
        ("pools.far.ulr", "redis://h", "there is no such setting; did you mean 'url'?"),
        ("stream.a.max_age", 30, "30 has no unit; write '30s' for seconds, or '500ms', '5 min'"),
        ("stream.a.max_age", "30", "'30' is not a duration; did you mean '30s'?"),
        ("stream.a.max_age", "1 fortnight", "'1 fortnight' is not a duration"),
        ("stream.a.max_age", True, "True is no duration"),
        ("stream.a.groups", "billing", '\'billing\' is no list; write ["billing", "mail"]'),
        ("stream.a.groups", ["a", "a"], "'a' is in the list twice; name it once"),
        ("stream.a.groups", ["*"], "a consumer group cannot be called '*'"),
        ("groups.billing.concurency", 4, "there is no such setting; did you mean 'concurrency'?"),
        ("groups.billing.concurrency", 0, "0 is out of range"),
        ("groups.billing.min_idle", "0s", "it is at least 1ms"),
        (
            "groups.billing.mode",
            "ordered",
            "'ordered' is not known here; choose one of 'parallel', 'exclusive'",
        ),
        ("groups.billing.start", "now", "'now' is no place to start; write 'new', 'beginning', an entry id"),
        ("groups.billing.start", "2026-01-31T12:00:00", "has no time zone"),
        ("groups.billing.start", "redis://ann:s3cret@far", "'redis://ann:***@far' is no place to start"),
        ("groups.billing.min_idle", "redis://ann:s3cret@far", "'redis://ann:***@far' is no duration"),
        ("groups.billing.streams", ["penstock:streams"], "is a key of penstock's own"),
        ("groups.billing.retry", 3, "3 is no table; write what is set under [groups.billing.retry]"),
        ("groups.billing.retry.attempts", 0, "0 is out of range"),
        ("groups.billing.retry.factor", 0.5, "factor is 0.5"),
        ("groups.billing.retry.factor", float("nan"), "nan is no number; write digits, as in 1.5"),
        ("groups.billing.retry.jitter", 1, "jitter is 1.0"),
        ("groups.billing.retry.jitter", "some", "'some' is no number"),
        ("groups.billing.retry.hopeless", [], "there is no such setting"),
        ("listeners.a", [], "the list is empty"),
        ("listeners.a", "shop", "'shop' names no place in code; write 'module:function'"),
        ("listeners.a", [{"group": "g"}], "the handler is missing; add handler = 'module:function'"),
        ("listeners.a", {"handeler": "m:f"}, "'handeler' is nothing a listener has; did you mean 'handler'?"),
        ("listeners.a", [{"handler": "m"}], "handler: 'm' names no place in code"),
        ("listeners.a", [{"handler": "m:f", "group": ""}], "group: it is empty"),
        ("listeners.a", ["m:f", "m:f"], "is in the list twice; name it once"),
    ],
)
def test_a_value_that_cannot_be_used_is_told_with_a_remedy(
    key: str, value: object, complaint: str, tmp_path: Path
) -> None:
    """The message begins with the place and the key, says what is wrong with the value, and what to write."""
    tables: Any = value
    for part in reversed(key.split(".")):
        tables = {part: tables}
    [problem, *more] = problems(tmp_path, code=tables)
    assert problem.startswith(f"code: {key}: ")
    assert complaint in problem
    # A pool without its mistaken URL has no server: that follows, and is the only thing to follow.
    assert not more or key == "pools.far.ulr"


@pytest.mark.parametrize(
    ("table", "name", "complaint"),
    [
        ("groups", " a", "this cannot name a consumer group: ' a' cannot name a consumer group"),
        ("stream", "", "this cannot name a stream: it is empty"),
        ("stream", "a}b", "this cannot name a stream: stream name 'a}b' has a '}' outside of a hash tag"),
        ("stream", 5, "this cannot name a stream: 5 is no text"),
        ("pools", "\ud800", "cannot be written as UTF-8"),
    ],
)
def test_a_name_that_cannot_be_one_is_told(table: str, name: object, complaint: str, tmp_path: Path) -> None:
    """What a server could not keep, or would confuse, is refused where it is declared."""
    [problem] = problems(tmp_path, code={table: {name: {}}})
    assert complaint in problem
    problem.encode()


@pytest.mark.covers("CONF-5")
@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("PENSTOCK_STREMS", "x", "strems: there is no such setting; did you mean 'streams'?"),
        ("PENSTOCK_STRICT", "perhaps", "strict: 'perhaps' is neither true nor false; write true or false"),
        ("PENSTOCK_GROUPS__BILLING__CONCURRENCY", "four", "'four' is no whole number; write digits, as in 4"),
        ("PENSTOCK_GROUPS__BILLING__CONCURENCY", "4", "did you mean 'concurrency'?"),
        ("PENSTOCK_GROUPS__BILLING__MIN_IDLE", "60", "did you mean '60s'?"),
        ("PENSTOCK_GROUPS__BILLING", "4", "groups.billing: '4' is no table"),
        ("PENSTOCK_GROUPS__BILLING__CONCURRENCY__X", "4", "is no whole number"),
        ("PENSTOCK_STREAMS__A__POOL", "far", "it is the URL of the default pool"),
        ("PENSTOCK_STREAM__A__GROUPS", ",", "it is empty"),
        ("PENSTOCK_", "x", "there is no such setting"),
        ("PENSTOCK_GROUPS____X", "x", "this cannot name a consumer group: it is empty"),
    ],
)
def test_a_mistaken_variable_is_named(variable: str, value: str, complaint: str, tmp_path: Path) -> None:
    """The message begins with the variable as it is spelled in the environment."""
    [problem] = problems(tmp_path, environ={variable: value})
    assert problem.startswith(f"environment {variable}: ")
    assert complaint in problem


@pytest.mark.parametrize("key", ["groups..x", "a.=", "groups.b!.c", ".", "a.b\nc.d"])
def test_a_mistaken_key_on_the_command_line_is_told(key: str, tmp_path: Path) -> None:
    """Dotted keys follow TOML's spelling."""
    [problem] = problems(tmp_path, overrides={key: "x"})
    assert problem.startswith("command line: ")
    assert "this is no key; write one as in groups.billing.concurrency" in problem


def test_a_settings_file_cannot_name_another(tmp_path: Path) -> None:
    """One file is read; a chain of them would have no order."""
    (tmp_path / "penstock.toml").write_text('strict = true\nconfig = "other.toml"')
    [problem] = problems(tmp_path)
    assert re.search(
        r"penstock\.toml, line 2: config: a settings file cannot name another one; leave it out", problem
    )


@pytest.mark.covers("CONF-3")
def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Mistakes of code, file, environment and command line, of values and of declarations: one error has them all."""
    (tmp_path / "penstock.toml").write_text(
        'max_body = "much"\n[stream.a]\npool = "fra"\ngroups = []\n[groups.g]\nstart = "now"\nconcurency = 4\n'
    )
    found = problems(
        tmp_path,
        code={"strict": "yes", "pools": FAR},
        environ={"PENSTOCK_DURABILITY": "never", "PENSTOCK_NAMESPASE": "x"},
        overrides={"log_level": "loud"},
    )
    places = [problem.removeprefix(f"{tmp_path}/").split(": ")[:2] for problem in found]
    assert sorted(places) == [
        ["code", "strict"],
        ["command line", "log_level"],
        ["environment PENSTOCK_DURABILITY", "durability"],
        ["environment PENSTOCK_NAMESPASE", "namespase"],
        ["penstock.toml, line 1", "max_body"],
        ["penstock.toml, line 3", "stream.a.pool"],
        ["penstock.toml, line 4", "stream.a.groups"],
        ["penstock.toml, line 6", "groups.g.start"],
        ["penstock.toml, line 7", "groups.g.concurency"],
    ]


def test_a_mistake_that_a_later_source_covers_is_still_told(tmp_path: Path) -> None:
    """A broken file is broken, also where the environment happens to set the same key."""
    (tmp_path / "penstock.toml").write_text("strict = 5")
    assert len(problems(tmp_path, environ={"PENSTOCK_STRICT": "true"})) == 1


def test_what_follows_from_a_mistake_is_not_told_again(tmp_path: Path) -> None:
    """A pool whose URL is wrong is neither without a server nor unknown to its streams."""
    code = {"pools": {"far": {"url": "nowhere"}}, "stream": {"a": {"pool": "far"}}}
    [problem] = problems(tmp_path, code=code)
    assert problem.startswith("code: pools.far.url: ")


@pytest.mark.parametrize(
    "value",
    [
        "http://ann:s3cret@far",
        "redis://ann:s3cret@far:port",
        "redis://ann:s3cret@far/db",
        "redis://ann:s3/cret@far",
        "redis://ann:#s3cret@far:x",
        "rediss:ann:s3cret@far",
        ["redis://ann:s3cret@far"],
        {"redis://ann:s3cret@far": {"redis://ann:s3cret@far": 1}},
        "redis:://far?password=s3cret",
    ],
)
def test_a_message_never_holds_a_password(value: object, tmp_path: Path) -> None:
    """Whatever shape a mistaken URL has, wherever it stands, the password in it stays out of the message."""
    for code in (
        {"streams": value},
        {"pools": {"far": {"url": value}}},
        {"pools": value},
        {"source": [value]},
    ):
        for said in ({"code": code}, {"overrides": code}):
            for problem in problems(tmp_path, **said):
                assert "s3cret" not in problem
                assert "s3" not in problem
