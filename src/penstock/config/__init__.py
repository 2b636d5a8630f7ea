"""Settings: read from code, file, environment and command line, checked as a whole, and frozen.

This package alone reads the environment and looks for settings files; everything else is handed what it needs.
"""

from penstock.config._load import load_settings
from penstock.config._model import (
    LOCAL_STORE,
    ArchiveSettings,
    ListenerSettings,
    PoolSettings,
    ProjectionSettings,
    Settings,
    StoreSettings,
    StreamSettings,
)
from penstock.config._saying import mask
from penstock.config._show import Setting, describe

__all__ = [
    "LOCAL_STORE",
    "ArchiveSettings",
    "ListenerSettings",
    "PoolSettings",
    "ProjectionSettings",
    "Setting",
    "Settings",
    "StoreSettings",
    "StreamSettings",
    "describe",
    "load_settings",
    "mask",
]
