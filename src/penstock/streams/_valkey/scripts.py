"""The Lua scripts, each from a file of its own, with the digest by which the server knows it.

A line ``-- include NAME`` in a script stands for the text of ``NAME.lua`` in the folder ``shared``.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["Script", "script", "script_of"]

_BY_DIGEST: dict[bytes, "Script"] = {}


@dataclass(frozen=True, slots=True)
class Script:
    """One effect on the server: its name, its text, and the digest of the text."""

    name: str
    text: bytes
    digest: bytes


@cache
def script(name: str) -> Script:
    """The script in ``lua/NAME.lua``."""
    text = _read(f"{name}.lua")
    text = re.sub(r"^-- include (\w+)$", lambda match: _read("shared", f"{match[1]}.lua"), text, flags=re.M)
    raw = text.encode()
    found = Script(name, raw, hashlib.sha1(raw, usedforsecurity=False).hexdigest().encode())
    _BY_DIGEST[found.digest] = found
    return found


def script_of(digest: bytes) -> Script | None:
    """The script with this digest, if it is one of those that were used."""
    return _BY_DIGEST.get(digest)


def _read(*path: str) -> str:
    return files("penstock.streams._valkey").joinpath("lua", *path).read_text("utf-8")
