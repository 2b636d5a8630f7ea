"""Code, file, environment, command line: which one wins, key by key, and that each value knows where it came from."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from penstock.config import Settings, describe, load_settings
from penstock.errors import InvalidSettingsError

FILE = """
namespace = "of-file"
[groups.billing]
concurrency = 2
min_idle = "2s"
[stream."order.placed"]
max_entries = 2
"""
SOURCES: dict[str, dict[str, Any]] = {
    "code": {"code": {"namespace": "of-code"}},
    "penstock.toml": {},
    "environment PENSTOCK_NAMESPACE": {"environ": {"PENSTOCK_NAMESPACE": "of-environment"}},
    "command line": {"overrides": {"namespace": "of-command-line"}},
}


def load(folder: Path, **said: Any) -> Settings:
    """Settings of *folder*, with an environment of its own."""
    (folder / ".git").mkdir(exist_ok=True)
    said.setdefault("environ", {})
    return load_settings(start=folder, **said)


def origins(settings: Settings) -> Mapping[str, str]:
    """Every key that is shown, with its origin."""
    return {setting.key: setting.origin for setting in describe(settings)}


@pytest.mark.covers("CONF-5")
@pytest.mark.parametrize("count", range(len(SOURCES) + 1))
def test_the_later_source_wins_and_is_named(count: int, tmp_path: Path) -> None:
    """One key in up to four places: the last place decides, and is shown as the value's origin."""
    said: dict[str, Any] = {}
    for origin in list(SOURCES)[:count]:
        said |= SOURCES[origin]
        if origin == "penstock.toml":
            (tmp_path / "penstock.toml").write_text(FILE)
    settings = load(tmp_path, **said)
    expected, origin = [
        ("", "default"),
        ("of-code", "code"),
        ("of-file", "penstock.toml"),
        ("of-environment", "environment PENSTOCK_NAMESPACE"),
        ("of-command-line", "command line"),
    ][count]
    assert settings.namespace == expected
    assert settings.origins["namespace"] == origins(settings)["namespace"] == origin


@pytest.mark.covers("CONF-5")
def test_tables_merge_key_by_key(tmp_path: Path) -> None:
    """Four places each set one value of the same group; all four hold, each with its own origin."""
    (tmp_path / "penstock.toml").write_text(FILE)
    settings = load(
        tmp_path,
        code={"groups": {"billing": {"max_batch": 7, "concurrency": 1, "retry": {"attempts": 7}}}},
        environ={"PENSTOCK_GROUPS__BILLING__RETRY__FACTOR": "3", "PENSTOCK_GROUPS__BILLING__MIN_IDLE": "3s"},
        overrides={"groups.billing.concurrency": "4", "groups": {"billing": {"mode": "parallel"}}},
    )
    said = settings.group_settings("billing")
    assert (said["max_batch"], said["concurrency"], said["min_idle"].total_seconds()) == (7, 4, 3)
    assert (said["retry"].attempts, said["retry"].factor) == (7, 3.0)
    shown = origins(settings)
    assert {
        key: shown[f"groups.billing.{key}"] for key in ("max_batch", "concurrency", "min_idle", "start")
    } == {
        "max_batch": "code",
        "concurrency": "command line",
        "min_idle": "environment PENSTOCK_GROUPS__BILLING__MIN_IDLE",
        "start": "default",
    }
    assert shown["groups.billing.retry.factor"] == "environment PENSTOCK_GROUPS__BILLING__RETRY__FACTOR"


def test_lists_are_replaced_as_a_whole(tmp_path: Path) -> None:
    """A list further on is not added to the one before it."""
    settings = load(
        tmp_path,
        code={"stream": {"a": {"groups": ["one", "two"]}}, "listeners": {"a": ["m:one", "m:two"]}},
        environ={"PENSTOCK_STREAM__A__GROUPS": "three, four", "PENSTOCK_LISTENERS__A": "m:three"},
    )
    assert settings.stream_settings["a"].groups == ("three", "four")
    assert [listener.handler for listener in settings.listeners["a"]] == ["m:three"]


@pytest.mark.parametrize(
    ("known", "variable", "name"),
    [
        ("order.placed", "ORDER_PLACED", "order.placed"),
        ("Order-Placed", "ORDER_PLACED", "Order-Placed"),
        ("other", "ORDER_PLACED", "order_placed"),
        ("other", "ORDER.PLACED", "order.placed"),
    ],
)
def test_a_variable_finds_names_that_it_cannot_spell(
    known: str, variable: str, name: str, tmp_path: Path
) -> None:
    """Where a stream is known under dots and hyphens, the variable's underscores mean that stream."""
    environ = {f"PENSTOCK_STREAM__{variable}__MAX_ENTRIES": "5"}
    settings = load(tmp_path, code={"stream": {known: {}}}, environ=environ)
    assert settings.stream_settings[name].max_entries == 5
    assert settings.stream_settings.keys() == {known, name}


def test_a_variable_finds_groups_that_code_declares(tmp_path: Path) -> None:
    """Groups known to the app alone are handed in, so that a variable reaches them and does not make up another."""
    environ = {"PENSTOCK_GROUPS__BILLING_EU__CONCURRENCY": "3"}
    assert load(tmp_path, environ=environ, groups=["billing-eu"]).groups == {"billing-eu": {"concurrency": 3}}


