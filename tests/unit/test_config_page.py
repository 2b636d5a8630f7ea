"""docs/reference/settings.md against the code: no key, default or variable of one that the other does not know."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from penstock.config import load_settings
from penstock.config._schema import (
    ARCHIVE,
    CONSUMING,
    GROUP,
    POOL,
    PRODUCING,
    RETRY,
    ROOT,
    STORE,
    STREAM,
    Key,
    Section,
)
from tests.unit.setting_samples import around_projection

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "settings.md"
TABLES: dict[str, tuple[tuple[str, ...], Section]] = {
    "At the top": ((), ROOT),
    "`[pools.NAME]`": (("pools", "NAME"), POOL),
    "`[stream.NAME]`": (("stream", "NAME"), STREAM),
    "`[groups.NAME]`": (("groups", "NAME"), GROUP),
    "`[groups.NAME.retry]`": (("groups", "NAME", "retry"), RETRY),
    "`[archive]`": (("archive",), ARCHIVE),
    "`[stores.NAME]`": (("stores", "NAME"), STORE),
    "`[projections.consuming.NAME]`": (("projections", "consuming", "NAME"), CONSUMING),
    "`[projections.producing.NAME]`": (("projections", "producing", "NAME"), PRODUCING),
}


class Row(NamedTuple):
    """One row of a table of the page."""

    key: str
    default: str
    variable: str
    example: str
    meaning: str


def sections() -> Iterator[tuple[str, str]]:
    """Headings with what stands below them."""
    for part in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.M)[1:]:
        heading, _, text = part.partition("\n")
        yield heading, text


def rows(text: str) -> list[Row]:
    """The rows of the table of keys, if there is one."""
    lines = [line for line in text.splitlines() if line.startswith("| `")]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


def toml_value(cell: str) -> Any:
    """What a cell's code says."""
    return tomllib.loads(f"x = {cell.strip('`')}")["x"]


@pytest.mark.parametrize("heading", TABLES)
def test_the_page_lists_every_key(heading: str) -> None:
    """Each table has exactly the keys that are read there, in the order in which they are shown."""
    _, section = TABLES[heading]
    expected = [name for name, node in section.keys.items() if isinstance(node, Key)]
    assert [row.key.strip("`") for row in rows(dict(sections())[heading])] == expected


def test_the_page_has_a_section_for_every_table() -> None:
    """A table of settings that the code knows, and no other."""
    named = {re.sub(r"\W|NAME", "", heading) for heading, _ in sections() if heading.startswith("`[")}
    whole = {name for name, node in ROOT.keys.items() if not isinstance(node, Key)} - {"projections"}
    assert named == whole | {"groupsretry", "projectionsconsuming", "projectionsproducing"}


@pytest.mark.parametrize(
    ("heading", "row"),
    [(heading, row) for heading, text in sections() if heading in TABLES for row in rows(text)],
    ids=lambda value: value.key if isinstance(value, Row) else None,
)
def test_a_row_says_what_holds(heading: str, row: Row, tmp_path: Path) -> None:
    """The default is the code's, the variable sets this very key, the example is accepted, and there is a meaning."""
    path, section = TABLES[heading]
    key = section.keys[row.key.strip("`")]
    assert isinstance(key, Key)
    if key.default is not None or key.none is not None:
        assert key.reader(toml_value(row.default), False) == key.default
        assert key.none is None or toml_value(row.default) == key.none
    assert row.default
    assert row.meaning.endswith(".")
    assert row.variable.strip("`") == "PENSTOCK_" + "__".join((*path, row.key.strip("`"))).upper()
    example: Any = toml_value(row.example)
    key.reader(example, False)
    (tmp_path / ".git").mkdir()
    text = str(example).strip("[]").replace("'", "")
    around: dict[str, Any] = {"pools": {name: {"url": "redis://far"} for name in ("name", "mail")}}
    around["stores"] = {"name": {"url": "postgresql://far/events"}}
    if path[:1] == ("projections",):
        around = around_projection(".".join((*path[:-1], "name", row.key.strip("`"))))
    if row.key == "`routed_from`":
        around["stream"] = {"name": {"partitions": 2}}
    environ = {row.variable.strip("`"): text}
    if row.key != "`config`":
        origin = f"environment {row.variable.strip('`')}"
        assert origin in load_settings(start=tmp_path, environ=environ, code=around).origins.values()


def blocks(language: str) -> list[str]:
    """The page's blocks in *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.M | re.S)


@pytest.mark.parametrize(
    ("ending", "text"), [(ending, text) for ending in ("toml", "yaml") for text in blocks(ending)]
)
def test_the_examples_are_settings(ending: str, text: str, tmp_path: Path) -> None:
    """Every file on the page is read without a complaint, and everything in it takes effect."""
    path = tmp_path / f"penstock.{ending}"
    path.write_text(text)
    said = tomllib.loads(text) if ending == "toml" else yaml.safe_load(text)
    origins = load_settings(file=path, start=tmp_path, environ={}).origins
    assert sum(origin == path.name for origin in origins.values()) == len([*leaves(said)])


def leaves(said: Any) -> Iterator[object]:
    """Everything that is said below tables."""
    for value in said.values():
        yield from leaves(value) if isinstance(value, dict) else [value]


def test_the_variables_of_the_page_set_what_they_say(tmp_path: Path) -> None:
    """The exported variables, on top of the page's first file, each decide one value."""
    [text] = blocks("bash")
    environ = dict(re.findall(r"^export (\w+)=\"?([^\"\n]*)\"?$", text, flags=re.M))
    assert len(environ) == text.count("export")
    path = tmp_path / "penstock.toml"
    path.write_text(blocks("toml")[0])
    settings = load_settings(file=path, start=tmp_path, environ=environ)
    assert {f"environment {name}" for name in environ} == {
        origin for origin in settings.origins.values() if origin.startswith("environment")
    }
    assert settings.stream_settings.keys() == {"order.placed", "mail.sent"}
    assert settings.group_settings("billing")["retry"].attempts == 3
