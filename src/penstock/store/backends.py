"""From a URL to the backend that keeps a store there. Drivers are imported when they are needed."""

from typing import Any

from penstock.errors import ConfigurationError
from penstock.store.abc import StoreBackend

__all__ = ["make_backend"]


def make_backend(name: str, url: str, **how: Any) -> StoreBackend:
    """The backend for a store's URL, not connected yet; *how* are settings of that kind of backend.

    Raises:
        ConfigurationError: No kind of store has such a URL.
        MissingExtraError: Its driver is not installed.
    """
    scheme = url.partition(":")[0].partition("+")[0].lower()
    if scheme == "sqlite":
        from penstock.store._sqlite import SqliteBackend

        return SqliteBackend(name, url)
    if scheme in ("postgresql", "postgres"):
        from penstock.store import _postgres

        return _postgres.make_backend(name, url, **how)
    raise ConfigurationError(
        f"store {name!r}: a store in {scheme!r} is not possible; take sqlite:///shop.db or postgresql://HOST/NAME"
    )
