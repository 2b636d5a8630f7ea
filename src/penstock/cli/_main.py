"""The entry point: the tree of commands, and the one place where an ending becomes an exit code."""

import inspect
import os
import re
import sys
import traceback
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer

from penstock.cli import (
    _archive,
    _config,
    _db,
    _demo,
    _emit,
    _failed,
    _failed_edit,
    _failed_log,
    _failed_parked,
    _groups,
    _groups_change,
    _groups_claim,
    _history,
    _housekeeping,
    _init,
    _listen,
    _listeners,
    _projections,
    _purge,
    _relays,
    _replays,
    _replays_aliases,
    _replays_at,
    _replays_diff,
    _replays_switching,
    _run,
    _scheduled,
    _server,
    _status,
    _store,
    _store_append,
    _store_moving,
    _streams,
    _streams_repartition,
)
from penstock.cli._beginning_again import AGAIN, begin_again, has_supervisor
from penstock.cli._commands import Noun, global_parameters, options_from
from penstock.cli._errors import DONE, explain, human_text
from penstock.cli._output import Output

__all__ = ["main"]

_ROOT = Noun("", "Services that talk through events, on Valkey and Redis Streams.")
_NOUNS = (
    _listeners.NOUN,
    _failed.NOUN,
    _archive.NOUN,
    _streams.NOUN,
    _groups.NOUN,
    _history.NOUN,
    _scheduled.NOUN,
    _store.NOUN,
    _projections.NOUN,
    _relays.NOUN,
    _replays.NOUN,
    _db.NOUN,
    _server.NOUN,
    _config.NOUN,
)
_MORE_VERBS = (
    _failed_edit,
    _failed_log,
    _failed_parked,
    _groups_change,
    _groups_claim,
    _purge,
    _replays_aliases,
    _replays_at,
    _replays_diff,
    _replays_switching,
    _store_append,
    _store_moving,
    _streams_repartition,
)
"""Verbs in modules of their own; importing them adds them to their noun."""
_OTHER_NAMES = {"replay": _replays.NOUN}
"""Hidden names of nouns."""
_VERBS = (_init, _run, _emit, _listen, _housekeeping, _status, _demo)


def _tree() -> typer.Typer:
    for module in _VERBS:
        module.add_to(_ROOT)
    _ROOT.typer.callback()(_root)
    for noun in (_ROOT, *_NOUNS):
        if noun is not _ROOT:
            _ROOT.typer.add_typer(noun.typer)
        for alias, run in noun.aliases:
            _ROOT.typer.command(alias, hidden=True)(run)
    for name, noun in _OTHER_NAMES.items():
        _ROOT.typer.add_typer(noun.typer, name=name, hidden=True)
    return _ROOT.typer


def _root(**given: Any) -> None:
    """Services that talk through events, on Valkey and Redis Streams."""
    del given["version"]
    given.pop("context").obj = options_from(given)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"penstock {version('penstock')}\n")
        raise typer.Exit


_VERSION = Annotated[
    bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version)
]
_root_parameters = [
    inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context),
    inspect.Parameter("version", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_VERSION),
    *global_parameters(),
]
vars(_root)["__signature__"] = inspect.Signature(_root_parameters)
_root.__annotations__ = {each.name: each.annotation for each in _root_parameters}

_COMMAND = typer.main.get_command(_tree())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and answer its exit code: 0 done, 1 refused, 2 usage, 3 partial failure, 130 interrupted."""
    _open_closed_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    is_alone = not has_supervisor()
    try:
        code = _COMMAND.main(words, prog_name="penstock", standalone_mode=False)
    except (Exception, KeyboardInterrupt) as failure:  # noqa: BLE001  the last one who can say something
        return _end(failure, words)
    if code == AGAIN and is_alone:
        begin_again()
    return code if isinstance(code, int) else DONE


def _open_closed_streams() -> None:
    """Where we were started with a closed standard stream, so that no file or socket of ours takes its number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115  as long as the process


def _end(failure: BaseException, words: Sequence[str]) -> int:
    report = explain(failure)
    out = Output(_command_of(words), json=_wants("--json", words))
    if _wants("--debug", words):
        traceback.print_exception(failure)
    if _is_help(failure):
        sys.stdout.write(report.message.rstrip() + "\n")
    elif out.json:
        out.error_document(report.as_document())
    else:
        out.error(human_text(report))
    return report.code


def _is_help(failure: BaseException) -> bool:
    """A noun without a verb: Typer has its help printed as if it were an error."""
    return type(failure).__name__ == "NoArgsIsHelpError"


def _wants(option: str, words: Sequence[str]) -> bool:
    return option in (words[: words.index("--")] if "--" in words else words)


def _command_of(words: Sequence[str]) -> str:
    """The command as far as it can be told from a line that may be wrong."""
    nouns = {noun.name for noun in _NOUNS} | _OTHER_NAMES.keys()
    named = [word for word in words if re.fullmatch(r"[a-z][a-z:-]*", word)]
    return " ".join(named[: 2 if named and named[0] in nouns else 1])
