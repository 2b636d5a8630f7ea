"""What is used of Django, which has no types, without any."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

__all__ = ["AppConfig", "connections", "import_string", "router", "settings", "signals", "transaction"]

if TYPE_CHECKING:

    class AppConfig:
        """The base of what configures an app of Django's."""

        name: str
        label: str
        verbose_name: str

        def ready(self) -> None:
            """Called once, when all models are known."""

else:
    AppConfig = import_module("django.apps").AppConfig

connections: Final[Any] = import_module("django.db").connections
"""The databases, by alias."""
import_string: Final[Any] = import_module("django.utils.module_loading").import_string
"""What a dotted path names."""
router: Final[Any] = import_module("django.db").router
"""Which database a model is written to."""
settings: Final[Any] = import_module("django.conf").settings
"""The settings of the project."""
signals: Final[Any] = import_module("django.db.models").signals
"""What Django tells of models."""
transaction: Final[Any] = import_module("django.db").transaction
"""Django's transactions."""
