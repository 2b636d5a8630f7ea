"""A consumer group in your own hands: numbered consumers that give batches to a function, for as long as you like.

The rest is as for declared listeners: what is pending with the consumer comes first, a failing batch is run again one
by one so that only the bad ones are recorded, a poisonous entry is condemned, and nothing is acknowledged before its
outcome is known.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeAlias

from penstock.clock import parse_duration
from penstock.errors import ConsumerBusyError, UsageError
from penstock.listeners._moving import move_pending
from penstock.listeners.groups import Group
from penstock.listeners.runner import Runner
from penstock.streams.abc import StreamBroker

__all__ = ["GroupConsumer", "MakeRunner", "numbered"]

MakeRunner: TypeAlias = Callable[..., Awaitable[Runner]]
"""``make(group, consumer=..., until_idle=..., idle_exit=...)``: workers for a group, ready to run."""

_LISTENER = "consume"


def numbered(number: int) -> str:
    """The name of a numbered consumer. Raises `UsageError` for a number below 1."""
    if number < 1:
        raise UsageError(f"consumer number {number} does not exist; they begin at 1")
    return f"consumer-{number}"


class GroupConsumer:
    """Takes batches of a consumer group's entries; made by ``app.consumer("billing")``.

    Consumers are numbered, and each number is worked by one process at a time: to scale up, start one with a higher
    number; to scale down, stop it, then `claim` what it left for one that runs.
    """

    def __init__(
        self,
        group: Group,
        make_runner: MakeRunner,
        brokers: Callable[[], Awaitable[Mapping[str, StreamBroker]]],
    ) -> None:
        self.group = group
        self._make_runner = make_runner
        self._brokers = brokers
        self._runners: set[Runner] = set()

    async def consume(
        self,
        handler: Callable[..., Any],
        *,
        count: int = 100,
        drain: bool = False,
        idle_exit: timedelta | str | None = None,
    ) -> bool:
        """Work as ``consumer-1``: `consume_many` with the number 1."""
        return await self.consume_many(1, handler, count=count, drain=drain, idle_exit=idle_exit)

    async def consume_many(
        self,
        number: int,
        handler: Callable[..., Any],
        *,
        count: int = 100,
        drain: bool = False,
        idle_exit: timedelta | str | None = None,
    ) -> bool:
        """Work as ``consumer-<number>`` until `stop`; with *drain* until nothing is left; or *idle_exit* long idle.

        *handler* gets at most *count* entries of one stream at once, as ``list[Message]``, ``list[OrderPlaced]`` (or
        another declared event), or ``list[Delivery]`` to acknowledge each by itself; further parameters are filled as
        those of listeners are. What it returns from is acknowledged.

        Answers False when another process works under that number, or took it over; True when it came to its end.

        Raises:
            UsageError: *number* or *count* is below 1.
            ConfigurationError: The handler cannot be called, or the group has no streams.
            BrokerError: The server does not let us, or was away for too long.
        """
        consumer = numbered(number)
        if count < 1:
            raise UsageError(f"count is {count}; a batch holds at least one entry")
        runner = await self._make_runner(
            self._with(handler, count),
            consumer=consumer,
            until_idle=drain,
            idle_exit=None if idle_exit is None else parse_duration(idle_exit),
        )
        self._runners.add(runner)
        try:
            await runner.run()
        except ConsumerBusyError:
            return False
        except BaseExceptionGroup as failures:
            # One worker a pool; all of them were refused the same number.
            _, others = failures.split(ConsumerBusyError)
            if others is not None:
                raise others from None
            return False
        finally:
            self._runners.discard(runner)
        return True

    def stop(self) -> None:
        """End every `consume` of this object: what was begun is finished first."""
        for runner in self._runners:
            runner.stop()

    async def claim(self, source: int, target: int, *, force: bool = False) -> int:
        """Move what is pending with one number to another, which handles it without a restart; how many entries.

        The source must not be at work, unless *force*; it is removed afterwards.

        Raises:
            UsageError: Both are the same, or one is below 1.
            ConsumerBusyError: A living process works under the source's number.
        """
        if source == target:
            raise UsageError(f"consumer {source} cannot claim from itself")
        names = numbered(source), numbered(target)
        brokers = await self._brokers()
        moved = 0
        for stream in self.group.streams:
            moved += await move_pending(brokers[stream], stream, self.group.name, *names, force=force)
        return moved

    def _with(self, handler: Callable[..., Any], count: int) -> Group:
        """The group with one listener: all of its streams, in batches for the handler."""
        group = Group(
            self.group.name,
            replace(self.group.settings, max_batch=max(count, self.group.settings.max_batch)),
            streams=self.group.streams,
        )
        group.on(Any, name=_LISTENER, batch=count)(handler)
        return group
