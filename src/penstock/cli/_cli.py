"""What every command has: the global options, an output, and its way to settings, app and operations."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import typer

from penstock.app import App
from penstock.cli._errors import Refusal
from penstock.cli._finding import find_app
from penstock.cli._logs import set_up_logs
from penstock.cli._output import Output
from penstock.config import Settings, load_settings
from penstock.operations import Operations

__all__ = ["Cli", "Options", "run_coroutine"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """What may be said before and after every command."""

    app: str | None = None
    config: Path | None = None
    json: bool = False
    debug: bool = False
    log_level: str | None = None

    def under(self, later: "Options") -> "Options":
        """These, where the later ones say nothing."""
        return Options(
            app=later.app if later.app is not None else self.app,
            config=later.config if later.config is not None else self.config,
            json=later.json or self.json,
            debug=later.debug or self.debug,
            log_level=later.log_level if later.log_level is not None else self.log_level,
        )

    def as_arguments(self) -> list[str]:
        """How they are written on a command line."""
        words: list[str] = []
        for option, value in (
            ("--app", self.app),
            ("--config", self.config),
            ("--log-level", self.log_level),
        ):
            words += [option, str(value)] if value is not None else []
        return [*words, *(["--json"] if self.json else []), *(["--debug"] if self.debug else [])]


@dataclass
class Cli:
    """One command at work."""

    options: Options
    out: Output

    def with_app(self, named: str | None) -> "Cli":
        """The same, with the app that the command itself was given."""
        return self if named is None else replace(self, options=replace(self.options, app=named))

    # -- settings and app ---------------------------------------------------------------------------------------

    def settings(self) -> Settings:
        """The settings without the app's code. Raises `InvalidSettingsError`."""
        return load_settings(file=self.options.config, overrides=self._overrides())

    def _overrides(self) -> dict[str, object]:
        return {"log_level": self.options.log_level} if self.options.log_level is not None else {}

    def find_app(self) -> App | None:
        """The user's app, loaded; ``None`` if there is none. Raises `Refusal`."""
        settings = self.settings()
        folder = settings.file.parent if settings.file is not None else None
        app = find_app(self.options.app or settings.app, folder=Path.cwd(), settings_folder=folder)
        if app is not None:
            app.configure(file=self.options.config, **self._overrides())
        return app

    def app(self) -> App:
        """The user's app, loaded. Raises `Refusal`."""
        found = self.find_app()
        if found is None:
            raise Refusal(
                "no app was found: neither app.py nor main.py is here, or neither declares one",
                remedy="name it with --app MODULE[:NAME] or PENSTOCK_APP, or begin with `penstock init`",
            )
        return found

    def tool_app(self) -> App:
        """What commands that only look work with: the settings, and code only where --app names it."""
        return self.app() if self.options.app is not None else App.of_settings(self.settings())

    def logs(self, app: App | None = None, *, shows_failures: bool = False) -> None:
        """Set up logging for a command that runs for a while; see `set_up_logs`."""
        level = app.settings.log_level if app is not None else self.settings().log_level
        set_up_logs(level, shows_failures=shows_failures)

    # -- operations ---------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def operations(self, app: App | None = None, *, waits: bool = False) -> AsyncIterator[Operations]:
        """Operations on *app*, else for looking: an embedded server that was never used is not started for that.

        It is for a command that *waits* for what will come.
        """
        chosen = self.tool_app() if app is None else app
        server = chosen.settings.data_folder / "server.json"  # the folder may be there for an event store
        unused = app is None and not waits and chosen.is_embedded and not server.exists()
        try:
            yield Operations(chosen, connect=not unused)
        finally:
            await chosen.close()

    # -- asking -------------------------------------------------------------------------------------------------

    def confirm(self, question: str, *, yes: bool, affects: int) -> None:
        """Go on only if a person says so, or said --yes; so many things are affected. Raises `Refusal`."""
        if yes:
            return
        if self.out.json or not sys.stdin.isatty():
            raise Refusal(
                "nothing was done: nobody is here to be asked",
                remedy="say --yes if you mean it",
                affects=affects,
            )
        if not typer.confirm(question, default=False, err=True):
            raise Refusal("nothing was done", affects=affects)


def run_coroutine(coroutine: Coroutine[Any, Any, T], *, fast: bool = False) -> T:
    """Run a command's coroutine to its end; *fast* ones on uvloop, where it is installed."""
    with asyncio.Runner(loop_factory=_fast_loop() if fast else None) as runner:
        return runner.run(coroutine)


def _fast_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
