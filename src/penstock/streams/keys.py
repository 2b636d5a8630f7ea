"""Names on the server: where a stream lies, and everything that is kept beside it.

All that belongs to a stream shares its hash slot, so that one script may change several of its keys. The rule for what
a server hashes is ``keyHashSlot`` in Valkey's ``cluster.c``: the text between the first ``{`` and the first ``}`` after
it, if there is any; else the whole key.
"""

import re
from typing import Final

from penstock.errors import UsageError

__all__ = ["Keys", "escape", "hash_tag", "unescape"]

_OURS: Final = "penstock:"
_ESCAPED: Final = {"%": "%25", ":": "%3A", "{": "%7B", "}": "%7D"}
_CACHED_STREAMS: Final = 10_000


def escape(part: str) -> str:
    """*part* with ``% : { }`` percent-escaped, so that it can stand between colons."""
    return re.sub("[%:{}]", lambda match: _ESCAPED[match[0]], part)


def unescape(text: str) -> str:
    """What `escape` was given."""
    return re.sub("%(25|3A|7B|7D)", lambda match: chr(int(match[1], 16)), text)


def hash_tag(key: str) -> str:
    """The part of *key* that a cluster hashes."""
    start = key.find("{")
    end = key.find("}", start + 1) if start >= 0 else -1
    return key[start + 1 : end] if end > start + 1 else key


class Keys:
    """The keys of one namespace. Names come without it; keys go out as bytes.

    Raises `UsageError` for a namespace with braces in it.
    """

    def __init__(self, namespace: str = "") -> None:
        if "{" in namespace or "}" in namespace:
            raise UsageError(
                f"namespace {namespace!r} has braces in it; they would decide the cluster slot of every key"
            )
        self.namespace = namespace
        self._prefix = f"{namespace}:" if namespace else ""
        self._streams: dict[str, bytes] = {}
        self._bases: dict[str, bytes] = {}

    def stream(self, name: str) -> bytes:
        """The key of a stream.

        Raises:
            UsageError: The name is empty, is not text a server could keep, would collide with our own keys, or nothing
                could be kept beside it in one cluster slot.
        """
        key = self._streams.get(name)
        if key is None:
            key = self._checked(name)
            if len(self._streams) >= _CACHED_STREAMS:
                self._streams.clear()
            self._streams[name] = key
        return key

    def name_of(self, key: bytes) -> str:
        """The stream whose key this is."""
        return key.decode().removeprefix(self._prefix)

    def base(self, stream: str) -> bytes:
        """What the key of everything kept beside *stream* begins with, the last colon included."""
        base = self._bases.get(stream)
        if base is None:
            tag = hash_tag(self.stream(stream).decode())
            base = f"{self._prefix}{_OURS}{{{tag}}}:{escape(stream)}:".encode()
            if len(self._bases) >= _CACHED_STREAMS:
                self._bases.clear()
            self._bases[stream] = base
        return base

    def beside(self, stream: str, part: str, *names: str) -> bytes:
        """The key of one thing kept beside *stream*; *names* are escaped, *part* is one of our own words."""
        return self.base(stream) + ":".join((part, *map(escape, names))).encode()

    def consumer(self, group: str, name: str) -> bytes:
        """The key of who works under a consumer name. It belongs to no stream."""
        return f"{self._prefix}{_OURS}{{{escape(group)}}}:consumer:{escape(name)}".encode()

    @property
    def scheduled(self) -> bytes:
        """The key of the streams for which something is scheduled, by when that may be due."""
        return f"{self._prefix}{_OURS}scheduled".encode()

    def lease(self, name: str, stream: str | None = None) -> bytes:
        """The key of a lease: beside its stream, or, without one, in a slot of its own.

        Raises:
            UsageError: The name is empty, or is not text a server could keep.
        """
        if not name:
            raise UsageError("a lease needs a name; this one is empty")
        try:
            if stream is not None:
                return self.beside(stream, "lease", name)
            # Nothing follows: keys beside a stream have its name there, and a part after it.
            return f"{self._prefix}{_OURS}{{{escape(name)}}}:lease".encode()
        except UnicodeEncodeError:
            raise UsageError(f"lease name {name!r} cannot be written as UTF-8") from None

    def value(self, space: str, key: str) -> bytes:
        """The key of a small value; all values of a space share a slot.

        Raises:
            UsageError: The space has no name, or one of the two is not text a server could keep.
        """
        if not space:
            raise UsageError("values need a name to be kept under; this one is empty")
        try:
            return f"{self._prefix}{_OURS}{{{escape(space)}}}:value:{escape(key)}".encode()
        except UnicodeEncodeError:
            raise UsageError(f"value {key!r} of {space!r} cannot be written as UTF-8") from None

    @property
    def streams(self) -> bytes:
        """The key of the set of known stream names."""
        return f"{self._prefix}{_OURS}streams".encode()

    def _checked(self, name: str) -> bytes:
        if not name:
            raise UsageError("a stream needs a name; this one is empty")
        if name in (f"{_OURS}streams", f"{_OURS}scheduled") or name.startswith(_OURS + "{"):
            raise UsageError(f"stream name {name!r} is a key of penstock's own; choose another")
        key = self._prefix + name
        if "}" in hash_tag(key):
            raise UsageError(
                f"stream name {name!r} has a '}}' outside of a hash tag, so that nothing can be kept beside it in one "
                "cluster slot; leave the brace out, or write a whole tag as in 'orders{eu}'"
            )
        try:
            return key.encode()
        except UnicodeEncodeError:
            raise UsageError(f"stream name {name!r} cannot be written as UTF-8") from None
