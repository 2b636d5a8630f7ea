"""Names of streams that belong together: a topic, its subtopics, its shards, and the streams of its requests.

A stream's name is made of parts, in this order, and says each of them back:

```text
[namespace "::"] topic {"/" subtopic} ["#" shard] [":requests" | ":responses"]
```

In a part, the signs that would clash are percent-escaped (``% : # / { }``), so that any text will do. Writers and
readers of a shard meet because both ask `with_shard`, and nothing else, for the name.
"""

import re
from dataclasses import dataclass, replace
from typing import Final, Literal, Self, TypeAlias

from penstock.errors import UsageError

__all__ = ["Topic", "TopicRole", "split_shard", "with_shard"]

TopicRole: TypeAlias = Literal["stream", "requests", "responses"]
"""What a stream of a topic is for."""

_ESCAPED: Final = {sign: f"%{ord(sign):02X}" for sign in "%:#/{}"}
_SIGNS: Final = {code: sign for sign, code in _ESCAPED.items()}
_ROLES: Final[dict[str, TopicRole]] = {":requests": "requests", ":responses": "responses"}


@dataclass(frozen=True, slots=True)
class Topic:
    """A named subject, and the streams on which it is talked about.

    ``Topic("orders").subtopic("eu").shard("tenant-1").stream`` is ``"orders/eu#tenant-1"``. Raises `UsageError` for a
    part that is empty or cannot be written as UTF-8.
    """

    name: str
    namespace: str | None = None
    """Kept by subtopics and shards. It is part of the name, beside the namespace that an app puts before its keys."""
    subtopics: tuple[str, ...] = ()
    shard_name: str | None = None

    def __post_init__(self) -> None:
        parts = {"topic": self.name, "namespace": self.namespace, "shard": self.shard_name}
        for what, part in [*parts.items(), *(("subtopic", each) for each in self.subtopics)]:
            if part is not None:
                _escape(what, part)

    def subtopic(self, name: str) -> Self:
        """The topic *name* within this one; namespace and shard stay."""
        return replace(self, subtopics=(*self.subtopics, name))

    def shard(self, name: str) -> Self:
        """The part of the topic that is *name*'s: a tenant's, a version's. Raises `UsageError` in a shard."""
        if self.shard_name is not None:
            raise UsageError(
                f"topic {self.stream!r} is shard {self.shard_name!r} already; a shard has no shards"
            )
        return replace(self, shard_name=name)

    @property
    def stream(self) -> str:
        """The stream of its events."""
        before = "" if self.namespace is None else _escape("namespace", self.namespace) + "::"
        path = "/".join(_escape("topic", each) for each in (self.name, *self.subtopics))
        return before + path if self.shard_name is None else with_shard(before + path, self.shard_name)

    @property
    def requests(self) -> str:
        """The stream on which it is asked for something."""
        return self.stream + ":requests"

    @property
    def responses(self) -> str:
        """The stream on which it answers."""
        return self.stream + ":responses"

    @classmethod
    def parse(cls, stream: str) -> Self:
        """The topic that gave this name to a stream, whichever of its three. Raises `UsageError` where none did."""
        base = _without_role(stream)
        path, shard = split_shard(base)
        before, separator, path = path.rpartition("::")
        names = [_unescape(each) for each in path.split("/")]
        found = cls(
            names[0],
            namespace=_unescape(before) if separator else None,
            subtopics=tuple(names[1:]),
            shard_name=shard,
        )
        if found.stream != base:
            raise UsageError(
                f"{stream!r} is not a name that a topic gives; Topic(...).stream makes one of any text"
            )
        return found

    @staticmethod
    def role_of(stream: str) -> TopicRole:
        """What a topic's stream of this name is for."""
        for ending, role in _ROLES.items():
            if stream.endswith(ending):
                return role
        return "stream"


def with_shard(stream: str, shard: str) -> str:
    """The stream of one shard: ``order.placed#tenant-1``. Whoever writes or reads a shard takes its name from here.

    Raises:
        UsageError: The shard is empty or no text that can be written, or the stream's name has a ``#`` in it, behind
            which the shard could not be told from it.
    """
    if "#" in stream:
        raise UsageError(
            f"stream {stream!r} has a '#' in its name, so that no shard of it could be told apart; rename the stream, "
            "or leave shard= out"
        )
    return f"{stream}#{_escape('shard', shard)}"


def split_shard(stream: str) -> tuple[str, str | None]:
    """What `with_shard` was given; the name as it is, and no shard, where it gave none."""
    base, sign, shard = stream.partition("#")
    return (base, _unescape(shard)) if sign and base and shard else (stream, None)


def _without_role(stream: str) -> str:
    for ending in _ROLES:
        if stream.endswith(ending):
            return stream.removesuffix(ending)
    return stream


def _escape(what: str, part: str) -> str:
    if not part:
        raise UsageError(f"a {what} needs a name; this one is empty")
    try:
        part.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{what} {part!r} cannot be written as UTF-8") from None
    return re.sub("[%:#/{}]", lambda match: _ESCAPED[match[0]], part)


def _unescape(text: str) -> str:
    return re.sub("%(?:25|3A|23|2F|7B|7D)", lambda match: _SIGNS[match[0]], text)
