"""Many events in one call: a batch listener writes rows together, another folds the same events into figures."""

import asyncio
from collections import defaultdict

from penstock import App, Event

app = App("batches")


class FlightDeparted(Event, name="flight.departed", key="flight"):
    flight: str
    carrier: str
    delay_minutes: int


rows: list[tuple[str, int]] = []
calls: list[int] = []
delays: dict[str, list[int]] = defaultdict(list)


@app.listener(FlightDeparted, group="rows", batch=200, wait="50ms")
async def insert(flights: list[FlightDeparted]) -> None:
    """One call for up to 200 events, as one INSERT would take them."""
    if any(flight.delay_minutes < 0 for flight in flights):
        raise ValueError("a delay below zero")
    calls.append(len(flights))
    rows.extend((flight.flight, flight.delay_minutes) for flight in flights)


@app.listener(FlightDeparted, group="delays", batch=500)
async def fold(flights: list[FlightDeparted]) -> None:
    for flight in flights:
        delays[flight.carrier].append(flight.delay_minutes)


async def main() -> None:
    events = [
        FlightDeparted(
            flight=f"PS{number}", carrier=["KL", "LH", "AF"][number % 3], delay_minutes=number % 40
        )
        for number in range(999)
    ]
    events.append(FlightDeparted(flight="PS999", carrier="KL", delay_minutes=-5))
    async with app:
        await app.emit_many(events)
        await app.run(until_idle=True)

    print(f"{len(rows)} rows inserted; fewer calls than rows: {len(calls) < len(rows)}")
    print("PS999 inserted:", any(flight == "PS999" for flight, _ in rows))
    for carrier, minutes in sorted(delays.items()):
        print(f"{carrier}: {len(minutes)} flights, {sum(minutes) / len(minutes):.1f} minutes late on average")


asyncio.run(main())
