"""What ``config show`` prints: every value in force, where it came from, and no password."""

from pathlib import Path
from typing import Any

import pytest

from penstock.config import Settings, describe, load_settings, mask

SECRET = "s3cret"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder without settings."""
    (tmp_path / ".git").mkdir()
    return tmp_path


@pytest.mark.covers("CONF-5")
def test_every_value_is_shown_with_its_origin(folder: Path) -> None:
    """Defaults too, each as a file would say it, in the order of the reference page; names with dots are quoted."""
    (folder / "penstock.toml").write_text(
        'strict = true\n[pools.far]\nurl = "redis://far"\nstreams = { "order.placed" = ["billing"] }\n'
        '[stream."order.placed"]\nmax_age = "5 days"\n[groups.billing]\nstart = "new"\n[groups.billing.retry]\n'
        'initial = "1500 ms"\n[listeners]\n"order.placed" = ["m:f", { handler = "m:g", group = "mail" }]'
    )
    rows = describe(load_settings(start=folder, environ={}, code={"namespace": "shop"}, source="shop"))
    assert [tuple(row) for row in rows[:17]] == [
        ("config", str(folder / "penstock.toml"), "default"),
        ("app", None, "default"),
        ("streams", "embedded", "default"),
        ("store", "embedded", "default"),
        ("namespace", "shop", "code"),
        ("strict", True, "penstock.toml"),
        ("data_folder", str(folder / ".penstock"), "default"),
        ("durability", "everysec", "default"),
        ("max_body", 1048576, "default"),
        ("source", "shop", "default"),
        ("reconnect_attempts", "endless", "default"),
        ("inbox_retention", "14d", "default"),
        ("housekeeping", True, "default"),
        ("log_level", "info", "default"),
        ("pools.far.url", "redis://far", "penstock.toml"),
        ("pools.far.namespace", "shop", "default"),
        ('stream."order.placed".pool', "far", "penstock.toml"),
    ]
    rest = {row.key: (row.value, row.origin) for row in rows[17:]}
    assert rest['stream."order.placed".groups'] == (["billing"], "penstock.toml")
    assert rest['stream."order.placed".max_age'] == ("5d", "penstock.toml")
    assert rest['stream."order.placed".max_entries'] == ("unlimited", "default")
    assert rest["groups.billing.start"] == ("new", "penstock.toml")
    assert rest["groups.billing.min_idle"] == ("1min", "default")
    assert rest["groups.billing.retry.initial"] == ("1s 500ms", "penstock.toml")
    assert rest["groups.billing.retry.attempts"] == (5, "default")
    assert rest['listeners."order.placed"'] == (["m:f", {"handler": "m:g", "group": "mail"}], "penstock.toml")
    assert "groups.billing.streams" in rest


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://ann@localhost", "redis://ann@localhost"),
        ("redis://:s3cret@localhost:6379/0", "redis://:***@localhost:6379/0"),
        ("rediss://ann:s3cret@localhost?db=1", "rediss://ann:***@localhost?db=1"),
        ("redis://ann:s3:c@ret@localhost", "redis://ann:***@localhost"),
        ("unix:///run/s?username=ann&password=s3cret&db=1", "unix:///run/s?username=ann&password=***&db=1"),
        ("redis://h?PASSWORD=s3cret#x", "redis://h?PASSWORD=***#x"),
        ("ann:s3cret@localhost", "ann:***@localhost"),
        ("", ""),
    ],
)
def test_a_password_is_masked_wherever_a_url_may_carry_it(url: str, shown: str) -> None:
    """Before the host and in the query; the user stays readable, since it is often what is wrong."""
    assert mask(url) == shown


@pytest.mark.parametrize(
    "url", ["redis://ann:s3cret@far:6379/0", "redis://far?password=s3cret", "unix:///s?password=s3cret"]
)
def test_settings_never_show_a_password(url: str, folder: Path) -> None:
    """Neither the printed table nor the repr of settings, which ends in logs and tracebacks."""
    said: dict[str, Any] = {"streams": url, "pools": {"far": {"url": url}}}
    settings = load_settings(start=folder, environ={}, code=said)
    assert (settings.streams, settings.pools["far"].url) == (url, url)
    for text in (
        repr(describe(settings)),
        repr(settings),
        str(settings),
        repr(settings.pools),
        repr(settings.origins),
    ):
        assert SECRET not in text


def test_defaults_can_be_shown_without_loading() -> None:
    """Settings made by hand have no origins to tell, and are shown all the same."""
    rows = {row.key: (row.value, row.origin) for row in describe(Settings())}
    assert rows["streams"] == ("embedded", "default")
    assert rows["config"] == (None, "default")
