"""``penstock server``: the embedded server of the data folder."""

from typing import Final

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._options import DryRun, Yes
from penstock.cli._output import ago
from penstock.cli._plain import plain
from penstock.operations import Operations, ServerStatus

__all__ = ["NOUN"]

NOUN: Final = Noun("server", "The embedded server: one of our own, in the data folder.")


@NOUN.verb("status")
async def server_status(cli: Cli) -> None:
    """Show how the embedded server is. It is not started by looking."""
    _show(cli, await Operations(cli.tool_app(), connect=False).server_status())


@NOUN.verb("start")
async def server_start(cli: Cli) -> None:
    """Have the embedded server run until it is stopped, without users too."""
    _show(cli, await Operations(cli.tool_app(), connect=False).server_start())


@NOUN.verb("stop")
async def server_stop(
    cli: Cli,
    yes: Yes = False,
    dry_run: DryRun = False,
) -> None:
    """Stop the embedded server. Its data is complete on disk, and the next use starts it again."""
    operations = Operations(cli.tool_app(), connect=False)
    status = await operations.server_status()
    running = status.state == "running"
    if running and not dry_run:
        if status.users:
            processes = "1 process uses" if status.users == 1 else f"{status.users} processes use"
            cli.confirm(
                f"{processes} the server and will lose the connection. Stop it?",
                yes=yes,
                affects=status.users,
            )
        running = await operations.server_stop()
    if cli.out.json:
        cli.out.document(stopped=running and not dry_run, dry_run=dry_run, users=status.users)
    elif not running:
        cli.out.say(f"No server runs for {status.data_folder}")
    elif dry_run:
        cli.out.say(f"Would stop the server of {status.data_folder}, which has {status.users} users")
    else:
        cli.out.say(f"Stopped the server of {status.data_folder}")


def _show(cli: Cli, status: ServerStatus) -> None:
    if cli.out.json:
        cli.out.document(**plain(status))
        return
    pairs: list[tuple[str, object]] = [("Server", status.state), ("Data folder", status.data_folder)]
    if status.product is not None:
        pairs.append(("Product", f"{status.product} {status.version}"))
    if status.state == "running":
        pairs += [
            ("Process", status.pid if status.pid is None else str(status.pid)),
            ("Started", ago(status.started_at)),
            ("Durability", status.durability),
            ("Users", status.users),
            ("Without users", "stays" if status.stays else "ends after a while"),
            ("URL", status.url),
        ]
        if status.memory_bytes is not None:
            pairs.append(("Memory", f"{status.memory_bytes / 2**20:,.1f} MiB in {status.keys or 0:,} keys"))
        if status.append_only_file_bytes is not None:
            pairs.append(("On disk", f"{status.append_only_file_bytes / 2**20:,.1f} MiB"))
    if status.problem:
        pairs.append(("Problem", status.problem))
    cli.out.facts(pairs)
