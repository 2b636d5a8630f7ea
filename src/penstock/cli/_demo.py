"""``penstock demo``: a year of real flights through a real server."""

from typing import Annotated

import typer

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun

__all__ = ["add_to"]


def add_to(root: Noun) -> None:
    """Add the command."""
    root.verb("demo")(demo)


def demo(
    cli: Cli,
    flights: Annotated[
        int | None,
        typer.Option("--flights", metavar="N", min=1, help="Only the first N flights.  [default: all]"),
    ] = None,
    stay: Annotated[
        bool, typer.Option("--stay", help="Keep server and workers going afterwards, until Ctrl-C.")
    ] = False,
    store: Annotated[
        str, typer.Option("--store", metavar="URL", help="The database of the event store.")
    ] = "sqlite:///ledger.db",
    shared_store: Annotated[
        str,
        typer.Option("--shared-store", metavar="URL", help="The database of the store shared with others."),
    ] = "sqlite:///shared.db",
) -> int:
    """Play flights through a server: two groups of workers, failures, a mended listener, a worker that is killed."""
    # The package is loaded only here: it brings a table of its own.
    from penstock.demo import main

    return main(flights=flights, stay=stay, store=store, shared=shared_store) or 0
