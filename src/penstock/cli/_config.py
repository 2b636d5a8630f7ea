"""``penstock config``: what is set, by whom, and whether it can work."""

from pathlib import Path
from typing import Final

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._output import Column
from penstock.cli._plain import json_text
from penstock.errors import InvalidSettingsError
from penstock.operations import Operations

__all__ = ["NOUN"]

NOUN: Final = Noun("config", "Settings: what is in force, and where it came from.")


@NOUN.verb("show")
async def show_config(cli: Cli) -> None:
    """Show every setting in force with its origin; passwords are masked. Settings in code count with --app."""
    app = cli.tool_app()
    found = await Operations(app, connect=False).settings()
    if cli.out.json:
        file = app.settings.file
        items = [{"key": each.key, "value": each.value, "origin": each.origin} for each in found]
        cli.out.document(items=items, file=file)
        return
    cli.out.table(
        [Column("Setting", narrow=False), Column("Value", narrow=False), Column("From", narrow=False)],
        [[each.key, _value(each.value), _origin(each.origin)] for each in found],
    )


@NOUN.verb("check")
async def check_config(cli: Cli) -> None:
    """Check the settings; everything that is wrong is named at once, with exit code 1. With --app code counts, too."""
    app = cli.tool_app()
    try:
        await Operations(app, connect=False).check_settings()
    except InvalidSettingsError:
        if cli.options.app is None and app.settings.relays:
            cli.out.note("What code says of relays counts with --app MODULE")
        raise
    settings = app.settings
    if cli.out.json:
        cli.out.document(valid=True, file=settings.file)
    where = f"{settings.file} and the environment" if settings.file is not None else "the environment"
    cli.out.say(f"The settings in {where} are good")


def _value(value: object) -> str:
    return value if isinstance(value, str) else "-" if value is None else json_text(value)


def _origin(origin: str) -> str:
    path = Path(origin)
    return path.name if path.is_absolute() else origin
