"""The part of a replay that is not in its database: where its generations are elsewhere, and what is done there.

The rows of ``penstock_replay_places`` say which generation is where; they are made with the copy, exchanged in the
transaction of a switch, and go with the copy. What is done elsewhere follows them, and is harmless to repeat.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeGuard

from penstock.projections._engine._sql import transaction
from penstock.projections.abc import LIVE
from penstock.projections.elsewhere import FIRST_PLACE, ElsewhereReadModel, led, place_of
from penstock.replays._connecting import connected
from penstock.replays.abc import Candidate, Finding
from penstock.store.database import Connection, Database
from penstock.store.work import Workshop
from penstock.telemetry import LOGGER

__all__ = ["Elsewhere", "Models", "exchange_places", "is_elsewhere", "models_of", "not_compared"]

Models: TypeAlias = Mapping[str, type[ElsewhereReadModel]]
"""The read models of a replay that live elsewhere, by projection."""

_LONGEST: Final = 40


def models_of(candidates: Iterable[Candidate]) -> Models:
    """Those of the projections of a replay."""
    named = {each.plan.name: getattr(each.handlers, "read_model", None) for each in candidates}
    return {name: model for name, model in named.items() if is_elsewhere(model)}


def is_elsewhere(model: Any) -> TypeGuard[type[ElsewhereReadModel]]:
    """Whether a read model, as it is declared, lives elsewhere."""
    return isinstance(model, type) and issubclass(model, ElsewhereReadModel)


def not_compared(models: Models) -> list[Finding]:
    """What is to be known of them before a switch."""
    return [
        Finding(
            "warning",
            f"projection {name}",
            "its read model lives elsewhere, where nothing was compared; look at the copy by means of your own",
        )
        for name in sorted(models)
    ]


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What a replay does elsewhere. Blocking; without such read models no other server is connected to."""

    live: Database
    key: str
    models: Models

    def make(self) -> None:
        """Give the copy places of its own. What is left under its key, of one before it, is removed."""
        if not self.models:
            return
        self.remove()
        with (
            connected(self.live) as connection,
            transaction(self.live, connection),
        ):
            for name in self.models:
                for generation, place in ((LIVE, FIRST_PLACE), (self.key, _new_place(self.key))):
                    self.live.execute(
                        connection,
                        "INSERT INTO penstock_replay_places (projection, generation, place) VALUES (?, ?, ?) "
                        "ON CONFLICT (projection, generation) DO NOTHING",
                        (name, generation, place),
                    )

    def empty(self) -> None:
        """Empty the copy."""
        self._do(self.key, lambda model: model.reset())

    def promote(self) -> None:
        """Lead readers to what is live. Where that fails it is said, and left to the runner of the live generation."""
        try:
            self._do(LIVE, lambda model: model.promote())
        except Exception as failure:  # noqa: BLE001  the switch is done, and what is left of it is repeated
            LOGGER.warning(
                "replay %r: readers elsewhere are not led to what is live now; whoever runs it next does that: %s",
                self.key,
                failure,
            )

    def remove(self) -> None:
        """Remove the copy, and then its places. What nobody here knows how to remove is said, and stays."""
        self._do(self.key, lambda model: model.remove())
        with (
            connected(self.live) as connection,
            transaction(self.live, connection),
        ):
            for name in self.models:
                self.live.execute(
                    connection,
                    "DELETE FROM penstock_replay_places WHERE projection = ? AND generation = ?",
                    (name, self.key),
                )
            left = self.live.execute(
                connection,
                "SELECT projection, place FROM penstock_replay_places WHERE generation = ? ORDER BY projection",
                (self.key,),
            ).fetchall()
        for name, place in left:
            LOGGER.warning(
                "replay %r: the copy of projection %r at %r, elsewhere, is left there, because its read model is not "
                "declared here; create a replay of that key where it is, and remove it",
                self.key,
                name,
                place,
            )

    def _do(self, generation: str, act: Callable[[ElsewhereReadModel], object]) -> None:
        if not self.models:
            return
        with connected(self.live) as connection:
            for name, kind in self.models.items():
                with transaction(self.live, connection, write=False):
                    work = Workshop(self.live).begin(connection)
                    try:
                        if (model := self._model(kind, work, connection, name, generation)) is not None:
                            act(model)
                    finally:
                        work.end()

    def _model(
        self, kind: type[ElsewhereReadModel], work: Any, connection: Connection, name: str, generation: str
    ) -> ElsewhereReadModel | None:
        """The model at the place of a generation; ``None`` where it has none (any more)."""
        found = place_of(self.live, connection, name, generation)
        if found is None:
            return None
        return led(kind(work), self.live, connection, name, generation)


def exchange_places(database: Database, connection: Connection, key: str) -> None:
    """Exchange the places of live and copy, in the transaction that exchanges their checkpoints."""
    found = database.execute(
        connection,
        "SELECT projection, generation, place, switches FROM penstock_replay_places WHERE generation IN ('', ?)",
        (key,),
    ).fetchall()
    live = {name: (place, switches) for name, generation, place, switches in found if generation == LIVE}
    copied = {name: (place, switches) for name, generation, place, switches in found if generation == key}
    for name in copied.keys() & live.keys():
        number = max(live[name][1], copied[name][1]) + 1
        for generation, place in ((LIVE, copied[name][0]), (key, live[name][0])):
            database.execute(
                connection,
                "UPDATE penstock_replay_places SET place = ?, switches = ? WHERE projection = ? AND generation = ?",
                (place, number, name, generation),
            )


def _new_place(key: str) -> str:
    """A name that was never used, and tells of the replay."""
    slug = re.sub(r"[^a-z0-9]+", "-", key.lower()).strip("-")[:_LONGEST]
    return f"{slug or 'replay'}-{secrets.token_hex(4)}"
