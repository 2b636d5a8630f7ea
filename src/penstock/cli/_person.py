"""Who types a command, and why: what is noted of commands that change failed messages."""

import getpass
import os
from typing import Annotated

import typer

__all__ = ["Why", "login_name"]

Why = Annotated[
    str | None, typer.Option("--why", metavar="TEXT", help="The reason, for `penstock failed log`.")
]
"""The option of commands that can be asked for a reason later."""


def login_name() -> str:
    """The name under which somebody is logged in; where there is none, the number."""
    try:
        return getpass.getuser()
    except (ImportError, KeyError, OSError):
        return f"uid {os.getuid()}"
