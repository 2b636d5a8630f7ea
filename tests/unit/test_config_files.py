"""Settings files: which one is found, what its ending means, and what a broken one is told."""

import sys
from pathlib import Path
from typing import Any

import pytest

from penstock.config import Settings, StoreSettings, load_settings
from penstock.errors import InvalidSettingsError, MissingExtraError


def load(start: Path, **said: Any) -> Settings:
    """Settings as found from *start*, without an environment."""
    said.setdefault("environ", {})
    return load_settings(start=start, **said)


def refused(start: Path, **said: Any) -> str:
    """The one problem with the settings found from *start*."""
    with pytest.raises(InvalidSettingsError) as caught:
        load(start, **said)
    [problem] = caught.value.problems
    return problem


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder that ends the search."""
    (tmp_path / ".git").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("penstock.toml", 'namespace = "found"'),
        ("pyproject.toml", '[project]\nname = "shop"\n[tool.penstock]\nnamespace = "found"'),
        ("penstock.yaml", "namespace: found"),
        ("penstock.yml", "namespace: found"),
    ],
)
@pytest.mark.covers("CONF-5")
def test_a_file_is_found_upward_from_the_start(name: str, text: str, home: Path) -> None:
    """Each kind of file holds for the folders below it, and the data folder is beside it, wherever one starts."""
    (home / name).write_text(text)
    start = home / "services" / "billing"
    start.mkdir(parents=True)
    settings = load(start)
    assert (settings.namespace, settings.file) == ("found", home / name)
    assert settings.data_folder == home / ".penstock"
    assert settings.origins["namespace"] == name
    (start / "app.py").touch()
    assert load(start / "app.py") == settings


def test_the_nearest_file_is_the_only_one_read(home: Path) -> None:
    """A file in a folder below stands alone: nothing of one further up shines through."""
    (home / "penstock.toml").write_text('namespace = "above"\nstrict = true')
    inner = home / "inner"
    inner.mkdir()
    (inner / "penstock.toml").write_text('namespace = "below"')
    assert (load(inner).namespace, load(inner).strict) == ("below", False)


def test_the_search_ends_at_the_folder_of_the_repository(home: Path) -> None:
    """A file outside of the repository is somebody else's."""
    (home / "penstock.toml").write_text('namespace = "outside"')
    (home / "inner" / ".git").mkdir(parents=True)
    assert load(home / "inner").file is None
    assert load(home / "inner").data_folder == home / "inner" / ".penstock"


def test_a_folder_that_everyone_may_write_to_is_not_searched(home: Path) -> None:
    """Settings name code to load, so a file that a stranger could have left in a folder above is not taken."""
    shared = home / "shared"
    (shared / "mine").mkdir(parents=True)
    (shared / "penstock.toml").write_text('namespace = "of-a-stranger"')
    shared.chmod(0o1777)
    assert load(shared / "mine").file is None
    assert load(shared).namespace == "of-a-stranger", "here it was asked for"


def test_a_pyproject_without_our_table_is_passed_by(home: Path) -> None:
    """Every package has one; it counts only if it speaks of penstock, and then even a broken one counts."""
    (home / "penstock.toml").write_text('namespace = "above"')
    inner = home / "inner"
    inner.mkdir()
    for text in (
        '[project]\nname = "x"',
        '[project]\ndependencies = ["penstock"]',
        "broken = [",
        'n = "\xe9"',
    ):
        (inner / "pyproject.toml").write_text(text, encoding="latin-1")
        assert load(inner).namespace == "above"
    (inner / "pyproject.toml").write_text("[tool.penstock]\nbroken = [")
    assert f"{inner / 'pyproject.toml'}: it is not TOML" in refused(inner)


def test_two_files_in_one_folder_are_refused(home: Path) -> None:
    """Either could be meant; taking one in silence would hide the other."""
    (home / "penstock.toml").touch()
    (home / "penstock.yaml").touch()
    (home / "pyproject.toml").write_text("[tool.penstock]")
    problem = refused(home)
    assert problem.startswith(
        f"{home} has more than one settings file: penstock.toml, penstock.yaml, pyproject.toml;"
    )


