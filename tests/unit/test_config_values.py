"""Values: what each setting accepts and becomes, and that whatever is said ends in settings or in one clear error."""

from datetime import UTC, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from penstock.config import ListenerSettings, Settings, StreamSettings, describe, load_settings
from penstock.config._schema import GROUP, RETRY, ROOT, STREAM, Key, Named, Section
from penstock.errors import InvalidSettingsError, UsageError
from penstock.listeners.settings import GroupSettings
from penstock.position import BEGINNING, NEW, EntryId
from penstock.retry import Retry
from tests.unit.setting_samples import NOON, SAMPLES, around_projection, keys

ORDERS = EntryId(1700000000000, 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder without settings, and with a file that may be named for some."""
    path = tmp_path_factory.mktemp("settings")
    (path / ".git").mkdir()
    (path / "empty.toml").touch()
    return path


def outcome(**said: Any) -> Settings | InvalidSettingsError:
    """The two ways in which loading may end."""
    try:
        return load_settings(**said)
    except InvalidSettingsError as error:
        return error


def nested(key: str, value: object) -> dict[str, Any]:
    """The tables in which the dotted *key* has the value."""
    *above, last = key.split(".")
    tables: dict[str, Any] = {last: value}
    for part in reversed(above):
        tables = {part: tables}
    return tables


@pytest.mark.parametrize(
    ("key", "said", "becomes"),
    [
        ("app", "shop", "shop"),
        ("app", "shop.main:apps.first", "shop.main:apps.first"),
        ("streams", "redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("streams", " rediss://u:p@h?ssl_cert_reqs=none ", "rediss://u:p@h?ssl_cert_reqs=none"),
        ("streams", "unix:///run/valkey.sock?db=1", "unix:///run/valkey.sock?db=1"),
        ("streams", "memory://", "memory://"),
        ("streams", "Embedded", None),
        ("namespace", "shop", "shop"),
        ("strict", True, True),
        ("durability", "Always", "always"),
        ("max_body", 5, 5),
        ("max_body", "65536", 65536),
        ("max_body", "64 KiB", 65536),
        ("max_body", "2mb", 2_000_000),
        ("max_body", "1GiB", 2**30),
        ("source", "shop", "shop"),
        ("reconnect_attempts", 0, 0),
        ("reconnect_attempts", "endless", None),
        ("log_level", "DEBUG", "debug"),
    ],
)
def test_a_value_at_the_top_becomes_what_it_means(
    key: str, said: object, becomes: object, folder: Path
) -> None:
    """Each form that the reference page shows is read, and from code and command line alike."""
    for layer in ("code", "overrides"):
        found = load_settings(start=folder, environ={}, **{layer: {key: said}})  # type: ignore[arg-type]  # one of two
        assert getattr(found, key) == becomes


@pytest.mark.parametrize(
    ("key", "said", "becomes"),
    [
        ("start", "new", NEW),
        ("start", BEGINNING, BEGINNING),
        ("start", "1700000000000-3", ORDERS),
        ("start", ORDERS, ORDERS),
        ("start", "2026-01-31T12:00:00Z", NOON),
        ("start", NOON, NOON),
        ("streams", ["a", "b"], ("a", "b")),
        ("min_idle", "1h 30min", timedelta(minutes=90)),
        ("min_idle", timedelta(minutes=90), timedelta(minutes=90)),
        ("dead_after", "PT5M", timedelta(minutes=5)),
        ("byte_budget", "32 MiB", 2**25),
        ("on_failure", "halt", "halt"),
        (
            "retry",
            {"attempts": 1, "initial": "5s", "factor": 3, "longest": "1h", "jitter": 0},
            Retry(1, "5s", 3.0, "1h", 0.0),
        ),
    ],
)
def test_a_value_of_a_group_becomes_its_keyword(
    key: str, said: object, becomes: object, folder: Path
) -> None:
    """`group_settings` has what ``App.group`` takes, in its types."""
    found = load_settings(start=folder, environ={}, code={"groups": {"g": {key: said}}})
    assert found.group_settings("g") == {key: becomes}
    assert found.group_settings("other") == {}


def test_group_settings_of_a_hand_made_object_are_read_too() -> None:
    """Durations, start and retry may stand there as a file has them."""
    said = {"start": "new", "streams": ["a"], "retry": {"initial": "5s"}, "min_idle": "5s"}
    keywords = Settings(groups={"g": said}).group_settings("g")
    assert keywords == {"start": NEW, "streams": ("a",), "retry": Retry(initial="5s"), "min_idle": "5s"}
    keywords.pop("streams")
    assert GroupSettings(**keywords).min_idle == timedelta(seconds=5)
    with pytest.raises(UsageError):
        Settings(groups={"g": {"start": "now"}}).group_settings("g")


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ("shop:charge", [("shop:charge", None)]),
        (
            ["shop:charge", {"handler": "shop:Mail.send", "group": "mail"}],
            [("shop:charge", None), ("shop:Mail.send", "mail")],
        ),
        ({"handler": "shop:mail", "group": "mail"}, [("shop:mail", "mail")]),
        ([ListenerSettings("shop:mail")], [("shop:mail", None)]),
    ],
)
def test_listeners_are_declared_by_event(
    said: object, becomes: list[tuple[str, str | None]], folder: Path
) -> None:
    """One handler or several, each with a group of its own where it has one."""
    found = load_settings(start=folder, environ={}, code={"listeners": {"order.placed": said}})
    assert [(each.handler, each.group) for each in found.listeners["order.placed"]] == becomes


def test_a_pool_has_a_server_and_its_own_namespace(folder: Path) -> None:
    """What a pool does not say is what the app says."""
    pools = {"a": {"url": "redis://a", "namespace": ""}, "b": {"url": "redis://b"}}
    found = load_settings(start=folder, environ={}, code={"pools": pools, "namespace": "shop"})
    assert [(pool.name, pool.url, pool.namespace) for pool in found.pools.values()] == [
        ("a", "redis://a", ""),
        ("b", "redis://b", None),
    ]


@pytest.mark.covers("CONF-3")
def test_an_empty_table_declares(folder: Path) -> None:
    """A stream or group that is only named is declared all the same, from every source."""
    (folder / "empty.toml").write_text('[stream."a.b"]\n[groups.g]\n')
    found = load_settings(start=folder, environ={}, file=folder / "empty.toml", overrides={"stream.c": {}})
    assert found.stream_settings.keys() == {"a.b", "c"}
    assert found.groups == {"g": {}}


@pytest.mark.parametrize("key", [".".join(path) for path in keys(ROOT)])
def test_every_setting_can_come_from_every_source(key: str, folder: Path) -> None:
    """One spelling of a value, put in code, a file, a variable or on the command line, gives the same settings."""
    *above, last = key.split(".")
    value, text, toml = SAMPLES.get(key) or SAMPLES[last]
    far: dict[str, Any] = {"pools": {"name": {"url": "redis://name"}}}
    around = far if key in ("pools.name.namespace", "pools.name.streams", "stream.name.pool") else {}
    if key == "stream.name.routed_from":
        around = {"stream": {"name": {"partitions": 2}}}
    if key.startswith("stores."):
        around = {"stores": {"name": {"url": "postgresql://far/events"}}}
    if key.startswith("projections."):
        around = around_projection(key)

    def shown(**said: Any) -> dict[str, object]:
        """Every value in force."""
        everything: dict[str, Any] = {"start": folder, "environ": {}, "code": around, **said}
        rows = describe(load_settings(**everything))
        return {row.key: row.value for row in rows if key == "config" or row.key != "config"}

    expected = shown(code=merged(around, nested(key, value)))
    assert expected != shown(), "the value changes nothing"
    assert shown(environ={"PENSTOCK_" + key.replace(".", "__").upper(): text}) == expected
    assert shown(overrides={key: text}) == expected
    if key != "config":
        table = f"[{'.'.join(above)}]\n" if above else ""
        (folder / "one.toml").write_text(f"{table}{last} = {toml}")
        assert shown(file=folder / "one.toml") == expected


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both tables in one."""
    both = dict(one)
    for key, value in other.items():
        both[key] = merged(both[key], value) if key in both and isinstance(value, dict) else value
    return both


NAMES = sorted({part for path in keys(ROOT) for part in path} | {"default", "handler", "group", "strem", ""})
TEXTS = (
    st.sampled_from(
        [*(text for _, text, _ in SAMPLES.values()), "redis://a:b@c", "60", "~", "embedded", "any"]
    )
    | st.text(max_size=8)
    | st.text(st.characters(), max_size=3)
)
SCALARS = (
    TEXTS
    | st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.datetimes()
    | st.datetimes(timezones=st.just(UTC))
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.binary(max_size=3)
)
TABLE_KEYS: Any = st.sampled_from(NAMES) | st.text(max_size=4) | st.integers(-1, 1)
VALUES: Any = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TABLE_KEYS, inner, max_size=4),
    max_leaves=12,
)


