"""What the tests of the embedded server share: data folders that leave nothing running, and helper processes."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from penstock.streams.embedded import find_binary, stop_server
from tests.embedded.helpers import ROOT, Companion, Starter, processes_naming, wait_until


@pytest.fixture
def data_folder(tmp_path: Path) -> Iterator[Path]:
    """A data folder to be; after the test nothing runs any more that was started for it, or the test has failed."""
    folder = tmp_path / "data"
    yield folder
    stop_server(folder)
    wait_until(lambda: not processes_naming(str(tmp_path)), "everything that was started for the folder ends")


@pytest.fixture
def companion(data_folder: Path) -> Iterator[Starter]:
    """Starts other processes that use a server when they are told to; all end with the test."""
    with ExitStack() as stack:

        def start(
            folder: Path = data_folder, *, linger_s: float = 0, durability: str = "everysec"
        ) -> Companion:
            command = [
                sys.executable,
                "-m",
                "tests.embedded.companion",
                str(folder),
                str(linger_s),
                durability,
            ]
            environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ)
            stack.callback(process.wait, 10)
            stack.callback(process.kill)
            stack.enter_context(process.stdin or pytest.fail("no pipe"))
            stack.enter_context(process.stdout or pytest.fail("no pipe"))
            return Companion(process)

        yield start


@pytest.fixture
def wrapped_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Puts a shell script around the real server, which may do something first and add arguments at the end."""
    binary = find_binary().path

    def wrap(first: str, arguments: str) -> Path:
        script = tmp_path / "server-with-a-twist"
        script.write_text(f'#!/bin/sh\n{first}\nexec {binary} "$@" {arguments}\n', encoding="utf-8")
        script.chmod(0o700)
        monkeypatch.setenv("PENSTOCK_SERVER", str(script))
        return script

    return wrap
