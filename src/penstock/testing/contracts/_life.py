"""Opening, closing, and what a server says of itself."""

from penstock.streams.abc import StreamBroker
from penstock.testing.contracts._common import FIELDS, MOMENT, Contract, PassTime, entry

__all__ = ["LifeContract"]


class LifeContract(Contract):
    """A broker is opened and closed as often as anyone likes."""

    async def test_opening_twice_is_opening_once(self, broker: StreamBroker) -> None:
        """`open` is idempotent: a second call changes nothing."""
        await broker.open()
        await broker.append(entry("orders"))
        await broker.open()

        assert await broker.length("orders") == 1

    async def test_a_closed_broker_opens_again(self, broker: StreamBroker) -> None:
        """`close` is idempotent too, and what was written is there after the next `open`."""
        entry_id = await broker.append(entry("orders"))
        await broker.close()
        await broker.close()
        await broker.open()

        assert await broker.range("orders") == [[entry_id, FIELDS]]

    async def test_an_open_broker_knows_its_server(self, broker: StreamBroker) -> None:
        """What the server is and can was found at `open`; command names are lower case."""
        found = broker.capabilities

        assert found.product
        assert len(found.version) == 3
        assert all(command == command.lower() for command in found.commands)

    async def test_the_servers_clock_goes_forward(self, broker: StreamBroker, pass_time: PassTime) -> None:
        """The time is the server's, in microseconds, and entry ids are made from it."""
        before = await broker.server_time_us()
        entry_id = await broker.append(entry("orders"))
        await pass_time(MOMENT)
        after = await broker.server_time_us()

        assert after - before >= MOMENT.microseconds
        assert before // 1000 <= int(entry_id.partition(b"-")[0]) <= after // 1000
