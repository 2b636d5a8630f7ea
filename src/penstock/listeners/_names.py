"""Consumer names: stable, so that a restarted process finds its pending entries, and never shared by two living ones.

A default name is the host's with a slot number. The right to a name is held on the server for a short life and renewed.
A process that died without giving it back is recognised where that is certain (same host, same process namespace, its
process gone or another one by now); elsewhere its name comes free when its life runs out.
"""

import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from penstock.clock import Clock
from penstock.errors import ConsumerBusyError
from penstock.streams.abc import Holder, StreamBroker

__all__ = ["HeldName", "Process", "hold_name", "working_as"]

LIFE = timedelta(seconds=15)
_MOST_SLOTS = 10_000


@dataclass(frozen=True, slots=True)
class Process:
    """Enough of a process to tell later whether it still lives."""

    host: str
    pid: int
    started: str
    namespace: str

    @classmethod
    def this(cls) -> "Process":
        """The one that runs this."""
        pid = os.getpid()
        return cls(socket.gethostname(), pid, _start_time(pid), _pid_namespace())

    @classmethod
    def read(cls, description: str) -> "Process | None":
        """What was written of one; ``None`` if it is something else."""
        try:
            return cls(**json.loads(description))
        except (ValueError, TypeError):
            return None

    def is_surely_dead(self) -> bool:
        """Whether the process was one of ours to see, and is gone or has been replaced under its number."""
        if self.host != socket.gethostname() or not self.namespace or self.namespace != _pid_namespace():
            return False
        return _start_time(self.pid) != self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _start_time(pid: int) -> str:
    """When a process started, in the kernel's own ticks; empty when there is none. Source: ``proc(5)``, field 22."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    fields = stat.rpartition(")")[2].split()
    # A zombie holds its number but nothing else.
    return "" if fields[0] == "Z" else fields[19]


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


class HeldName:
    """A consumer name that is ours while it is renewed."""

    def __init__(self, broker: StreamBroker, group: str, consumer: str, token: str) -> None:
        self.consumer = consumer
        self._broker = broker
        self._group = group
        self._token = token

    async def keep(self, clock: Clock) -> None:
        """Renew for ever; returns when the name was lost to another process."""
        while True:
            await clock.sleep(LIFE / 3)
            holder = await self._broker.hold_name(
                self._group,
                self.consumer,
                token=self._token,
                description=_describe(),
                life=LIFE,
            )
            if holder.token != self._token:
                return

    async def free(self) -> None:
        """Give the name back."""
        await self._broker.free_name(self._group, self.consumer, token=self._token)


async def hold_name(broker: StreamBroker, group: str, wanted: str | None) -> HeldName:
    """Hold *wanted*, or the first free ``<host>-<slot>``.

    Raises:
        ConsumerBusyError: A living process holds the wanted name.
    """
    token = uuid.uuid4().hex
    if wanted is not None:
        holder = await _try(broker, group, wanted, token)
        if holder.token != token:
            process = Process.read(holder.description)
            raise ConsumerBusyError(group, wanted, str(process or holder.description))
        return HeldName(broker, group, wanted, token)
    host = socket.gethostname()
    for slot in range(1, _MOST_SLOTS):
        name = f"{host}-{slot}"
        if (await _try(broker, group, name, token)).token == token:
            return HeldName(broker, group, name, token)
    raise ConsumerBusyError(group, f"{host}-1 to {host}-{_MOST_SLOTS}", "living processes")


async def _try(broker: StreamBroker, group: str, name: str, token: str) -> Holder:
    holder = await broker.hold_name(group, name, token=token, description=_describe(), life=LIFE)
    if holder.token == token:
        return holder
    process = Process.read(holder.description)
    if process is None or not process.is_surely_dead():
        return holder
    return await broker.hold_name(
        group, name, token=token, description=_describe(), life=LIFE, replace=holder.token
    )


async def is_abandoned(broker: StreamBroker, group: str, consumer: str, token: str) -> bool:
    """Whether nobody alive holds the name; if so it is ours under *token* now, to be freed."""
    return (await _try(broker, group, consumer, token)).token == token


async def working_as(broker: StreamBroker, group: str, consumer: str) -> str | None:
    """Who is alive and works under a consumer name, for people to read; ``None`` when nobody does."""
    token = uuid.uuid4().hex
    if await is_abandoned(broker, group, consumer, token):
        await broker.free_name(group, consumer, token=token)
        return None
    return await holder_of(broker, group, consumer)


async def holder_of(broker: StreamBroker, group: str, consumer: str) -> str:
    """Who works under the name, for people to read."""
    token = uuid.uuid4().hex
    holder = await _try(broker, group, consumer, token)
    if holder.token == token:
        await broker.free_name(group, consumer, token=token)
        return "nobody any more"
    return str(Process.read(holder.description) or holder.description)


def _describe() -> str:
    return json.dumps(asdict(Process.this()))
