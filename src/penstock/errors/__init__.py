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
│   ├── NoServerBinaryError         install the extra, or give a URL
│   ├── UnknownStoreError           configure the event store
│   ├── MissingMigrationError       run the named command
│   └── OtherMigrationError         the database is of another version
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
├── StoreError                      the event store refused
│   ├── StoreUnavailableError       also a TransientError: appending the same event ids again is safe
│   ├── StoreRefusedError           a missing permission, a hot standby: calling again will not help
│   ├── WrongVersionError           the stream has moved on: load, decide again, append
│   ├── ProtectedStreamError        a derived stream takes events from its projection alone
│   ├── DeletedStreamError
│   ├── UnknownEventStreamError
│   └── StoreWentBackError          the store was restored to an earlier state than its readers
├── ProjectionError                 a projection or relay stands; its position is where it was
│   ├── UnknownProjectionError
│   ├── ProjectionBusyError         also a TransientError: another process runs it
│   ├── ProjectionHaltedError       a handler failed, and the policy is to halt
│   ├── ProjectionChangedError      another version, kind or store than at its checkpoint
│   ├── RenamedProjectionError      a new name over tables that a former one has filled
│   └── StaleRunnerError            another runner moved the checkpoint; what was done is rolled back
├── ReplayError                     a copy cannot be made, compared or switched; the live read model is as it was
│   ├── UnknownReplayError
│   ├── ReplayExistsError           take another key, or remove that replay first
│   ├── ReplayMoveError             this step does not come next
│   ├── ReplayRefusedError          a look before the switch found what stands in its way
│   ├── ReplayBusyError             also a TransientError: others hold it, or the locks
│   └── IsolationError              a handler touched something outside of the copy it writes
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

from penstock.errors._archive import (
    ArchiveDamagedError,
    ArchiveError,
    ArchiveUnavailableError,
)
from penstock.errors._base import (
    BodyTooLargeError,
    IllegalTransitionError,
    MalformedDurationError,
    MalformedEntryIdError,
    PenstockError,
    TransientError,
    UnsupportedClientError,
    UsageError,
)
from penstock.errors._broker import (
    BrokerError,
    BrokerFullError,
    BrokerRefusedError,
    BrokerUnavailableError,
    ConsumerBusyError,
    EmbeddedServerError,
    EntryIdTooSmallError,
    LaneBusyError,
    LeaseBusyError,
    LeaseLostError,
    PublishError,
    RepartitioningError,
    StreamFullError,
    UnknownGroupError,
    UnknownStreamError,
    WorkerStopped,
)
from penstock.errors._codec import (
    CodecError,
    DecodeError,
    EncodeError,
    UndecodableEntryError,
    UnknownContentTypeError,
)
from penstock.errors._configuration import (
    ConfigurationError,
    IncompleteArchiveError,
    InvalidSettingsError,
    MissingExtraError,
    MissingMigrationError,
    NoArchiveError,
    NoServerBinaryError,
    OtherMigrationError,
    PartitionCountError,
    UnknownDependencyError,
    UnknownStoreError,
    UnregisteredGroupError,
    UnregisteredStreamError,
)
from penstock.errors._replay import (
    IsolationError,
    ReplayBusyError,
    ReplayError,
    ReplayExistsError,
    ReplayMoveError,
    ReplayRefusedError,
    UnknownReplayError,
)
from penstock.errors._store import (
    DeletedStreamError,
    ProjectionBusyError,
    ProjectionChangedError,
    ProjectionError,
    ProjectionHaltedError,
    ProtectedStreamError,
    RenamedProjectionError,
    StaleRunnerError,
    StoreError,
    StoreRefusedError,
    StoreUnavailableError,
    StoreWentBackError,
    UnknownEventStreamError,
    UnknownProjectionError,
    WrongVersionError,
)

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
    "DeletedStreamError",
    "EmbeddedServerError",
    "EncodeError",
    "EntryIdTooSmallError",
    "IllegalTransitionError",
    "IncompleteArchiveError",
    "InvalidSettingsError",
    "IsolationError",
    "LaneBusyError",
    "LeaseBusyError",
    "LeaseLostError",
    "MalformedDurationError",
    "MalformedEntryIdError",
    "MissingExtraError",
    "MissingMigrationError",
    "OtherMigrationError",
    "NoArchiveError",
    "NoServerBinaryError",
    "PartitionCountError",
    "PenstockError",
    "ProjectionBusyError",
    "ProjectionError",
    "ProjectionHaltedError",
    "ProjectionChangedError",
    "RenamedProjectionError",
    "ProtectedStreamError",
    "PublishError",
    "RepartitioningError",
    "ReplayBusyError",
    "ReplayError",
    "ReplayExistsError",
    "ReplayMoveError",
    "ReplayRefusedError",
    "StaleRunnerError",
    "StoreError",
    "StoreRefusedError",
    "StoreUnavailableError",
    "StoreWentBackError",
    "StreamFullError",
    "TransientError",
    "UndecodableEntryError",
    "UnknownContentTypeError",
    "UnknownDependencyError",
    "UnknownEventStreamError",
    "UnknownGroupError",
    "UnknownProjectionError",
    "UnknownReplayError",
    "UnknownStoreError",
    "UnknownStreamError",
    "UnregisteredGroupError",
    "UnregisteredStreamError",
    "UnsupportedClientError",
    "UsageError",
    "WorkerStopped",
    "WrongVersionError",
]
