"""Every setting there is, with a value of it as code, text and a settings file have it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from penstock.config._schema import Key, Named, Section

__all__ = ["NOON", "SAMPLES", "around_projection", "keys"]

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


def keys(section: Section, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every setting there is, under a name that stands for all names."""
    for name, node in section.keys.items():
        inner = node.of if isinstance(node, Named) else node
        path = (*above, name, "name") if isinstance(node, Named) else (*above, name)
        yield from [path] if isinstance(inner, Key) else keys(inner, path)


def around_projection(key: str) -> dict[str, object]:
    """What else a projection has to say, for *key* to be said of it."""
    _, kind, name, *rest = key.split(".")
    last = rest[-1]
    said: dict[str, object] = {}
    if kind == "consuming":
        said = {
            "handler": "m:f",
            "categories": ["c"],
            ("store" if last == "store" else "environment"): "local",
        }
        if last == "categories":
            said["stream_name"] = "s"
    elif last not in ("stream_name", "stream_names"):
        said = {"stream_name": "s"}
    else:
        said = {last: "s" if last == "stream_name" else ["s"]}
    stores = {each: {"url": f"postgresql://far/{each}"} for each in ("shared", "other")}
    return {"projections": {kind: {name: said}}, "stores": stores}


SAMPLES: dict[str, tuple[object, str, str]] = {
    "config": ("empty.toml", "empty.toml", ""),
    "app": ("shop", "shop", '"shop"'),
    "streams": ("memory://", "memory://", '"memory://"'),
    "store": ("postgresql://h/shop", "postgresql://h/shop", '"postgresql://h/shop"'),
    "stores.name.url": ("postgresql://h/shop", "postgresql://h/shop", '"postgresql://h/shop"'),
    "poll": (timedelta(milliseconds=250), "250ms", '"250ms"'),
    "listen_url": ("postgresql://h/shop", "postgresql://h/shop", '"postgresql://h/shop"'),
    "schema": ("events", "events", '"events"'),
    "namespace": ("shop", "shop", '"shop"'),
    "strict": (True, "yes", "true"),
    "data_folder": ("/data", "/data", '"/data"'),
    "durability": ("always", "always", '"always"'),
    "max_body": ("1 KiB", "1024", '"1 KiB"'),
    "source": ("shop", "shop", '"shop"'),
    "reconnect_attempts": (3, "3", "3"),
    "log_level": ("debug", "debug", '"debug"'),
    "pools.name.streams": (["a", "b"], "a,b", '["a", "b"]'),
    "groups.name.streams": (["a", "b"], "a,b", '["a", "b"]'),
    "url": ("redis://h", "redis://h", '"redis://h"'),
    "pool": ("name", "name", '"name"'),
    "groups": (["a", "b"], "a, b", '["a", "b"]'),
    "max_entries": (5, "5", "5"),
    "max_age": (timedelta(days=5), "5 days", '"5 days"'),
    "remove_needed": (True, "true", "true"),
    "layout": ("beeorm", "beeorm", '"beeorm"'),
    "key_from": ("order.id", "order.id", '"order.id"'),
    "retention": ("handled", "handled", '"handled"'),
    "history": (True, "true", "true"),
    "partitions": (4, "4", "4"),
    "routed_from": ("legacy", "legacy", '"legacy"'),
    "housekeeping": (False, "no", "false"),
    "start": (NOON, "2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
    "mode": ("parallel", "parallel", '"parallel"'),
    "on_failure": ("halt", "halt", '"halt"'),
    "unhandled": ("fail", "fail", '"fail"'),
    "on_missing": ("halt", "halt", '"halt"'),
    "lease_life": ("5 s", "5s", '"PT5S"'),
    "busy": ("refuse", "refuse", '"refuse"'),
    "window": (4, "4", "4"),
    "refresh": ("7 s", "7s", '"PT7S"'),
    "concurrency": (4, "4", "4"),
    "min_idle": ("5 s", "5s", '"PT5S"'),
    "max_deliveries": (4, "4", "4"),
    "max_batch": (4, "4", "4"),
    "byte_budget": (2**20, "1 MiB", '"1 MiB"'),
    "dead_after": ("5 s", "5s", '"PT5S"'),
    "drain_timeout": ("5 s", "5s", '"PT5S"'),
    "retry_visibility": ("5 s", "5s", '"PT5S"'),
    "attempts": (4, "4", "4"),
    "initial": ("5 s", "5s", '"PT5S"'),
    "factor": (3, "3", "3"),
    "longest": ("5 s", "5s", '"PT5S"'),
    "jitter": (0.5, "0.5", "0.5"),
    "driver": ("memory", "memory", '"memory"'),
    "inbox_retention": ("3 days", "3d", '"3 days"'),
    "stream_name": ("users", "users", '"users"'),
    "stream_names": (["users", "others"], "users, others", '["users", "others"]'),
    "categories": (["user", "other"], "user,other", '["user", "other"]'),
    "environment": ("shared", "Shared", '"shared"'),
    "into": ("shared", "shared", '"shared"'),
    "handler": ("shop.totals:Totals", "shop.totals:Totals", '"shop.totals:Totals"'),
    "version": (2, "2", "2"),
    "background_process": (False, "no", "false"),
    "page": (10, "10", "10"),
    "projections.consuming.name.store": ("shared", "shared", '"shared"'),
    "projections.consuming.name.mode": ("on_demand", "on_demand", '"on_demand"'),
    "projections.consuming.name.on_failure": ("park", "park", '"park"'),
    "projections.producing.name.mode": ("on_demand", "on_demand", '"on_demand"'),
    "projections.producing.name.on_failure": ("park", "park", '"park"'),
    "projections.producing.name.target": ("other", "other", '"other"'),
    "relays.name.source": ("shared", "shared", '"shared"'),
    "relays.name.target": ("shared", "shared", '"shared"'),
    "relays.name.events": (["order.placed", "a.b"], "order.placed,a.b", '["order.placed", "a.b"]'),
    "relays.name.streams": (["a", "b"], "a,b", '["a", "b"]'),
    "relays.name.to": ("orders", "orders", '"orders"'),
    "relays.name.rename": ({"a.b": "c.d"}, "a.b=c.d", '{"a.b" = "c.d"}'),
    "relays.name.mode": ("on_demand", "on_demand", '"on_demand"'),
    "relays.name.keep": ("3 days", "3d", '"3 days"'),
    "relays.name.archive": (True, "yes", "true"),
    "name": (["shop:charge", "shop:mail"], "shop:charge,shop:mail", '["shop:charge", "shop:mail"]'),
}
