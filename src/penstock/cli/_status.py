"""``penstock status``: everything in one look."""

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import DONE, PARTIAL
from penstock.cli._plain import plain
from penstock.cli._projections_shown import projection_table
from penstock.cli._streams import group_table, stream_table
from penstock.operations import Operations, ServerSummary, Status

__all__ = ["add_to"]


def add_to(root: Noun) -> None:
    """Add the command."""
    root.verb("status")(status)


async def status(cli: Cli) -> int:
    """Show servers, streams, groups with their lag, workers and failures. Nothing is started by looking.

    Exit code 3 if some store could not be looked at.
    """
    app = cli.tool_app()
    resting = ""
    if app.is_embedded:
        server = await Operations(app, connect=False).server_status()
        if server.state != "running":
            resting = f"embedded in {server.data_folder}, not running; the first use starts it"
    try:
        found = await Operations(app, connect=not resting).status()
    finally:
        await app.close()
    if cli.out.json:
        cli.out.document(**plain(found))
        return PARTIAL if found.away else DONE
    cli.out.facts(
        [
            *(("Server", _server(server, several=len(found.servers) > 1)) for server in found.servers),
            *([("Server", resting)] if resting else []),
            ("Streams", sum(stream.exists for stream in found.streams)),
            ("Workers", _workers(found)),
            ("Failed messages", _failures(found)),
            *_projections(found),
            *([("Housekeeping", _housekeeping(found))] if found.uncollected else []),
        ]
    )
    if found.streams:
        cli.out.say()
        stream_table(cli.out, found.streams)
    if found.groups:
        cli.out.say()
        group_table(cli.out, found.groups)
    for kind in ("projection", "relay"):
        if some := [each for each in found.projections if each.kind == kind]:
            cli.out.say()
            projection_table(cli.out, some)
    for problem in found.problems:
        cli.out.warn(problem)
    return PARTIAL if found.away else DONE


def _server(server: ServerSummary, *, several: bool) -> str:
    pool = f"{server.pool}: " if several else ""
    durability = {
        "always": "every write on disk before it is answered",
        "everysec": "on disk every second",
        "no": "on disk when the system pleases",
        "off": "nothing on disk",
    }.get(server.appendfsync or "", "durability not told")
    cluster = " cluster" if server.cluster else ""
    return f"{pool}{server.product} {server.version}{cluster}, {server.url}, {durability}"


def _workers(found: Status) -> str:
    alive = [worker for worker in found.workers if worker.alive]
    gone = len(found.workers) - len(alive)
    names = ", ".join(f"{worker.consumer} ({worker.group})" for worker in alive[:5])
    text = (
        f"{len(alive)} heard of just now"
        + (f": {names}" if names else "")
        + (" ..." if len(alive) > 5 else "")
    )
    return text + (f"; {gone} quiet" if gone else "")


def _housekeeping(found: Status) -> str:
    few = ", ".join(found.uncollected[:5]) + (" ..." if len(found.uncollected) > 5 else "")
    return f"nobody collects {few}, which have a retention; `penstock run` or `penstock housekeeping` would"


def _projections(found: Status) -> list[tuple[str, object]]:
    """How many run, how many do not, and how much waits for them."""
    facts: list[tuple[str, object]] = []
    for kind, title in (("projection", "Projections"), ("relay", "Relays")):
        some = [each for each in found.projections if each.kind == kind]
        bad = sum(each.state in ("failed", "halted") for each in some)
        parked = sum(each.parked for each in some)
        lag = sum(each.lag_events for each in some)
        if some:
            parts = [
                f"{sum(each.holder is not None for each in some):,} of {len(some):,} run",
                *([f"{bad:,} failed, see `penstock {kind}s list`"] if bad else []),
                *([f"{parked:,} events put aside, see `penstock failed list`"] if parked else []),
                f"{lag:,} events behind",
            ]
            facts.append((title, "; ".join(parts)))
    return facts


def _failures(found: Status) -> str:
    if not found.failed and not found.retrying:
        return "none"
    return f"{found.failed:,} failed, {found.retrying:,} retrying; see `penstock failed list`"
