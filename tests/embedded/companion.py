"""The program of a `Companion`: reads words, uses a server accordingly, prints a line of JSON for each."""

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import redis

from penstock.errors import PenstockError
from penstock.streams.embedded import ServerUse, use_server
from penstock.streams.embedded._record import Durability
from tests.embedded.helpers import add, client

__all__: list[str] = []


class _Companion:
    def __init__(self, folder: Path, linger: timedelta, durability: Durability) -> None:
        self._folder, self._linger = folder, linger
        self._durability: Durability = durability
        self._uses: list[ServerUse] = []

    def use(self) -> Any:
        use = use_server(self._folder, linger=self._linger, durability=self._durability)
        self._uses.append(use)
        with client(use.url) as server:
            return {
                "url": use.url,
                "run_id": server.info("server")["run_id"],
                "pid": server.info("server")["process_id"],
            }

    def release(self) -> Any:
        self._uses.pop().release()
        return "released"

    def write_until_killed(self) -> Any:
        """Add to a stream without end, noting each id outside once the server has acknowledged it."""
        with (
            client(self._uses[-1].url) as server,
            (self._folder / "acknowledged").open("ab", buffering=0) as noted,
        ):
            while True:
                noted.write(add(server, "1") + b"\n")


def main() -> None:
    """Do what standard input says, a word a line."""
    companion = _Companion(
        Path(sys.argv[1]), timedelta(seconds=float(sys.argv[2])), cast("Durability", sys.argv[3])
    )
    for line in sys.stdin:
        try:
            answer = getattr(companion, line.strip())()
        except PenstockError as error:
            answer = {"error": str(error)}
        except redis.ConnectionError as error:
            answer = {"lost": str(error)}
        print(json.dumps(answer), flush=True)  # noqa: T201  it speaks to the test


if __name__ == "__main__":
    main()
