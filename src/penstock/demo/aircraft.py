"""The aircraft: what each one did, in order, though many are followed at the same time; and then the archive.

`whereabouts` is a keyed group: it handles the events of one aircraft one after the other, and those of different ones
side by side. What it has handled goes to the archive, and one event comes back from there.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from penstock import App, Event, Message
from penstock.demo.data import Flight

__all__ = ["GROUP", "STREAM", "AircraftLeft", "Whereabouts", "follow", "legs_of", "work"]

STREAM = "aircraft"
"""Where the events are."""
GROUP = "whereabouts"
"""Who follows them."""
_MOST = 20_000


class AircraftLeft(Event, name="aircraft.left", key="tail", stream=STREAM):
    """An aircraft left New York."""

    tail: str
    """The number on its tail."""
    leg: int
    """A number that goes up with the time of departure."""
    destination: str


@dataclass
class Whereabouts:
    """Where each aircraft went last, and whether anything came out of order."""

    last: dict[str, AircraftLeft] = field(default_factory=dict[str, AircraftLeft])
    handled: int = 0
    at_once: int = 0
    most_at_once: int = 0
    disordered: int = 0
    came_back: list[Message] = field(default_factory=list[Message])

    async def saw(self, left: AircraftLeft, message: Message) -> None:
        """Take one leg in; now and then it takes a while, so that others overtake."""
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(0.001 if left.leg % 50 == 0 else 0)
        finally:
            self.at_once -= 1
        if message.original_id is not None:
            self.came_back.append(message)
            return
        before = self.last.get(left.tail)
        self.disordered += before is not None and before.leg > left.leg
        self.last[left.tail] = left
        self.handled += 1


def legs_of(table: Sequence[Flight]) -> list[AircraftLeft]:
    """The first departures of the table, of aircraft whose number is known, in the table's order."""
    legs: list[AircraftLeft] = []
    for number, flight in enumerate(table):
        if flight.tail is not None and flight.departed is not None:
            legs.append(AircraftLeft(tail=flight.tail, leg=number, destination=flight.destination))
            if len(legs) == _MOST:
                break
    return legs


def follow(app: App) -> Whereabouts:
    """Declare the keyed group; what it has found."""
    whereabouts = Whereabouts()

    @app.listener(AircraftLeft, group=app.group(GROUP, mode="keyed"))
    async def note(left: AircraftLeft, message: Message) -> None:
        await whereabouts.saw(left, message)

    return whereabouts


async def work(app: App) -> None:
    """Run the group here until nothing is left for it."""
    await app.run(only=[GROUP], until_idle=True)
