"""What the server of the streams says, or does not say."""

from collections.abc import Sequence
from datetime import timedelta

from penstock.errors._base import PenstockError, TransientError

__all__ = [
    "BrokerError",
    "BrokerUnavailableError",
    "BrokerFullError",
    "BrokerRefusedError",
    "UnknownStreamError",
    "UnknownGroupError",
    "EntryIdTooSmallError",
    "StreamFullError",
    "RepartitioningError",
    "ConsumerBusyError",
    "LaneBusyError",
    "LeaseBusyError",
    "LeaseLostError",
    "PublishError",
    "EmbeddedServerError",
    "WorkerStopped",
]


class BrokerError(PenstockError):
    """The server that keeps the streams said no, or said nothing."""


class BrokerUnavailableError(BrokerError, TransientError):
    """No answer came. What was being written may or may not be there; reading again is safe."""


class BrokerFullError(BrokerError, TransientError):
    """The server is at its memory limit and takes no writes. Nothing of this call was written."""


class BrokerRefusedError(BrokerError):
    """The server refuses us: wrong credentials, a missing permission, a command it does not know."""


class UnknownStreamError(BrokerError):
    """The stream does not exist."""

    def __init__(self, stream: str) -> None:
        self.stream = stream
        super().__init__(f"stream {stream!r} does not exist; it appears with its first entry or group")


class UnknownGroupError(BrokerError):
    """The consumer group, or its stream, does not exist."""

    def __init__(self, stream: str, group: str) -> None:
        self.stream, self.group = stream, group
        super().__init__(f"consumer group {group!r} of stream {stream!r} does not exist; create it first")


class EntryIdTooSmallError(BrokerError):
    """An explicit entry id that is not above the stream's last one. Nothing was written."""

    def __init__(self, stream: str, entry_id: str) -> None:
        self.stream, self.entry_id = stream, entry_id
        super().__init__(
            f"entry id {entry_id} is not above the last id of stream {stream!r}; leave the id out, or take a higher one"
        )


class StreamFullError(BrokerError, TransientError):
    """The stream is at its cap and every entry in it is still needed. Nothing was written."""

    def __init__(self, stream: str, *, limit: int) -> None:
        self.stream, self.limit = stream, limit
        super().__init__(
            f"stream {stream!r} holds {limit:,} entries, its cap, and a reader still needs the oldest; "
            "let it catch up, raise the cap, or allow it to remove what is needed"
        )


class RepartitioningError(BrokerError, TransientError):
    """A partition is closed, or belongs to another layout than the one that chose it. Nothing was written.

    Publishers read the layout again and wait for a while by themselves; who gets this error has waited.
    """

    def __init__(self, stream: str) -> None:
        self.stream = stream
        base = stream.rpartition(":")[0] or stream
        super().__init__(
            f"partition {stream!r} takes no events: the stream is being repartitioned; publish again later, and if "
            f"that lasts, finish it with 'penstock streams repartition {base}'"
        )


class ConsumerBusyError(BrokerError):
    """Another living process works under this consumer name."""

    def __init__(self, group: str, consumer: str, holder: str) -> None:
        self.group, self.consumer, self.holder = group, consumer, holder
        super().__init__(
            f"consumer {consumer!r} of group {group!r} is in use by {holder}; "
            "choose another name, or leave the name out to get a free one"
        )


class LaneBusyError(BrokerError):
    """Another member works this stream of an ordered group, and ours was told not to wait."""

    def __init__(self, group: str, stream: str, holder: str) -> None:
        self.group, self.stream, self.holder = group, stream, holder
        super().__init__(
            f"stream {stream!r} of ordered group {group!r} is worked by {holder}; "
            "stop that one first, or let this one wait: busy='wait'"
        )


class LeaseBusyError(BrokerError, TransientError):
    """Another holds the lease or lock. `remaining` is how long it does if it does not renew."""

    def __init__(self, name: str, holder: str, *, remaining: timedelta) -> None:
        self.name, self.holder, self.remaining = name, holder, remaining
        super().__init__(
            f"{name!r} is held by {holder}, for {remaining.total_seconds():.1f} s unless it is renewed; "
            "wait for it, or come again later"
        )


class LeaseLostError(BrokerError):
    """A lease or lock was lost while it was needed. Another may have it, and may have begun the same work."""

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(
            f"{name!r} was lost: {reason}; look at what has been done before you do it again, "
            "and give a longer life if the process was too busy to renew"
        )


class PublishError(BrokerError):
    """Some events of a publish were not written, or nobody knows.

    `outcomes` has one item per event, in publish order: ``"written"``, ``"not written"`` or ``"unknown"``;
    `entry_ids` the id of each written one, else ``None``; `causes` the error of each other one, else ``None``.
    Send ``"not written"`` ones again; send ``"unknown"`` ones again only where a duplicate is harmless or ``dedupe``
    is on.
    """

    def __init__(
        self,
        outcomes: Sequence[str],
        entry_ids: Sequence[str | None],
        causes: Sequence[BaseException | None],
    ) -> None:
        self.outcomes, self.entry_ids, self.causes = tuple(outcomes), tuple(entry_ids), tuple(causes)
        counts = {kind: self.outcomes.count(kind) for kind in ("written", "not written", "unknown")}
        first = next((str(cause) for cause in self.causes if cause is not None), "no answer")
        super().__init__(
            ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) + f": {first}"
        )


class EmbeddedServerError(BrokerError):
    """The embedded server could not be started, adopted or stopped."""


class WorkerStopped(PenstockError):  # noqa: N818  a consumer that halts by policy is not broken
    """A listener failed and its group's policy is to halt. The entry is still pending."""

    def __init__(self, group: str, stream: str, entry_id: str) -> None:
        self.group, self.stream, self.entry_id = group, stream, entry_id
        super().__init__(f"consumer group {group!r} halted at entry {entry_id} of stream {stream!r}")