def tables(section: Section) -> Any:
    """Tables of the right shape, more or less, with any values."""
    shapes: dict[str, Any] = {}
    for name, node in section.keys.items():
        if isinstance(node, Named):
            inner = VALUES if isinstance(node.of, Key) else tables(node.of)
            shapes[name] = st.dictionaries(
                st.sampled_from(["a", "b.c", "default", "billing"]) | TEXTS, inner, max_size=3
            )
        else:
            shapes[name] = VALUES if isinstance(node, Key) else tables(node)
    return st.fixed_dictionaries({}, optional={name: shape | VALUES for name, shape in shapes.items()})


FEW = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)


@pytest.mark.covers("CONF-3")
@FEW
@example(code={}, overrides={"config": "redis://a:b@c"})
@given(code=tables(ROOT), overrides=tables(ROOT) | st.dictionaries(TEXTS, VALUES, max_size=3))
def test_whatever_is_said_ends_in_settings_or_in_one_error(
    folder: Path, code: dict[str, Any], overrides: dict[str, Any]
) -> None:
    """No table, however shaped, gets anything else out of loading; messages can be printed and hold no password."""
    found = outcome(start=folder, environ={}, code=code, overrides=overrides)
    if isinstance(found, InvalidSettingsError):
        assert found.problems
        str(found).encode()
        assert "a:b@c" not in str(found)
    else:
        assert found.data_folder.is_absolute()
        assert "a:b@c" not in repr(describe(found))


