"""Two sides of either kind."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.replays.verifying.sides import FileSides, SchemaSides, Sides


@pytest.fixture(params=["sqlite", "postgresql"])
def sides(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Sides]:
    """Empty ones."""
    found: FileSides | SchemaSides
    if request.param == "sqlite":
        found = FileSides(tmp_path)
    else:
        found = SchemaSides(request.getfixturevalue("postgres_database"))
        found.clear()
    yield found
    found.close()


@pytest.fixture
def file_sides(tmp_path: Path) -> Iterator[FileSides]:
    """Two empty SQLite files."""
    found = FileSides(tmp_path)
    yield found
    found.close()
