"""``penstock store``: what is in the event stores."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Annotated, Final

import typer
from rich.text import Text

from penstock.cli._cli import Cli
from penstock.cli._commands import Noun
from penstock.cli._emitting import headers_of
from penstock.cli._errors import WrongUsage
from penstock.cli._near import suggesting_streams
from penstock.cli._output import Column, Output, ago, clean, clock_time
from penstock.cli._plain import json_text, plain
from penstock.operations import EventFilter, EventStreamInfo, EventView, HeadHolder, StoreDetail

__all__ = ["NOUN", "Store", "filter_of", "holder_text", "show_event"]

NOUN: Final = Noun("store", "Event stores: what is in them, and taking events out and in.")

_MOST: Final = 1_000_000

Store = Annotated[str, typer.Option("--store", metavar="NAME", help="The store, as the settings name it.")]
_Streams = Annotated[
    list[str] | None, typer.Argument(metavar="[STREAM...]", help="Only of these event streams.")
]
_Category = Annotated[
    list[str] | None,
    typer.Option("--category", metavar="CATEGORY", help="Only of this category; may be given again."),
]
_Name = Annotated[
    list[str] | None,
    typer.Option("--name", metavar="EVENT", help="Only events of this name; may be given again."),
]
_Key = Annotated[
    list[str] | None,
    typer.Option("--key", metavar="KEY", help="Only events with this key; may be given again."),
]
_Header = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="NAME=VALUE", help="Only events with this header; may be given again."),
]


@NOUN.verb("show")
async def show_store(cli: Cli, store: Store = "local") -> None:
    """Show one store: how many events, how far readers can go, and whose open transaction they wait for."""
    async with cli.operations() as operations:
        detail = await operations.stores.show(store)
    if cli.out.json:
        cli.out.document(**plain(detail))
        return
    cli.out.facts(
        [
            ("Store", detail.name),
            ("Database", f"{'SQLite' if detail.dialect == 'sqlite' else 'PostgreSQL'}, {detail.url}"),
            ("Exists", "yes" if detail.exists else "not yet: the first event makes it"),
            ("Events", f"{'' if detail.counted else 'about '}{detail.events:,}"),
            ("Last position", detail.last),
            ("Readable up to", _horizon(detail)),
            ("Size", "-" if detail.size_bytes is None else f"{detail.size_bytes:,} bytes"),
        ]
    )
    if detail.holders:
        cli.out.say()
        _holder_table(cli.out, detail.holders)


@NOUN.verb("streams")
async def list_event_streams(
    cli: Cli,
    category: Annotated[
        str | None, typer.Option("--category", metavar="CATEGORY", help="Only of this category.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=_MOST, help="At most so many.")] = 100,
    after: Annotated[
        str, typer.Option("--after", metavar="NEXT", help="Go on where a page ended: its `next`.")
    ] = "",
    store: Store = "local",
) -> None:
    """List event streams by name, a page at a time."""
    async with cli.operations() as operations:
        page = await operations.stores.streams(store, category=category, after=after, limit=limit)
    if cli.out.json:
        cli.out.document(items=page.items, following=page.next)
    elif not page.items:
        cli.out.say(
            "No event streams" if after or category else "No event streams yet. The first event makes one"
        )
    else:
        _stream_table(cli.out, page.items)
        if page.next is not None:
            cli.out.note(f"There are more. Go on with --after {page.next}")


@NOUN.verb("events")
async def show_events(
    cli: Cli,
    streams: _Streams = None,
    category: _Category = None,
    name: _Name = None,
    key: _Key = None,
    header: _Header = None,
    after: Annotated[
        int | None,
        typer.Option("--after", metavar="POSITION", min=0, help="Only events above this position."),
    ] = None,
    last: Annotated[
        int | None, typer.Option("--last", "-n", min=0, help="Only so many of the newest.  [default: 20]")
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with every further event as it comes.")
    ] = False,
    store: Store = "local",
) -> None:
    """Show events by position: the newest twenty, unless --last or --after says otherwise."""
    if after is not None and last is not None:
        raise WrongUsage("--last counts back from the end and --after names a place; give one of them")
    which = filter_of(streams, category, name, key, header)
    count = last if last is not None else None if after is not None else 20
    async with cli.operations(waits=follow) as operations, suggesting_streams(operations, store):
        views = operations.stores.events(which, store, after=after or 0, last=count, follow=follow)
        async with aclosing(views):
            async for view in views:
                show_event(cli.out, view)


# -- how they look --------------------------------------------------------------------------------------------------


def filter_of(
    streams: Sequence[str] | None,
    categories: Sequence[str] | None,
    names: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    headers: Sequence[str] | None = None,
) -> EventFilter:
    """Which events the options mean. Raises `WrongUsage`."""
    return EventFilter(
        streams=tuple(streams or ()),
        categories=tuple(categories or ()),
        names=tuple(names or ()),
        keys=tuple(keys or ()),
        headers=headers_of(list(headers or ())),
    )


def show_event(out: Output, view: EventView) -> None:
    """One event on one line."""
    if out.json:
        out.line(**plain(view))
        return
    text = Text.assemble(
        (f"{view.position:,}", "dim"),
        f" {clean(view.stream)}",
        (f" {view.stream_version:,} ", "dim"),
        (clean(view.name), "bold"),
    )
    if view.undecodable is not None:
        text.append(f" {clean(view.undecodable)}", style="red")
    elif view.payload is not None:
        text.append(f" {clean(json_text(view.payload))}")
    out.say(text)


def _stream_table(out: Output, streams: Sequence[EventStreamInfo]) -> None:
    said = any(_rules(stream) for stream in streams)
    out.table(
        [
            Column("Event stream", narrow=False),
            Column("Version", right=True),
            Column("Events", right=True),
            Column("Last position", right=True),
            *([Column("", narrow=False)] if said else []),
        ],
        [
            [
                stream.name,
                stream.version,
                stream.events,
                stream.last_position,
                *([_rules(stream)] if said else []),
            ]
            for stream in streams
        ],
    )


def _rules(stream: EventStreamInfo) -> str:
    rules = stream.metadata
    return ", ".join(
        [
            *(["deleted for good"] if stream.deleted else []),
            *([f"derived by {rules.owner}"] if rules.owner is not None else []),
            *([f"keeps {rules.max_count:,}"] if rules.max_count is not None else []),
            *([f"keeps {rules.max_age}"] if rules.max_age is not None else []),
        ]
    )


def _horizon(detail: StoreDetail) -> str:
    waiting = detail.last - detail.horizon
    if waiting <= 0 or not detail.holders:
        return f"{detail.horizon:,}"
    return f"{detail.horizon:,}; what is above waits for {holder_text(detail.holders[0])}"


def holder_text(holder: HeadHolder) -> str:
    """Whose transaction it is, and since when."""
    if holder.gid is not None:
        return f"prepared transaction {holder.gid!r} of {holder.role}, begun {ago(holder.since)}"
    application = f" ({holder.application})" if holder.application else ""
    return f"process {holder.pid} of {holder.role}{application}, {holder.state}, begun {ago(holder.since)}"


def _holder_table(out: Output, holders: Sequence[HeadHolder]) -> None:
    out.table(
        [
            Column("Holds above", right=True),
            Column("Process"),
            Column("Role"),
            Column("Application", narrow=False),
            Column("State"),
            Column("Since (UTC)"),
        ],
        [
            [
                holder.floor,
                f"prepared {holder.gid}" if holder.gid is not None else str(holder.pid),
                holder.role,
                holder.application,
                holder.state,
                "-" if holder.since is None else clock_time(holder.since),
            ]
            for holder in holders
        ],
    )
