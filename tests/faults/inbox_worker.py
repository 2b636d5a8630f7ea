"""A process with an inbox: ``python -m tests.faults.inbox_worker URL NAMESPACE STORE [--die-at KIND NUMBER]``.

It works until idle, or dies by SIGKILL at a step: the beginning or end of a call of the broker (``broker``), of a
statement (``sql``), or of a commit (``commit``), the first of its kind being number 0.
"""

import argparse
import asyncio
import os
import signal
from collections import Counter
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from penstock import App
from penstock._building import Selection
from penstock.listeners.inbox import Inboxes
from penstock.store.work.lending import Lender
from penstock.streams.valkey import ValkeyBroker
from penstock.testing.faulty import Faulty
from tests.faults.shop import Ordered


async def main() -> None:
    """Work until idle, or until the moment to die."""
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("namespace")
    parser.add_argument("store")
    parser.add_argument("--die-at", nargs=2, default=("", "0"))
    options = parser.parse_args()
    kind, number = options.die_at[0], int(options.die_at[1])
    steps = Counter[str]()

    def step(of: str) -> None:
        if of == kind and steps[of] == number:
            os.kill(os.getpid(), signal.SIGKILL)
        steps[of] += 1

    plain = ValkeyBroker(options.url, namespace=options.namespace)
    broker = Faulty(plain, at_step=lambda _: step("broker"))
    app = App("shop", broker=broker, store=options.store, housekeeping=False)

    @app.listener(Ordered, store="local")
    def charge(order: Ordered, session: Session) -> None:
        session.execute(text("INSERT INTO charges VALUES (:order_id)"), {"order_id": order.order_id})

    async with app:
        lender: Lender = await app.dependencies.value_of(Inboxes).open("local")
        database: Any = lender.database
        execute, connect = database.execute, database.connect

        def executed(*args: Any) -> Any:
            step("sql")
            try:
                return execute(*args)
            finally:
                step("sql")

        class Stepping:
            """A connection whose commits are steps."""

            def __init__(self, raw: Any) -> None:
                self.raw = raw

            def commit(self) -> None:
                """Commit, between two steps."""
                step("commit")
                self.raw.commit()
                step("commit")

            def __getattr__(self, name: str) -> Any:
                return getattr(self.raw, name)

        database.execute = executed
        database.connect = lambda **how: Stepping(connect(**how))
        runner = await app.runner(Selection(consumer="ann", until_idle=True))
        await runner.run()


if __name__ == "__main__":
    asyncio.run(main())
