"""Settings (being written)."""
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
@dataclass(frozen=True)
class Settings:
    streams: str | None = None
    namespace: str = ""
    strict: bool = False
    data_folder: Path = Path(".penstock")
    durability: Any = "everysec"
    max_body: int = 1 << 20
    source: str | None = None
    reconnect_attempts: int | None = None
    pools: Mapping[str, Any] = field(default_factory=dict)
    stream_settings: Mapping[str, Any] = field(default_factory=dict)
    groups: Mapping[str, Any] = field(default_factory=dict)
    listeners: Mapping[str, Any] = field(default_factory=dict)
def load_settings(*, code: Mapping[str, Any] = {}, file: Any = None, overrides: Mapping[str, Any] = {}, source: Any = None, **_: Any) -> Settings:
    return Settings(source=source, **{**code, **overrides})
