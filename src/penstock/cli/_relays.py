"""``penstock relays``: from store to store, from store to stream, from stream to store."""

from typing import Final

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._person import Why
from penstock.cli._projections import All, Name, Names, Wait
from penstock.cli._projections_common import list_all, retry_failed, show_one, start_some, stop_some
from penstock.clock import parse_duration

__all__ = ["NOUN"]

NOUN: Final = Noun("relays", "Relays: how far they are, and having them run or stop.")


@NOUN.verb("list")
async def list_relays(cli: Cli) -> int:
    """List relays: state, position, lag, who runs them, and the error of those that failed."""
    return await list_all(cli, "relay")


@NOUN.verb("show")
async def show_relay(cli: Cli, name: Name) -> None:
    """Show one relay with its error and the events that it could not hand on."""
    await show_one(cli, name, "relay")


@NOUN.verb("start", aliases=("projector:producing:start",))
async def start_relays(cli: Cli, names: Names = None, everything: All = False, why: Why = None) -> int:
    """Have relays run again that were stopped; `penstock run` runs them."""
    return await start_some(cli, names or [], "relay", everything=everything, why=why)


@NOUN.verb("stop", aliases=("projector:producing:stop",))
async def stop_relays(
    cli: Cli, names: Names = None, everything: All = False, wait: Wait = "10s", why: Why = None
) -> int:
    """Have relays stop between two events, wherever they run, until they are started again."""
    return await stop_some(
        cli, names or [], "relay", everything=everything, wait=parse_duration(wait), why=why
    )


@NOUN.alias("projector:all:producing:stop")
async def stop_all_relays(cli: Cli, wait: Wait = "10s") -> int:
    """Have every relay stop."""
    return await stop_some(cli, [], "relay", everything=True, wait=parse_duration(wait))


@NOUN.verb("retry")
async def retry_relays(cli: Cli, names: Names = None, why: Why = None) -> int:
    """Have failed relays go on at once, all of them unless named. It never asks."""
    return await retry_failed(cli, names or [], "relay", why=why)
