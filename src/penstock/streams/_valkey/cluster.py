"""A cluster: which node keeps which slot, as far as we know, and the lines to its nodes.

What is known is read from a node when the broker opens, whenever a node says that a slot has moved, and whenever one
cannot be reached. It may be out of date at any time; then a node says so, and `penstock.streams._valkey.exchange`
follows.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol
from weakref import WeakSet

from penstock.errors import BrokerError, BrokerRefusedError, BrokerUnavailableError
from penstock.streams._valkey.connector import Connector
from penstock.streams._valkey.errors import ReplyError, translate
from penstock.streams._valkey.line import Line
from penstock.streams._valkey.packing import pack
from penstock.streams._valkey.slots import SLOTS, Address, read_slots, slot_of
from penstock.streams._valkey.wire import Wire

__all__ = ["Cluster", "ClusterPools", "Lines", "NodeLines"]

_ANSWER_S: Final = 2.0
"""How long one node may take to tell who keeps what, before the next is asked."""
_PAUSE_S: Final = 0.1
"""Redirections make us look again at most this often."""


class ClusterPools(Protocol):
    """Where the connections to the nodes of a cluster come from."""

    name: str
    """What the cluster is called in messages. Without credentials."""
    user: str
    seeds: Sequence[Address]
    """Where to ask first."""

    def pool_at(self, address: Address) -> Any:
        """The pool of connections to one node."""
        ...

    async def aclose(self) -> None:
        """Give up what is ours."""


class Cluster:
    """The nodes of a cluster, each with its connector, and which of them keeps which slot."""

    def __init__(
        self, pools: ClusterPools, make_connector: Callable[[Any], Connector], *, answer_timeout_s: float
    ) -> None:
        self.server, self.user, self.answer_timeout_s = pools.name, pools.user, answer_timeout_s
        self._pools, self._make_connector = pools, make_connector
        self._nodes: dict[Address, Connector] = {}
        self._keepers: list[Connector | None] = [None] * SLOTS
        self._masters: list[Connector] = []
        self._turn = 0
        self._closed = True
        self._learning: asyncio.Task[None] | None = None
        self._learned_at = 0.0
        self._all_lines: WeakSet[NodeLines] = WeakSet()
        self.looks = NodeLines(self, "looking")
        """On these it is asked who keeps what; they serve other looks, too."""

    @property
    def closed(self) -> bool:
        """Nobody gets a connection: the broker is not open."""
        return self._closed

    @closed.setter
    def closed(self, closed: bool) -> None:
        self._closed = closed
        for connector in self._nodes.values():
            connector.closed = closed

    def keeper(self, key: bytes) -> Connector:
        """The node that keeps *key*, or any if there is no key or nobody is known to keep it."""
        return (self._keepers[slot_of(key)] if key else None) or self.anyone()

    def anyone(self) -> Connector:
        """One of the masters, a connected one if there is any; else one after the other."""
        nodes = self._masters or [self.node(address) for address in self._pools.seeds]
        for node in nodes:
            if self.looks.is_connected(node):
                return node
        self._turn += 1
        return nodes[self._turn % len(nodes)]

    @property
    def masters(self) -> Sequence[Connector]:
        """The nodes that keep slots, as far as we know."""
        return self._masters

    def node(self, address: Address) -> Connector:
        """The node at an address."""
        connector = self._nodes.get(address)
        if connector is None:
            connector = self._nodes[address] = self._make_connector(self._pools.pool_at(address))
            connector.closed = self._closed
        return connector

    def moved(self, slot: int, address: Address, said_by: Connector) -> None:
        """A node said that the slot lies elsewhere; probably others do, too."""
        self._keepers[slot] = self.node(self.complete(address, said_by))
        if asyncio.get_running_loop().time() - self._learned_at > _PAUSE_S:
            self._learn_soon()

    def complete(self, address: Address, said_by: Connector) -> Address:
        """A node that does not know the other's host has it as its own."""
        if address.host:
            return address
        [host] = [at.host for at, node in self._nodes.items() if node is said_by]
        return Address(host, address.port)

    async def learn(self) -> None:
        """Ask who keeps what. Raises `BrokerUnavailableError` when no node tells, `BrokerRefusedError`."""
        await asyncio.shield(self._learn_soon())

    def belong(self, lines: "NodeLines") -> None:
        """These lines lead to our nodes."""
        self._all_lines.add(lines)

    async def aclose(self) -> None:
        """Wait until every connection is back in its pool."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.wait([self._learning])
        for connector in self._nodes.values():
            await connector.aclose()

    # -- helpers ------------------------------------------------------------------------------------------------

    def _learn_soon(self) -> "asyncio.Task[None]":
        if self._learning is None:
            self._learning = asyncio.get_running_loop().create_task(
                self._learn(), name=f"ask {self.server} who keeps what"
            )
            self._learning.add_done_callback(self._learned)
        return self._learning

    def _learned(self, learning: "asyncio.Task[None]") -> None:
        self._learning = None
        self._learned_at = asyncio.get_running_loop().time()
        if not learning.cancelled():
            # Whoever waits is told; if nobody does, what was asked for will meet it.
            learning.exception()

    async def _learn(self) -> None:
        # In random order, since one that is cut off from the others may have an old idea of who keeps what.
        masters = [address for address, node in self._nodes.items() if node in self._masters]
        asked = [*random.sample(masters, len(masters)), *self._pools.seeds]
        failure: BrokerError | None = None
        for address in dict.fromkeys(asked):
            try:
                async with asyncio.timeout(_ANSWER_S):
                    wire = await self.looks.to(self.node(address)).ready()
                    reply = await wire.send(pack((b"CLUSTER", b"SLOTS")))
            except TimeoutError:
                continue
            except BrokerUnavailableError as error:
                failure = error
                continue
            if isinstance(reply, ReplyError):
                raise self._refusal(reply)
            if reply:
                self._take(reply, address)
                return
        said = f"{failure}" if failure is not None else "none that was asked knows who keeps what"
        raise BrokerUnavailableError(f"{self.server} cannot be reached: {said}") from failure

    def _refusal(self, reply: ReplyError) -> BrokerError:
        if "cluster support disabled" in reply.text:
            return BrokerRefusedError(
                f"{self.server} is no cluster; write redis:// instead of redis+cluster://"
            )
        return translate(reply, "CLUSTER SLOTS", user=self.user, server=self.server)

    def _take(self, reply: Any, asked: Address) -> None:
        keepers: list[Connector | None] = [None] * SLOTS
        for first, last, address in read_slots(reply, asked):
            keepers[first : last + 1] = [self.node(address)] * (last + 1 - first)
        self._keepers = keepers
        self._masters = list(dict.fromkeys(node for node in keepers if node is not None))
        for address, node in list(self._nodes.items()):
            if node in self._masters or any(lines.is_connected(node) for lines in self._all_lines):
                continue
            # Addresses come and go; what is left of a node that is gone would gather for ever.
            del self._nodes[address]
            for lines in self._all_lines:
                lines.forget(node)


class NodeLines:
    """The lines of a broker for one purpose: one to each node, made when first used."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.name = name
        self.cluster = cluster
        self._lines: dict[Connector, Line] = {}
        cluster.belong(self)

    def at(self, key: bytes) -> Line:
        """The line to the node that keeps *key*; without a key, to any."""
        return self.to(self.cluster.keeper(key))

    def to(self, node: Connector) -> Line:
        """The line to a node."""
        line = self._lines.get(node)
        if line is None:
            line = self._lines[node] = Line(node, self.name)
        return line

    def beside(self, line: Line) -> Line:
        """The line to the node to which *line* leads."""
        return self.to(line.connector)

    def by_slot(self, keys: Sequence[bytes]) -> list[list[bytes]]:
        """The keys, those of one slot together: what one command may have."""
        slots: dict[int, list[bytes]] = {}
        for key in keys:
            slots.setdefault(slot_of(key), []).append(key)
        return list(slots.values())

    def each(self) -> list[Line]:
        """The lines to all masters that are known."""
        return [self.to(node) for node in self.cluster.masters]

    async def open(self) -> None:
        """Connect, and learn who keeps what. Raises `BrokerUnavailableError`, `BrokerRefusedError`."""
        await self.cluster.learn()

    async def ready(self) -> Wire:
        """A wire to any node."""
        return await self.at(b"").ready()

    def is_connected(self, node: Connector) -> bool:
        """Whether there is a wire to the node, or soon will be."""
        line = self._lines.get(node)
        return line is not None and line.is_in_use

    def forget(self, node: Connector) -> None:
        """The node is gone."""
        self._lines.pop(node, None)

    def drop(self, reason: str) -> None:
        """Close the connections at once; the next use makes new ones."""
        for line in self._lines.values():
            line.drop(reason)

    async def close(self) -> None:
        """Let what was sent be answered, then disconnect."""
        await asyncio.gather(*(line.close() for line in self._lines.values()))


Lines = Line | NodeLines
"""The lines for one purpose: of a single server one, of a cluster one to each node."""
