"""A server of streams for every test that is about something else."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from penstock.streams.embedded import use_server


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An embedded server, shared by the tests of this process: each has a namespace of its own there."""
    with use_server(tmp_path_factory.mktemp("server"), linger=timedelta(0)) as server:
        yield server.url
