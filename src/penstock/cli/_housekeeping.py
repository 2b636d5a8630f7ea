"""``penstock housekeeping``: what somebody has to do now and then, in a process of its own."""

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._running import work_until_signalled
from penstock.operations import Housekeeping
from penstock.telemetry import LOGGER

__all__ = ["add_to"]


def add_to(root: Noun) -> None:
    """Add the command."""
    root.verb("housekeeping")(housekeeping)


async def housekeeping(cli: Cli) -> int:
    """Keep house until a signal comes: collect old events, remove dead consumers, emit what was delayed.

    Workers do the same beside their work, unless the setting `housekeeping` is false. Any number may run; for each
    job one of them acts.
    """
    app = cli.find_app() or cli.tool_app()
    cli.logs(app)
    work = Housekeeping(app)
    try:
        await work.wait_for_servers()
        if cli.out.json:
            cli.out.line(event="started", app=app.name)
        return await work_until_signalled(work, say=lambda: LOGGER.info("%s: keeping house", app.name))
    finally:
        await app.close()
