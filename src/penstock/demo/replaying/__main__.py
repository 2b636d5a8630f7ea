"""``python -m penstock.demo.replaying [--flights N] [--store URL]``."""

import argparse
import sys

from penstock.demo.replaying.story import FEWEST_FLIGHTS, main
from penstock.errors import PenstockError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m penstock.demo.replaying", description=main.__doc__)
    parser.add_argument(
        "--flights", type=int, default=30_000, metavar="N", help="how many there are before it begins"
    )
    parser.add_argument("--store", default="sqlite:///board.db", metavar="URL", help="the database")
    found = parser.parse_args()
    if found.flights < FEWEST_FLIGHTS:
        parser.error(f"--flights is {found.flights}; at least {FEWEST_FLIGHTS} are played")
    return found


if __name__ == "__main__":
    arguments = _arguments()
    try:
        sys.exit(main(flights=arguments.flights, store=arguments.store))
    except PenstockError as failure:
        sys.exit(f"the demo cannot go on: {failure}")
