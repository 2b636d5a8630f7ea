"""``penstock init``: a first program, and settings to go with it."""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import Refusal

__all__ = ["add_to"]

_APP: Final = '''\
"""A first Penstock app. Start it with `penstock run`."""

from penstock import App, Event

app = App("{name}")


class OrderPlaced(Event, name="order.placed", key="order_id"):
    order_id: str
    total_cents: int


@app.listener(OrderPlaced)
async def announce(order: OrderPlaced) -> None:
    print(f"order {{order.order_id}}: {{order.total_cents / 100:.2f}}", flush=True)
'''
_SETTINGS: Final = """\
# Settings of Penstock. `penstock config show` prints every value in force and where it came from.
app = "app:app"

# Streams are kept by a server of our own in .penstock, until a URL says otherwise:
# streams = "redis://localhost:6379"
"""
_IGNORED: Final = ".penstock/"
_TRY: Final = """penstock emit order.placed '{"order_id": "1", "total_cents": 500}'"""


def add_to(root: Noun) -> None:
    """Add the command."""
    root.verb("init")(init)


def init(
    cli: Cli,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where; made if it is missing.")] = Path(),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be written, and write nothing.")
    ] = False,
) -> None:
    """Write a first app and its settings: app.py, penstock.toml, and a line in .gitignore. Overwrites nothing."""
    name = re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "shop"
    files = {folder / "app.py": _APP.format(name=name), folder / "penstock.toml": _SETTINGS}
    there = [file.name for file in files if file.exists()]
    if there:
        raise Refusal(
            f"{' and '.join(there)} in {folder.resolve()} would be overwritten",
            remedy="choose another folder, or move them away",
            files=there,
        )
    ignore = folder / ".gitignore"
    try:
        written = [str(file) for file in files] + ([str(ignore)] if _needs_line(ignore) else [])
        if not dry_run:
            folder.mkdir(parents=True, exist_ok=True)
            for file, text in files.items():
                with file.open("x", encoding="utf-8") as opened:
                    opened.write(text)
            _ignore_data(ignore)
    except OSError as failure:
        raise Refusal(f"{folder} cannot be written: {failure.strerror or failure}") from failure
    if cli.out.json:
        cli.out.document(items=written, app=name, dry_run=dry_run)
        return
    cli.out.say(f"{'Would write' if dry_run else 'Wrote'} {', '.join(written)}")
    if not dry_run:
        cli.out.say()
        cli.out.say("Start it, and give it something to do from a second terminal:")
        if folder.resolve() != Path.cwd():
            cli.out.say(f"  cd {folder}", style="bold")
        cli.out.say("  penstock run", style="bold")
        cli.out.say(f"  {_TRY}", style="bold")


def _needs_line(ignore: Path) -> bool:
    if not ignore.exists():
        return True
    lines = {line.strip().strip("/") for line in ignore.read_text(encoding="utf-8").splitlines()}
    return _IGNORED.strip("/") not in lines


def _ignore_data(ignore: Path) -> None:
    if not _needs_line(ignore):
        return
    text = ignore.read_text(encoding="utf-8") if ignore.exists() else ""
    separator = "" if not text or text.endswith("\n") else "\n"
    with ignore.open("a", encoding="utf-8") as opened:
        opened.write(f"{separator}{_IGNORED}\n")
