"""Replays under the names that zero-downtime-event-replays has for their steps: hidden commands beside the nouns."""

from typing import Annotated

import typer

from penstock.cli._cli import Cli
from penstock.cli._replays import NOUN, Key, create_replay, follow_replay, start_replay
from penstock.cli._replays_switching import promote_replay, remove_replay

__all__ = ["create", "delete", "enable_projections", "put_live", "replay"]

_Force = Annotated[bool, typer.Option("--force", help="Do not ask.")]


@NOUN.alias("replay-manager:create")
async def create(
    cli: Cli,
    key: Annotated[str | None, typer.Argument(metavar="KEY", help="A new key.")] = None,
    projector: Annotated[
        list[str] | None, typer.Argument(metavar="PROJECTOR...", help="One or several projections.")
    ] = None,
) -> None:
    """Make an empty copy of read models: `penstock replays create`."""
    await create_replay(cli, key, projector)


@NOUN.alias("replay-manager:replay")
async def replay(
    cli: Cli,
    key: Key,
    restart: Annotated[bool, typer.Option("--restart", help="Empty the copy first.")] = False,
) -> int:
    """Play history to the copy: `penstock replays start`."""
    return await start_replay(cli, key, from_zero=restart, yes=True)


@NOUN.alias("replay-manager:enable-projections")
async def enable_projections(cli: Cli, key: Key) -> int:
    """Have the copy fed, caught up first: `penstock replays follow`."""
    return await follow_replay(cli, key)


@NOUN.alias("replay-manager:put-live")
async def put_live(cli: Cli, key: Key, force: _Force = False) -> int:
    """Make the copy live: `penstock replays promote`. `--force` asks nobody; it overrides no refusal."""
    return await promote_replay(cli, key, yes=force)


@NOUN.alias("replay-manager:delete")
async def delete(cli: Cli, key: Key, force: _Force = False) -> int:
    """Drop the copy and the record: `penstock replays remove`."""
    return await remove_replay(cli, key, yes=force)
