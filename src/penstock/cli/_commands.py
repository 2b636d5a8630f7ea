"""How commands are declared: nouns with verbs, the global options on each, hidden names from other systems."""

import inspect
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer
from typer.core import TyperGroup

from penstock.cli._cli import Cli, Options, run_coroutine
from penstock.cli._errors import DONE, INTERRUPTED, Refusal, WrongUsage
from penstock.cli._near import nearest
from penstock.cli._output import Output, forget_stdout

__all__ = ["Noun", "global_parameters", "options_from"]

F = TypeVar("F", bound=Callable[..., Any])

_PANEL: Final = "Global options (before or after the command)"

_GLOBAL: Final[dict[str, tuple[Any, Any]]] = {
    "app": (
        Annotated[
            str | None,
            typer.Option("--app", "-a", metavar="MODULE[:NAME]", help="The app.", rich_help_panel=_PANEL),
        ],
        None,
    ),
    "config": (
        Annotated[
            Path | None,
            typer.Option("--config", "-c", metavar="FILE", help="The settings file.", rich_help_panel=_PANEL),
        ],
        None,
    ),
    "json": (
        Annotated[bool, typer.Option("--json", help="Answer in JSON.", rich_help_panel=_PANEL)],
        False,
    ),
    "debug": (
        Annotated[
            bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=_PANEL)
        ],
        False,
    ),
    "log_level": (
        Annotated[
            str | None,
            typer.Option(
                "--log-level",
                metavar="LEVEL",
                help="debug, info, warning, error or critical.",
                rich_help_panel=_PANEL,
            ),
        ],
        None,
    ),
}
_PREFIX: Final = "global_"


def global_parameters() -> list[inspect.Parameter]:
    """The parameters by which every command takes the global options."""
    return [
        inspect.Parameter(
            _PREFIX + name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
        )
        for name, (annotation, default) in _GLOBAL.items()
    ]


def options_from(given: dict[str, Any]) -> Options:
    """Take the global options out of what Typer gives to a command."""
    return Options(**{name: given.pop(_PREFIX + name) for name in _GLOBAL})


class _Group(TyperGroup):
    """A group of commands that answers a wrong name with the nearest."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that is named first. Raises `WrongUsage`."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            # Hidden names of other systems have a colon in them.
            known = [each for each in self.list_commands(ctx) if ":" not in each]
            raise WrongUsage(
                f"no such command {name!r}",
                remedy=f"`{ctx.command_path} --help` shows which there are",
                did_you_mean=nearest(name, known),
            )
        return super().resolve_command(ctx, args)


class Noun:
    """What the commands of one kind are about: ``penstock streams list``. The nameless one has the bare verbs."""

    def __init__(self, name: str, about: str) -> None:
        self.name = name
        self.typer = typer.Typer(
            name=name or None,
            help=about,
            cls=_Group,
            no_args_is_help=True,
            pretty_exceptions_enable=False,
            add_completion=not name,
            context_settings={"help_option_names": ["-h", "--help"]},
        )
        self.aliases: list[tuple[str, Callable[..., Any]]] = []

    def verb(self, name: str, *, aliases: Sequence[str] = (), fast: bool = False) -> Callable[[F], F]:
        """Declare a command: a function, maybe a coroutine function, of a `Cli` and its own options.

        Its docstring is its help; what it returns is the exit code, ``None`` for 0. *aliases* are hidden names for it
        that stand beside the nouns; *fast* ones run on uvloop if it is there.
        """

        def declare(function: F) -> F:
            command = f"{self.name} {name}".strip()
            run = _runner(function, command, fast=fast)
            self.typer.command(name)(run)
            self.aliases += [(alias, run) for alias in aliases]
            return function

        return declare

    def alias(self, name: str) -> Callable[[F], F]:
        """Declare a command that has only a hidden name beside the nouns; otherwise as `verb`."""

        def declare(function: F) -> F:
            self.aliases.append((name, _runner(function, name, fast=False)))
            return function

        return declare


def _runner(function: Callable[..., Any], command: str, *, fast: bool) -> Callable[..., int]:
    _, *own = inspect.signature(function).parameters.values()
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)

    def run(**given: Any) -> int:
        before: Options = given.pop("context").obj or Options()
        options = before.under(options_from(given))
        cli = Cli(options, Output(command, json=options.json))
        try:
            answer = function(cli, **given)
            if inspect.iscoroutine(answer):
                answer = run_coroutine(answer, fast=fast)
            sys.stdout.flush()
        except KeyboardInterrupt:
            # Typer would make an exit code of it, and say nothing.
            raise Refusal("interrupted", code=INTERRUPTED) from None
        except BrokenPipeError:
            forget_stdout()
            return DONE
        return int(answer or DONE)

    parameters = [
        context,
        *(each.replace(kind=inspect.Parameter.KEYWORD_ONLY) for each in own),
        *global_parameters(),
    ]
    # Typer learns a command's options from its signature; this is the function's own with the global options added.
    vars(run)["__signature__"] = inspect.Signature(parameters, return_annotation=int)
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    run.__doc__ = function.__doc__
    run.__name__ = function.__name__
    return run
