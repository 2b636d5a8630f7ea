"""Events of a store as lines of JSON: `penstock.store.lines`, which others read as well."""

from penstock.store.lines import EventLine, read_event_line, write_event_line

__all__ = ["EventLine", "read_event_line", "write_event_line"]
