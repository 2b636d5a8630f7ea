"""How much of the public API has types that every checker knows, as pyright's ``--verifytypes`` counts it.

`make check` ends here with an error when a public symbol has an unknown type. Symbols whose type is only inferred, such
as ``self.stream = stream`` with a declared parameter, are counted and shown: mypy and pyright agree on them, and the
typing tests hold that.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["measure", "verdict"]


def measure(package: str = "penstock") -> dict[str, Any]:
    """What pyright says of the installed *package*."""
    here = Path(sys.executable).parent
    done = subprocess.run(
        [sys.executable, "-m", "basedpyright", "--verifytypes", package, "--ignoreexternal", "--outputjson"],
        # It looks for the package in the environment of the first python on the path.
        env=os.environ | {"PATH": f"{here}{os.pathsep}{os.environ.get('PATH', os.defpath)}"},
        capture_output=True,
        text=True,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def verdict(answer: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Lines for a person, and what is wrong: symbols of unknown type, or no typed package at all."""
    found: dict[str, Any] = answer["typeCompleteness"]
    counts: dict[str, int] = found["exportedSymbolCounts"]
    lines = [
        f"type completeness of {found['packageName']}: {found['completenessScore']:.1%}",
        ", ".join(f"{counts[key]} {word}" for key, word in _WORDS.items()),
    ]
    wrong = [
        f"{symbol['name']} has a type that is unknown" for symbol in found["symbols"] if _is_unknown(symbol)
    ]
    if not found.get("pyTypedPath") or not sum(counts.values()):
        wrong.append("no typed package was found: is it installed, and is py.typed there?")
    return lines, wrong


_WORDS = {"withKnownType": "known", "withAmbiguousType": "inferred", "withUnknownType": "unknown"}


def _is_unknown(symbol: dict[str, Any]) -> bool:
    return bool(symbol["isExported"] and not symbol["isTypeKnown"] and not symbol["isTypeAmbiguous"])


if __name__ == "__main__":
    said, complaints = verdict(measure())
    print(*said, *complaints, sep="\n")
    sys.exit(1 if complaints else 0)