VARIABLES = st.lists(st.sampled_from(NAMES) | st.text(max_size=5), min_size=1, max_size=5)


@FEW
@given(
    st.dictionaries(VARIABLES.map(lambda parts: "PENSTOCK_" + "__".join(parts).upper()), TEXTS, max_size=4)
)
def test_whatever_the_environment_holds_ends_in_settings_or_in_one_error(
    folder: Path, environ: dict[str, str]
) -> None:
    """Variables are texts by anyone's hand."""
    outcome(start=folder, environ=environ)


LINES = st.sampled_from(
    [
        "[pools.a]",
        "[stream.'b.c']",
        "[groups.billing.retry]",
        "[listeners]",
        "[",
        "]",
        "a = [",
        "'''",
        '"""',
        "- a",
    ]
    + [f"{name} = {toml}" for name, (_, _, toml) in SAMPLES.items()]
    + [f"{name}: {text}" for name, (_, text, _) in SAMPLES.items()]
    + ["groups:", "  billing: &a", "    retry: *a", "  <<: *a", "? [a]", "x = {", "stream: !!set {a}", "1: 2"]
)


@FEW
@given(
    ending=st.sampled_from(["toml", "yaml"]),
    content=st.lists(LINES | st.text(max_size=10), max_size=8)
    .map("\n".join)
    .map(lambda text: text.encode("utf-8", "replace"))
    | st.binary(max_size=40),
)
def test_whatever_a_file_holds_ends_in_settings_or_in_one_error(
    folder: Path, ending: str, content: bytes
) -> None:
    """A file is bytes by anyone's hand: nothing in it reaches the caller as a parser's own error."""
    path = folder / f"any.{ending}"
    path.write_bytes(content)
    found = outcome(start=folder, environ={}, file=path)
    if isinstance(found, InvalidSettingsError):
        assert all(problem.startswith(str(path)) for problem in found.problems)


DURATIONS = st.timedeltas(timedelta(milliseconds=1), timedelta(days=9999))
RETRIES: Any = st.fixed_dictionaries({}, optional={"initial": DURATIONS, "factor": st.floats(1, 9)})
GROUPS: Any = st.fixed_dictionaries(
    {},
    optional={
        "min_idle": DURATIONS,
        "start": st.sampled_from([NEW, BEGINNING, ORDERS, NOON]),
        "retry": RETRIES,
    },
)
LOADABLE: Any = st.fixed_dictionaries(
    {},
    optional={
        "streams": st.sampled_from(["memory://", "redis://h:1/2"]),
        "namespace": st.text("ab:", max_size=3),
        "strict": st.booleans(),
        "max_body": st.integers(1, 2**40),
        "reconnect_attempts": st.integers(0, 10),
        "pools": st.dictionaries(st.just("far.off"), st.just({"url": "unix:///s"}), max_size=1),
        "stream": st.dictionaries(
            st.text("ab.-", min_size=1, max_size=4),
            st.fixed_dictionaries({}, optional={"max_age": DURATIONS, "max_entries": st.integers(1, 99)}),
            max_size=3,
        ),
        "groups": st.dictionaries(st.text("ab.-", min_size=1, max_size=4), GROUPS, max_size=2),
        "listeners": st.dictionaries(
            st.text("ab.", min_size=1), st.just(["m:f", {"handler": "m:g", "group": "g"}])
        ),
    },
)


@pytest.mark.covers("CONF-5")
@FEW
@given(LOADABLE)
def test_what_is_shown_can_be_set(folder: Path, code: dict[str, Any]) -> None:
    """Every value that is printed is one that a file may hold, and setting them all gives the same settings again."""
    before = load_settings(start=folder, environ={}, code=code)
    said = {each.key: each.value for each in describe(before) if each.value is not None}
    after = load_settings(start=folder, environ={}, overrides=said)
    assert [each[:2] for each in describe(after)] == [each[:2] for each in describe(before)]
    for name in before.groups:
        whole = [GroupSettings(**found.group_settings(name)) for found in (before, after)]
        assert whole[0] == whole[1]


def test_no_setting_of_a_group_is_forgotten() -> None:
    """Whatever a group and its retries can be told in code can be told in a file, save for exception classes."""
    assert GROUP.keys.keys() == {*GroupSettings.__dataclass_fields__, "streams"}
    assert RETRY.keys.keys() == set(Retry.__dataclass_fields__) - {"hopeless"}
    assert STREAM.keys.keys() == set(StreamSettings.__dataclass_fields__) - {"name"}
