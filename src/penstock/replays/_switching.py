"""Promotion and its way back: what is looked at before, who comes near, and what is recorded with the switch.

The exchange itself is the copy's (`ReadModelCopy.switch`). Its last statement is the record's: state, versions and log
are changed in the transaction that changes the tables, so a process that is killed has switched both or neither.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from penstock.errors import ReplayBusyError, ReplayRefusedError, UsageError
from penstock.projections._engine._run import Supervised
from penstock.projections._engine._sql import NOW, dumps, one, rows
from penstock.projections.abc import LIVE, ProjectionStatus
from penstock.replays import _moves
from penstock.replays._connecting import connected
from penstock.replays._elsewhere_places import Elsewhere, exchange_places, models_of
from penstock.replays._meeting import meet
from penstock.replays._moves import Step
from penstock.replays._order import out_of_order
from penstock.replays._records import Record, Records, change, note, read, read_all
from penstock.replays.abc import Candidate, Finding, Held, ReadModelCopy, Switched
from penstock.store.abc import EventReader
from penstock.store.database import Connection, Database

__all__ = [
    "FAR",
    "PATIENCE",
    "Switch",
    "check_reason",
    "check_way_back",
    "live_versions",
    "overridden",
    "read_live_versions",
    "reasons_against",
    "standing_findings",
]

FAR: Final = 1000
"""A copy that has more events than that to take is not switched: it would have to take them while others wait."""
PATIENCE: Final = timedelta(seconds=30)
"""How long both generations are tried to be held at one position."""


def standing_findings(
    record: Record, found: Sequence[ProjectionStatus], live: Sequence[ProjectionStatus] = ()
) -> list[Finding]:
    """What the record, and the checkpoints of the copy and of what is live, say about a switch."""
    replay, findings = record.replay, list[Finding]()
    lag = sum(each.lag_events for each in found)
    if lag > FAR:
        findings.append(
            Finding(
                "refusal",
                "lag",
                f"it has {lag:,} events to take, more than {FAR:,}; have it follow, or start it again",
                can_be_forced=True,
            )
        )
    elif lag:
        findings.append(Finding("note", "lag", f"it takes the last {lag:,} events in the switch"))
    for each in found:
        if each.state in ("halted", "failed") and _has_failed(each):
            findings.append(
                Finding(
                    "refusal", f"projection {each.name}", f"its copy stands before an event: {each.error}"
                )
            )
        if each.parked:
            findings.append(
                Finding(
                    "warning",
                    f"projection {each.name}",
                    f"{each.parked} events wait among the failures of the copy",
                )
            )
    findings += _left_behind(found, live)
    if replay.state == "promoted":
        return findings
    if replay.verified_at is None:
        findings.append(
            Finding("refusal", "verification", "it was never verified; verify it", can_be_forced=True)
        )
    elif not replay.is_verified:
        findings.append(
            Finding(
                "refusal",
                "verification",
                "its last verification found differences, or it was started from zero since; look at the report, and "
                "verify it again",
                can_be_forced=True,
            )
        )
    return findings


def _left_behind(found: Sequence[ProjectionStatus], live: Sequence[ProjectionStatus]) -> list[Finding]:
    """Live ones that stand before an event which their copy has handled: both would never be at one position."""
    places = {each.name: each.position for each in found}
    return [
        Finding(
            "refusal",
            f"projection {each.name}",
            f"what is live stands at position {each.position} ({each.error}), and the copy is at {places[each.name]}; "
            "mend the live one, or leave it behind",
            can_be_forced=True,
        )
        for each in live
        if _has_failed(each) and each.position < places.get(each.name, 0)
    ]


def _has_failed(status: ProjectionStatus) -> bool:
    """Whether something is wrong with it. That its runner was killed alone is not: the switch brings it near."""
    return status.error is not None and status.failed_at is not None


def reasons_against(findings: Sequence[Finding], *, force: bool) -> list[str]:
    """What stands in the way."""
    return [
        f"{each.subject}: {each.message}"
        for each in findings
        if each.severity == "refusal" and not (force and each.can_be_forced)
    ]


def overridden(findings: Sequence[Finding], reason: str) -> str:
    """The reason with what is overridden for it; empty if there is nothing to override."""
    found = [each for each in findings if each.severity == "refusal" and each.can_be_forced]
    said = "; ".join(f"{each.subject}: {each.message}" for each in found)
    return f"{reason} ({said})" if said else ""


def check_reason(key: str, reason: str, *, force: bool, doing: str = "promoting") -> None:
    """Raises `UsageError` for force without a reason, which is what the record has to say later."""
    if force and not reason.strip():
        raise UsageError(f"{doing} replay {key!r} by force needs a reason, which is recorded: give reason=")


@dataclass(frozen=True, slots=True)
class Switch:
    """One exchange of live and copy. Blocking; in one thread."""

    records: Records
    copy: ReadModelCopy
    candidates: Sequence[Candidate]
    declared_live: Mapping[str, Supervised]
    reader_for: Callable[[str], EventReader]
    who: str
    reason: str = ""
    override: str = ""
    is_forced: bool = False
    patience: timedelta = PATIENCE

    def promote(self, record: Record, say: Callable[[str], None]) -> Switched:
        """Make the copy live. Raises `ReplayRefusedError`, `ReplayBusyError`; nothing was changed then."""
        self.copy.prepare_switch(say)
        former: dict[str, int] = {}

        def recorded(held: Held) -> None:
            changes = {
                "former_versions": dumps(former),
                "override": self.override,
                # Where nothing was live before, nothing is there to be fed.
                "is_fed": bool(former),
                "promoted_at": self._now(held.live),
            }
            self._record(held, record, "promote", changes)

        switched = self.copy.switch(lambda: self._met(former), recorded)
        self._elsewhere.promote()
        return switched

    def roll_back(self, record: Record, say: Callable[[str], None]) -> Switched:
        """Make the former one live again, the same way."""
        self.copy.prepare_switch(say)
        switched = self.copy.switch(
            lambda: self._met({}),
            lambda held: self._record(held, record, "roll back", {"is_fed": True, "promoted_at": None}),
        )
        self._elsewhere.promote()
        return switched

    @property
    def _elsewhere(self) -> Elsewhere:
        live = {name: each.handlers for name, each in self.declared_live.items()}
        known = [Candidate(each.plan, live.get(each.plan.name, each.handlers)) for each in self.candidates]
        return Elsewhere(self.records.database, self.copy.key, models_of(known))

    @contextlib.contextmanager
    def _met(self, versions: dict[str, int]) -> Iterator[Held]:
        """Both at one position; *versions* then has those of the live ones."""
        with meet(
            self.candidates,
            self.copy,
            self.reader_for,
            patience=self.patience,
            declared_live=self.declared_live,
            # A live projection that stands before an event is what a rebuild is often for; force leaves it behind.
            ahead_is_fine=self.is_forced,
        ) as held:
            versions.clear()
            versions.update(live_versions(self.copy.live_database, held.live, self._names))
            yield held

    @property
    def _names(self) -> list[str]:
        return [each.plan.name for each in self.candidates]

    def _record(self, held: Held, record: Record, step: Step, changes: Mapping[str, object]) -> None:
        """Record the switch in its own transaction. Raises `ReplayBusyError` if the record was changed meanwhile."""
        database, connection, key = self.records.database, held.live, record.replay.key
        state = _moves.after(key, step, record.replay.state)
        current = read(database, connection, key)
        if step == "roll back" and current is not None:
            # Another one may have been promoted since the preflight, while this one waited for the checkpoints.
            order = out_of_order(current.replay, read_all(database, connection), {})
            if reasons := reasons_against(order, force=False):
                raise ReplayRefusedError(key, step="be rolled back", reasons=reasons)
        if (
            current is None
            or current.revision != record.revision
            or not change(database, connection, current, state=state, **changes)
        ):
            raise ReplayBusyError(key, step=step, reason="its record was changed meanwhile")
        exchange_places(database, connection, key)
        place = ", ".join(f"{name} at {position}" for name, position in sorted(held.positions.items()))
        note(database, connection, key, step, who=self.who, which=place, why=self.override or self.reason)

    def _now(self, connection: Connection) -> int:
        database = self.records.database
        [now] = one(database, connection, f"SELECT {NOW[database.dialect]}")
        return int(now)


def live_versions(database: Database, connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """The version of each that is live, as far as it ever ran."""
    found = rows(
        database,
        connection,
        "SELECT projection, version FROM penstock_checkpoints WHERE generation = ? "
        f"AND projection IN ({', '.join('?' * len(names))})",
        (LIVE, *names),
    )
    return dict(found)


def check_way_back(record: Record) -> None:
    """Raises `ReplayRefusedError` where nothing was live before."""
    replay = record.replay
    missing = [name for name in replay.projections if name not in replay.former_versions]
    if missing:
        raise ReplayRefusedError(
            replay.key,
            step="be rolled back",
            reasons=[f"projection {name!r} was never live before it" for name in missing],
        )


def read_live_versions(records: Records, names: Sequence[str]) -> dict[str, int]:
    """As `live_versions`, over a connection of its own."""
    with connected(records.database) as connection:
        return live_versions(records.database, connection, names)