def test_without_a_file_defaults_hold(home: Path) -> None:
    """No file is needed; data then lies where one started."""
    settings = load(home)
    local = {"local": StoreSettings("local")}
    assert settings == Settings(data_folder=home / ".penstock", stores=local, origins=settings.origins)
    assert set(settings.origins.values()) == {"default"}
    assert settings.data_folder.is_absolute()


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("a.toml", b"x = \n", "it is not TOML: Invalid value (at line 1, column 5)"),
        (
            "a.toml",
            b'[pools]\n[pools]\nx = "',
            "it is not TOML: Cannot declare ('pools',) twice (at line 2, column 7)",
        ),
        ("a.toml", b"namespace = '\xff'", "it is not UTF-8 (byte 13)"),
        ("a.toml", b"x = " + b"[" * 5000, "it cannot be read as TOML"),
        ("a.toml", b"x = " + b"9" * 5000, "it cannot be read as TOML"),
        ("a.yaml", b"a: [1,", "it is not YAML: "),
        ("a.yaml", b"a: b\n  c: d", "(at line 2, column 4)"),
        ("a.yaml", b"a: !!python/object:os.system x", "could not determine a constructor"),
        ("a.yaml", b'a: !!int ""', "it cannot be read as YAML"),
        ("a.yaml", b"a: 2026-13-45", "it cannot be read as YAML"),
        ("a.yaml", b"a: " + b"[" * 5000, "it cannot be read as YAML"),
        ("a.yaml", b"a: \x07", "it cannot be read as YAML"),
        ("a.yaml", b"- a\n- b", "it holds no settings by name"),
        ("a.yaml", b"strict: true\nstrict: false", "a.yaml, line 2: strict is set twice; keep one"),
        ("a.ini", b"", "its name has no ending known here"),
        ("pyproject.toml", b"[project]", "it has no [tool.penstock]"),
        ("pyproject.toml", b"[tool]\npenstock = 5", "tool.penstock is no table"),
    ],
)
def test_a_broken_file_is_named_with_the_place(name: str, content: bytes, complaint: str, home: Path) -> None:
    """What cannot be read is said with file, line and column where there are any, not as a bare parser's error."""
    path = home / name
    path.write_bytes(content)
    problem = refused(home, file=path)
    assert problem.startswith(str(path))
    assert complaint in problem


def test_a_file_that_is_not_there_is_named(home: Path) -> None:
    """A file that somebody names has to exist; that goes for a folder in its place, too."""
    assert f"{home / 'no.toml'}: it cannot be read: No such file" in refused(home, file="no.toml")
    assert "it cannot be read: " in refused(home, environ={"PENSTOCK_CONFIG": str(home)})
    assert "it cannot be read" in refused(home, code={"config": "x" * 5000 + ".toml"})


def test_a_broken_file_hides_no_other_mistake(home: Path) -> None:
    """The mistakes of other sources are told together with it."""
    (home / "penstock.toml").write_text("x = ")
    with pytest.raises(InvalidSettingsError) as caught:
        load(home, environ={"PENSTOCK_STRICT": "perhaps"})
    assert len(caught.value.problems) == 2


def test_a_file_may_begin_with_a_byte_order_mark(home: Path) -> None:
    """Some editors put one there."""
    (home / "penstock.toml").write_bytes(b'\xef\xbb\xbfnamespace = "found"')
    assert load(home).namespace == "found"


