"""What `replays create` asks for in a terminal when it is not said: a key, and which projections."""

import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from penstock.cli._cli import Cli
from penstock.cli._errors import Refusal, WrongUsage
from penstock.cli._near import nearest

__all__ = ["ask_for_key", "ask_for_projections", "parse_choice"]


def ask_for_key(cli: Cli) -> str:
    """A key that somebody types. Raises `WrongUsage` where nobody can."""
    if not _is_somebody_here(cli):
        raise WrongUsage(
            "nothing says the key of the replay", remedy="type `penstock replays create KEY PROJECTION...`"
        )
    return str(typer.prompt("Key of the replay", err=True)).strip()


def ask_for_projections(cli: Cli, known: Mapping[str, Any]) -> list[str]:
    """One or several projections that somebody chooses. Raises `WrongUsage` where nobody can, or `Refusal`."""
    if not _is_somebody_here(cli):
        raise WrongUsage(
            "nothing says which projections are replayed",
            remedy=f"name one or several: {', '.join(sorted(known)) or 'the app declares none'}",
        )
    if not known:
        raise Refusal("the app declares no projections", remedy="declare one by app.projection(...)")
    names = sorted(known)
    cli.out.note("Projections:", style="")
    for number, name in enumerate(names, start=1):
        cli.out.note(f"  {number}  {name} (version {known[name].version})", style="")
    while True:
        text = str(typer.prompt("Which ones? Numbers or names, with commas between them", err=True))
        chosen, wrong = parse_choice(text, names)
        for each in wrong:
            meant = nearest(each, names)
            cli.out.note(
                f"There is no projection {each!r}{f'; did you mean {meant[0]!r}?' if meant else ''}",
                style="yellow",
            )
        if chosen and not wrong:
            return chosen


def parse_choice(text: str, names: Sequence[str]) -> tuple[list[str], list[str]]:
    """What is chosen out of *names* by numbers from 1 on or by name, each once; and what is neither."""
    chosen: list[str] = []
    wrong: list[str] = []
    for word in filter(None, re.split(r"[,\s]+", text)):
        name = word if word in names else _numbered(word, names)
        if name is None:
            wrong.append(word)
        elif name not in chosen:
            chosen.append(name)
    return chosen, wrong


def _numbered(word: str, names: Sequence[str]) -> str | None:
    # isdecimal() is also true of digits of other scripts, which int() reads as well.
    number = int(word) if word.isdecimal() else 0
    return names[number - 1] if 0 < number <= len(names) else None


def _is_somebody_here(cli: Cli) -> bool:
    return not cli.out.json and sys.stdin.isatty()
