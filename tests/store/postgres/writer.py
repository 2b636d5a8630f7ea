"""A process that appends in transactions of every kind, for `test_race.py`: ``writer.py URL SEED TRANSACTIONS ORACLE``.

With *ORACLE* 1 each transaction first takes an exclusive lock, so that they commit in the order of their positions.
"""

import random
import sys
import time

import psycopg

from penstock.store._postgres.backend import PostgresBackend
from tests.store.postgres.callers import add, new

__all__ = ["main"]

_ALONE = "SELECT pg_advisory_xact_lock(4711)"


def main(url: str, seed: int, transactions: int, *, oracle: bool) -> None:
    """Run that many transactions, each of one to three appends with pauses in between."""
    choose = random.Random(seed)
    store = PostgresBackend("local", url)
    with psycopg.connect(url) as connection:
        for number in range(transactions):
            if oracle:
                connection.execute(_ALONE)
            for part in range(choose.randint(1, 3)):
                undone = choose.random() < 0.15
                if undone:
                    connection.execute("SAVEPOINT attempt")
                name = f"{seed}-{number}-{part}"
                count = choose.choice([1, 1, 1, 2, 5])
                # Streams of its own: what is raced for is the order of commits, not a version.
                events = [new(f"writer{seed}-{number % 5}", f"{name}-{each}") for each in range(count)]
                add(store, connection, *events)
                if undone:
                    connection.execute("ROLLBACK TO SAVEPOINT attempt")
                if choose.random() < 0.3:
                    time.sleep(choose.random() * 0.01)  # idle in transaction
            if choose.random() < 0.15:
                connection.rollback()
            else:
                connection.commit()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), oracle=sys.argv[4] == "1")
