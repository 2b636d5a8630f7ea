"""``penstock db``: the databases of event stores, and the schema changes that they need."""

from collections.abc import Sequence
from typing import Annotated, Final

import typer
from rich.text import Text

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._errors import DONE, REFUSED, WrongUsage
from penstock.cli._options import DryRun
from penstock.cli._output import Column, Output, clock_time
from penstock.cli._plain import plain
from penstock.operations import DatabaseStatus

__all__ = ["NOUN"]

NOUN: Final = Noun(
    "db", "Databases of event stores: which schema changes they have had, and applying those they lack."
)

_Store = Annotated[
    list[str] | None, typer.Option("--store", metavar="NAME", help="Only this store; may be given again.")
]
_All = Annotated[bool, typer.Option("--all", help="Every configured store, which is the default.")]


@NOUN.verb("status")
async def database_status(cli: Cli, store: _Store = None, everything: _All = False) -> int:
    """Show each database with its server, its migrations and what is wrong; exit code 1 if something is to be done."""
    async with cli.operations() as operations:
        found = await operations.databases.status(_chosen(store, everything))
    if cli.out.json:
        cli.out.document(items=[{**plain(each), "is_good": each.is_good} for each in found])
    else:
        _status_table(cli.out, found)
    return DONE if all(each.is_good for each in found) else REFUSED


@NOUN.verb("migrate")
async def migrate(
    cli: Cli,
    store: _Store = None,
    everything: _All = False,
    dry_run: DryRun = False,
) -> None:
    """Apply the schema changes that databases lack, each database's all together or none. May be run at any time."""
    chosen = _chosen(store, everything)
    async with cli.operations() as operations:
        found = await (
            operations.databases.pending(chosen) if dry_run else operations.databases.migrate(chosen)
        )
    if cli.out.json:
        cli.out.document(items=found, dry_run=dry_run)
        return
    done = "lacks" if dry_run else "applied"
    for each in found:
        what = f"{done} {', '.join(each.migrations)}" if each.migrations else "has everything"
        cli.out.say(f"{each.store}: {what}")


@NOUN.verb("sql")
async def pending_sql(cli: Cli, store: _Store = None, everything: _All = False) -> None:
    """Print the statements that databases lack, for those who apply them by hand."""
    async with cli.operations() as operations:
        found = await operations.databases.sql(_chosen(store, everything))
    if cli.out.json:
        cli.out.document(items=found)
        return
    for each in found:
        if each.sql:
            cli.out.say(f"-- store {each.store}, {each.dialect}: {', '.join(each.migrations)}")
            cli.out.say(Text(each.sql.rstrip("\n")))
        else:
            cli.out.say(f"-- store {each.store}, {each.dialect}: nothing is lacking")


def _chosen(store: Sequence[str] | None, everything: bool) -> list[str]:
    if store and everything:
        raise WrongUsage("--all means every store; leave it out to name one")
    return list(store or ())


def _status_table(out: Output, found: Sequence[DatabaseStatus]) -> None:
    out.table(
        [
            Column("Store"),
            Column("Server", narrow=False),
            Column("Database", narrow=False),
            Column("Migrations", right=True),
            Column("Lacking", narrow=False),
            Column("Last applied (UTC)"),
        ],
        [
            [
                each.store,
                each.server or "-",
                each.url,
                len(each.applied),
                _lacking(each),
                clock_time(each.applied[-1].applied_at) if each.applied else "-",
            ]
            for each in found
        ],
    )
    for each in found:
        for problem in each.problems:
            out.note(f"{each.store}: {problem}", style="red")
        if each.pending and not each.is_good and not each.problems:
            out.note(f"{each.store}: apply what is lacking by `penstock db migrate --store {each.store}`")


def _lacking(each: DatabaseStatus) -> str:
    if not each.exists:
        return "not there yet: the first use makes it"
    return ", ".join(each.pending) or "nothing"