def test_yaml_without_pyyaml_names_the_extra(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is there, and only the package to read it is missing: the error says how to get it."""
    (home / "penstock.yaml").write_text("strict: true")
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(MissingExtraError, match=r"penstock\[yaml\]") as caught:
        load(home)
    assert str(home / "penstock.yaml") in str(caught.value)


def test_yaml_says_what_toml_says(home: Path) -> None:
    """The same tables, nested: the settings are the same, and so are the lines in messages."""
    toml, yaml = home / "a.toml", home / "a.yaml"
    toml.write_text(
        'strict = true\n[stream."order.placed"]\nmax_age = "5 days"\n[groups.billing]\nstart = 2026-01-31T12:00:00Z\n'
        'streams = ["order.placed"]\n[listeners]\n"order.placed" = [{ handler = "shop:charge", group = "billing" }]'
    )
    yaml.write_text(
        "strict: true\nstream:\n  order.placed:\n    max_age: 5 days\ngroups:\n  billing:\n"
        "    start: 2026-01-31T12:00:00Z\n    streams: [order.placed]\n"
        "listeners:\n  order.placed:\n  - {handler: 'shop:charge', group: billing}"
    )
    one, other = load(home, file=toml), load(home, file=yaml)
    assert one.stream_settings == other.stream_settings
    assert one.group_settings("billing") == other.group_settings("billing")
    assert one.listeners == other.listeners
    assert one.strict is other.strict is True


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.toml", '\n[pools.far]\n\nurl = "x"\n', 4),
        ("a.toml", '[pools]\nfar.url = "x"', 2),
        ("a.toml", '[pools]\nfar = { url = "x" }', 2),
        ("a.toml", '# pools.far.url = "y"\npools."far".url = "x"', 2),
        ("a.toml", "[pools.'far'] # far\n'url' = 'x'", 2),
        ("a.toml", 'app = "a"\n[groups.g]\nstreams = [\n  "a",\n  "b",\n]\n[pools.far]\nurl = "x"', 8),
        ("a.toml", 'source = """\n[no table\n"\\t": = 5\n\u2028"""\n[pools.far]\nurl = "x"', 6),
        ("pyproject.toml", '[pools.far]\nurl = "x"\n[tool.penstock.pools.far]\nurl = "x"', 4),
        ("a.yaml", "\npools:\n  far:\n    # it is\n    url: x", 5),
        ("a.yaml", "pools: {far: {url: x}}", 1),
        ("a.yaml", "pools:\n  far: &far\n    url: x\n    namespace: a", 3),
    ],
)
def test_a_mistake_is_told_with_its_line(name: str, text: str, line: int, home: Path) -> None:
    """The message leads to the line of the key, or of the table that holds it."""
    path = home / name
    path.write_text(text, encoding="utf-8")
    assert refused(home, file=path).startswith(f"{path}, line {line}: pools.far.url: 'x' is no URL")


def test_aliases_of_yaml_that_lead_into_themselves_end(home: Path) -> None:
    """A table that holds itself, or that aliases multiply without end, is read in no time and told off."""
    layers = "\n".join(
        f"l{n + 1}: &l{n + 1} {{{', '.join(f'k{i}: *l{n}' for i in range(9))}}}" for n in range(12)
    )
    path = home / "a.yaml"
    for text in ("groups: &g\n  billing: *g\n", f"l0: &l0 {{a: b}}\n{layers}"):
        path.write_text(text)
        with pytest.raises(InvalidSettingsError, match="there is no such setting"):
            load(home, file=path)


def test_a_folder_to_start_from_that_is_gone_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process whose current folder was removed can still name another one."""
    gone = home / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(InvalidSettingsError, match="the folder to start from cannot be used"):
        load_settings(environ={})
    assert load(home).file is None


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"code": {"data_folder": Path("d")}}, "start/d"),
        ({"overrides": {"data_folder": "d"}}, "start/d"),
        ({"environ": {"PENSTOCK_DATA_FOLDER": "../d"}}, "d"),
        ({"environ": {"PENSTOCK_DATA_FOLDER": "~/d", "HOME": "/home/ann"}}, "/home/ann/d"),
        ({"environ": {"HOME": "/home/ann"}, "code": {"data_folder": "~"}}, "/home/ann"),
        ({"file": "../sub/a.toml"}, "sub/d"),
    ],
)
def test_the_data_folder_is_absolute(said: dict[str, Any], expected: str, home: Path) -> None:
    """Relative to the file that names it, else to where one started; ``~`` as the environment has it."""
    (home / "start").mkdir()
    (home / "sub").mkdir()
    (home / "sub" / "a.toml").write_text('data_folder = "d"')
    assert load(home / "start", **said).data_folder == home / expected


def test_a_folder_to_start_from_need_not_exist(home: Path) -> None:
    """What is not there has no settings file, and its parents are nobody's."""
    settings = load(home / "not" / "there")
    assert (settings.file, settings.data_folder) == (None, home / "not" / "there" / ".penstock")


def test_the_search_may_reach_the_root(tmp_path: Path) -> None:
    """Above it there is nothing to look at."""
    assert load(Path(tmp_path.root)).file is None


def test_a_home_that_nobody_knows_is_told(home: Path) -> None:
    """Without HOME there is no telling where ``~`` is."""
    assert refused(home, code={"data_folder": "~/d"}).startswith("code: data_folder: nobody says where ~ is")