@pytest.mark.parametrize(
    "code",
    [
        {"pools": {"default": {"streams": ["order.placed"]}}},
        {"groups": {"billing": {"streams": ["order.placed"]}}},
        {"listeners": {"order.placed": "shop:charge"}},
    ],
)
def test_a_variable_finds_streams_wherever_they_are_named(code: dict[str, Any], tmp_path: Path) -> None:
    """A stream is known by a pool's list, by a group's, and by listeners of the event of that name."""
    environ = {
        "PENSTOCK_STREAM__ORDER_PLACED__MAX_AGE": "1h",
        "PENSTOCK_LISTENERS__ORDER_PLACED": "shop:mail",
    }
    settings = load(tmp_path, code=code, environ=environ)
    assert settings.stream_settings.keys() == settings.listeners.keys() == {"order.placed"}
    assert settings.stream_settings["order.placed"].max_age is not None


def test_a_variable_that_may_mean_two_names_is_refused(tmp_path: Path) -> None:
    """Guessing between two streams would set the wrong one."""
    with pytest.raises(InvalidSettingsError, match=r"may be any of order-placed, order\.placed"):
        load(
            tmp_path,
            code={"stream": {"order.placed": {}, "order-placed": {}}},
            environ={"PENSTOCK_STREAM__ORDER_PLACED__MAX_ENTRIES": "5"},
        )


@pytest.mark.parametrize(
    "variable",
    [
        "PENSTOCK_SERVER",
        "PENSTOCK_SUPERVISOR_PIPE",
        "PENSTOCK_SERVICE_HOST",
        "PENSTOCK_SERVICE_PORT_HTTP",
        "PENSTOCK_PORT",
        "PENSTOCK_PORT_6379_TCP_ADDR",
        "PENSTOCK_DASHBOARD_SERVICE_PORT",
        "OTHER_STREMS",
    ],
)
def test_variables_of_others_are_left_alone(variable: str, tmp_path: Path) -> None:
    """What names the server program, and what Kubernetes sets for a service called penstock, is no setting."""
    assert load(tmp_path, environ={variable: "tcp://10.0.0.1:80"}) == load(tmp_path)


def test_nothing_said_is_nothing_set(tmp_path: Path) -> None:
    """An empty variable, and ``None`` from an option that was not given, leave what was set before."""
    settings = load(
        tmp_path,
        code={"namespace": "kept", "source": None},
        environ={"PENSTOCK_NAMESPACE": " "},
        overrides={"namespace": None},
        source="shop",
    )
    assert (settings.namespace, settings.source) == ("kept", "shop")
    assert settings.origins["namespace"] == "code"


def test_a_word_takes_a_value_back(tmp_path: Path) -> None:
    """What is off by default can be switched off again by whoever comes later, although files know no ``None``."""
    settings = load(
        tmp_path,
        code={
            "streams": "redis://far",
            "reconnect_attempts": 3,
            "stream": {"a": {"groups": ["g"], "max_entries": 5, "max_age": "5s"}},
        },
        environ={
            "PENSTOCK_STREAMS": "embedded",
            "PENSTOCK_RECONNECT_ATTEMPTS": "endless",
            "PENSTOCK_STREAM__A__GROUPS": "any",
            "PENSTOCK_STREAM__A__MAX_ENTRIES": "unlimited",
            "PENSTOCK_STREAM__A__MAX_AGE": "unlimited",
        },
    )
    stream = settings.stream_settings["a"]
    assert [settings.streams, settings.reconnect_attempts] == [None, None]
    assert [stream.groups, stream.max_entries, stream.max_age] == [None, None, None]


@pytest.mark.parametrize("said", ["argument", "command line", "environment", "code", "search"])
def test_the_file_is_named_by_whoever_comes_first(said: str, tmp_path: Path) -> None:
    """A file that is handed in goes before the command line's, that before the variable's, code's, and the search."""
    order = ["argument", "command line", "environment", "code", "search"]
    for name in order:
        path = tmp_path / ("penstock.toml" if name == "search" else f"{name}.toml")
        path.write_text(f'namespace = "{name}"')
    rest = order[order.index(said) :]
    settings = load(
        tmp_path,
        file=tmp_path / "argument.toml" if "argument" in rest else None,
        overrides={"config": "command line.toml"} if "command line" in rest else {},
        environ={"PENSTOCK_CONFIG": str(tmp_path / "environment.toml")} if "environment" in rest else {},
        code={"config": Path("code.toml")} if "code" in rest else {},
    )
    assert settings.namespace == said
    assert settings.file is not None
    assert describe(settings)[0].value == str(settings.file)


def test_the_environment_of_the_process_is_read_only_when_none_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left out, the environment is the process's own; given, the process's plays no part, and neither is changed."""
    monkeypatch.setenv("PENSTOCK_NAMESPACE", "of-process")
    before = dict(os.environ)
    (tmp_path / ".git").mkdir()
    assert load_settings(start=tmp_path).namespace == "of-process"
    assert load(tmp_path).namespace == ""
    assert dict(os.environ) == before
