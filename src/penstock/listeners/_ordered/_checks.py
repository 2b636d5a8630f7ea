"""What cannot work in an ordered group, or outside of one: found before anything is started."""

from penstock.errors import ConfigurationError
from penstock.listeners.groups import Group

__all__ = ["check_mode"]


def check_mode(group: Group) -> None:
    """Raises `ConfigurationError` naming the group, what does not go together, and what to choose instead."""
    settings = group.settings
    if not settings.is_ordered:
        if settings.on_failure == "park":
            raise ConfigurationError(
                f"group {group.name!r} parks failing events, which keeps the order of a key, but is in mode "
                "'parallel', which has none; choose mode='keyed' or 'exclusive', or on_failure='retry'"
            )
        return
    mode = f"group {group.name!r} is in mode {settings.mode!r}"
    if settings.on_failure == "leave_pending" or settings.unhandled == "leave_pending":
        what = "on_failure" if settings.on_failure == "leave_pending" else "unhandled"
        instead = "'retry', 'park' or 'halt'" if what == "on_failure" else "'acknowledge' or 'fail'"
        raise ConfigurationError(
            f"{mode}: an event left pending would be overtaken by those behind it; choose {what}={instead}"
        )
    for listener in group.listeners:
        if listener.batch is not None:
            raise ConfigurationError(
                f"{mode}, but its listener {listener.name!r} takes batches, of which one event may fail after later "
                "ones succeeded; take the events one by one, or choose mode='parallel'"
            )
        if listener.acknowledge == "manual":
            raise ConfigurationError(
                f"{mode}, but its listener {listener.name!r} has acknowledge='manual': what it leaves unacknowledged "
                "would be overtaken by what is behind it; raise RetryLater to have an event again later"
            )
