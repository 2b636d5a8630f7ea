"""What runs beside the groups of an app: its projections and relays, under one supervisor, in one `Runner`."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeGuard

from penstock._building import Selection, build_workers
from penstock._housekeeping import beside_work
from penstock._scheduling import runner_of
from penstock.errors import ConfigurationError
from penstock.listeners.runner import Part, Runner, Worker
from penstock.projections._engine._run import Supervised
from penstock.projections._engine._supervisor import ProjectionSupervisor
from penstock.relays._worker import RelayWorker

if TYPE_CHECKING:
    from penstock.app import App

__all__ = ["RelayParts", "RunsParts", "build_runner", "moved_of"]


@dataclass(frozen=True, slots=True)
class RelayParts:
    """Relays, ready to run."""

    supervised: Sequence[Supervised] = ()
    """Those between stores, which are run as projections are."""
    parts: Sequence[Part] = ()
    """The others."""


class RunsParts(ABC):
    """The part of an app that runs projections and relays. Those who declare them override what they know."""

    @property
    @abstractmethod
    def projections(self) -> Mapping[str, Any]:
        """All projections by name."""

    @abstractmethod
    async def supervised_projections(self, names: Sequence[str] = ()) -> list[Supervised]:
        """Projections, ready to run; all, if none is named."""

    @abstractmethod
    def supervisor_of(self, supervised: Sequence[Supervised], *, until_idle: bool) -> ProjectionSupervisor:
        """What runs projections and relays between stores."""

    @property
    def relay_names(self) -> Sequence[str]:
        """All relays by name."""
        return ()

    async def relay_parts(self, names: Sequence[str], *, until_idle: bool) -> RelayParts:
        """These relays, ready to run."""
        return RelayParts()


async def build_runner(app: "App", selection: Selection) -> Runner:
    """The workers, projections and relays of an app (or of the selected part). Raises `ConfigurationError`.

    Without a group to work nothing of streams is connected to.
    """
    chosen = _chosen(app, selection)
    parts = await _build_parts(app, chosen, until_idle=selection.until_idle)
    if parts and not chosen.has_workers:
        return Runner((), parts=parts, again=moved_of(parts) if selection.until_idle else None)
    brokers = await app._prepared()  # pyright: ignore[reportPrivateUsage]
    rest = replace(selection, only=chosen.groups)
    workers = build_workers(app, brokers, rest)
    again = moved_of([*workers, *parts]) if selection.until_idle else None
    return runner_of(app, brokers, rest, workers, beside_work(app, brokers, rest), parts=parts, again=again)


def moved_of(parts: Sequence[Part]) -> Callable[[], Awaitable[bool]]:
    """What tells, whenever all *parts* have ended by themselves, whether anything moved in any of them meanwhile.

    Each may have made work for one that had ended before it: a listener that stores, a projection that derives, a relay
    that publishes. When nothing has moved anywhere, all of them have looked after the last one made something. What a
    listener leaves pending is not due again, but may have made work: deliveries count in the first run.
    """
    seen: int | None = None

    async def has_moved() -> bool:
        nonlocal seen
        before, seen = seen, sum(map(_moved, parts))
        if before is None:
            return seen > 0 or any(part.counts.delivered for part in parts if _is_worker(part))
        return seen != before

    return has_moved


def _moved(part: Part) -> int:
    """How much a part has got done so far, over all its runs."""
    if isinstance(part, ProjectionSupervisor | RelayWorker):
        return part.moved
    return part.counts.handled + part.counts.failed if _is_worker(part) else 0


def _is_worker(part: Part) -> TypeGuard[Worker]:
    return hasattr(part, "counts")


@dataclass(frozen=True, slots=True)
class _Chosen:
    groups: tuple[str, ...]
    projections: tuple[str, ...]
    relays: tuple[str, ...]
    has_workers: bool


def _chosen(app: "App", selection: Selection) -> _Chosen:
    """What *selection* means. ``projection`` and ``relay`` are all of a kind, with ``:NAME`` one of them."""
    known = {"projection": tuple(app.projections), "relay": tuple(app.relay_names)}
    groups = {group.name for group in app.registry}
    if selection.events or selection.ungrouped:
        return _Chosen(selection.only, (), (), has_workers=True)
    if not selection.only:
        has_workers = any(group.listeners for group in app.registry) or bool(app._recurring)  # pyright: ignore[reportPrivateUsage]
        return _Chosen((), known["projection"], known["relay"], has_workers=has_workers)
    found: dict[str, list[str]] = {"projection": [], "relay": []}
    rest: list[str] = []
    for each in selection.only:
        kind, colon, name = each.partition(":")
        if kind in known and (colon or each not in groups):
            found[kind] += _named(kind, name, known[kind])
        elif not colon and each not in groups and (of := [k for k in known if each in known[k]]):
            found[of[0]].append(each)
        else:
            rest.append(each)
    return _Chosen(
        tuple(rest), _distinct(found["projection"]), _distinct(found["relay"]), has_workers=bool(rest)
    )


def _named(kind: str, name: str, known: Sequence[str]) -> Sequence[str]:
    if not name:
        return known
    if name not in known:
        near = next(iter(difflib.get_close_matches(name, known, n=1)), None)
        hint = f" (did you mean {near!r}?)" if near else ""
        raise ConfigurationError(
            f"there is no {kind} {name!r} to run{hint}; there is {', '.join(sorted(known)) or 'none'}"
        )
    return [name]


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


async def _build_parts(app: "App", chosen: _Chosen, *, until_idle: bool) -> list[Part]:
    supervised = await app.supervised_projections(chosen.projections) if chosen.projections else []
    relays = RelayParts()
    if chosen.relays:
        relays = await app.relay_parts(chosen.relays, until_idle=until_idle)
    together = [*supervised, *relays.supervised]
    parts = list(relays.parts)
    if together:
        parts.insert(0, app.supervisor_of(together, until_idle=until_idle))
    return parts
