"""The app is found by option, environment, settings file, or beside us; what cannot be loaded is said in a line."""

import pytest

from tests.cli.conftest import SHOP, Project

BARE = 'from penstock import App\napp = App("{name}")\n@app.listener("{name}.event")\ndef hear(): ...\n'


def events(project: Project, *words: str) -> list[str]:
    """The events of the app that is found."""
    ending = project("listeners", "list", "--compact", "--json", *words)
    assert ending.code == 0, ending
    found: list[str] = ending.document["items"]
    return found


@pytest.fixture
def several(empty: Project) -> Project:
    """A project with an app in each of four modules."""
    for name in ("option", "environment", "setting", "app"):
        empty.write(f"{name}.py" if name == "app" else f"by_{name}.py", BARE.format(name=name))
    return empty


@pytest.mark.covers("CONF-5")
def test_option_before_environment_before_settings_before_what_is_here(several: Project) -> None:
    """Each place is asked in turn, the nearest to the person first."""
    assert events(several) == ["app.event"]
    several.write("penstock.toml", 'app = "by_setting"\n')
    assert events(several) == ["setting.event"]
    several.patch.setenv("PENSTOCK_APP", "by_environment:app")
    assert events(several) == ["environment.event"]
    assert events(several, "--app", "by_option") == ["option.event"]


def test_main_py_is_looked_at_too(empty: Project) -> None:
    """The one module of app.py and main.py that holds an app."""
    empty.write("main.py", BARE.format(name="main"))
    empty.write("app.py", "print('nothing to do with it')\nraise SystemExit(5)\n")
    assert events(empty) == ["main.event"]


def test_two_apps_here_have_to_be_told_apart(empty: Project) -> None:
    """Neither is taken by chance."""
    empty.write("main.py", BARE.format(name="main"))
    empty.write("app.py", BARE.format(name="app"))
    ending = empty("listeners", "list")
    assert ending.code == 1
    assert "--app app:app or --app main:app" in ending.err


def test_a_module_with_several_apps_needs_a_name(empty: Project) -> None:
    """MODULE alone is enough only for one; the same app under two names is one."""
    empty.write("app.py", BARE.format(name="a") + 'other = App("b")\n')
    ending = empty("listeners", "list")
    assert ending.code == 1
    assert "--app app:app or --app app:other" in ending.err
    assert events(empty, "--app", "app:app") == ["a.event"]
    empty.write("app.py", BARE.format(name="a") + "same = app\n")
    assert events(empty) == ["a.event"]


def test_a_wrong_name_is_answered_with_the_nearest(several: Project) -> None:
    """Module, name, or a file where a module is meant."""
    error = several("listeners", "list", "--app", "by_opton", "--json").error
    assert error["did_you_mean"] == ["by_option"]
    error = several("listeners", "list", "--app", "by_option:ap", "--json").error
    assert error["did_you_mean"] == ["by_option:app"]
    ending = several("listeners", "list", "--app", "./by_option.py:app", "--json")
    assert ending.code == 2
    assert ending.error["did_you_mean"] == ["by_option:app"]


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import penstock\n1 / 0\n", "ZeroDivisionError: division by zero (app.py, line 2)"),
        ("import penstock\nif:\n", "SyntaxError: invalid syntax"),
        ("import penstock\nimport no_such_thing\n", "No module named 'no_such_thing' (app.py, line 2)"),
        ("import penstock\n", "no app was found"),
        ("import penstock\nraise SystemExit(7)\n", "SystemExit"),
    ],
)
def test_a_module_that_cannot_be_loaded_is_said_in_a_line(code: str, said: str, empty: Project) -> None:
    """What went wrong and where, without a traceback unless asked for."""
    empty.write("app.py", code)
    ending = empty("run")
    assert ending.code == 1
    assert said in ending.err
    assert "Traceback" not in ending.err


def test_the_settings_file_above_is_found_with_its_app(shop: Project) -> None:
    """In a folder below, the app that the settings name is loaded from beside them."""
    shop.write("penstock.toml", 'app = "app:app"\n')
    below = shop.folder / "docs"
    below.mkdir()
    shop.patch.chdir(below)
    assert events(shop) == ["order.placed"]


def test_the_settings_file_may_be_named(shop: Project) -> None:
    """--config goes before what would be found, also for the app that is loaded."""
    shop.write("other.toml", 'app = "app:app"\nsource = "elsewhere"\n')
    items = shop("-c", "other.toml", "config", "show", "--app", "app", "--json").document["items"]
    assert {"key": "source", "value": "elsewhere", "origin": "other.toml"} in [
        {**item, "origin": item["origin"].rpartition("/")[2]} for item in items
    ]


def test_listeners_of_the_settings_are_loaded_with_the_app(empty: Project) -> None:
    """An app may declare nothing itself."""
    empty.write("app.py", 'from penstock import App\napp = App("a")\n')
    empty.write("shop.py", SHOP)
    empty.write("penstock.toml", '[listeners]\n"order.placed" = ["shop:thank"]\n')
    assert "thank (group a, shop:thank)" in empty("listeners", "list", "--app", "app").out
