"""The Django app: reads from Django's settings where change events go.

``PENSTOCK_APP = "shop.events.app"`` names the `penstock.App`; ``PENSTOCK_CHANGES = {"default": "local"}`` says for each
of Django's databases through which store its changes go, or ``"streams"`` for the app's streams.
"""

from typing import Any, Final

from penstock.errors import ConfigurationError
from penstock.models.django._library import AppConfig, import_string, settings
from penstock.models.django._tracking import emit_changes

__all__ = ["PenstockConfig"]

_STREAMS: Final = "streams"


class PenstockConfig(AppConfig):
    """Called ``penstock`` among Django's apps."""

    name = "penstock.models.django"
    label = "penstock"
    verbose_name = "Penstock"

    def ready(self) -> None:
        """Say where changes go. Connects to nothing.

        Raises:
            ConfigurationError: ``PENSTOCK_APP`` is missing, or names nothing that is an app.
            UnknownStoreError: The app has no store of that name.
        """
        path = getattr(settings, "PENSTOCK_APP", None)
        if path is None:
            raise ConfigurationError(
                "INSTALLED_APPS has penstock.models.django, and the settings do not say which app that is for; "
                'add PENSTOCK_APP = "shop.events.app"'
            )
        try:
            app: Any = import_string(path)
        except ImportError as failure:
            raise ConfigurationError(
                f"PENSTOCK_APP is {path!r}, which cannot be imported: {failure}"
            ) from failure
        if not (hasattr(app, "store") and hasattr(app, "emit_many")):
            raise ConfigurationError(f"PENSTOCK_APP is {path!r}, which is no penstock.App but {app!r}")
        changes: dict[str, str] = getattr(settings, "PENSTOCK_CHANGES", {"default": "local"})
        for using, where in changes.items():
            emit_changes(using, app if where == _STREAMS else app.store(where))
