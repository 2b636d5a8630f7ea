"""A failure that mends itself, one that does not, the list of failed messages, and a retry by hand."""

import asyncio

from penstock import App, Event, Message, Retry
from penstock.operations import FailedWhich, Operations

app = App("retries")
billing = app.group("billing", retry=Retry(attempts=3, initial="100ms"))
blocked = {"card-2"}


class CardCharged(Event, name="card.charged", key="card"):
    card: str
    cents: int


@billing.on(CardCharged)
async def charge(charged: CardCharged, message: Message) -> None:
    if charged.card == "card-1" and message.attempt == 1:
        print("card-1: the bank does not answer")
        raise TimeoutError("the bank does not answer")
    if charged.card in blocked:
        raise ValueError(f"{charged.card} is blocked")
    print(f"{charged.card}: {charged.cents / 100:.2f} charged on run {message.attempt}")


async def show(operations: Operations) -> None:
    page = await operations.failed()
    for record in page.items:
        print(f"failed list: {record.error} ({record.attempts} runs)")
    if not page.items:
        print("failed list: empty")


async def main() -> None:
    async with app:
        operations = Operations(app)
        await app.emit(CardCharged(card="card-1", cents=700))
        await app.emit(CardCharged(card="card-2", cents=900))
        await app.run(idle_exit="1s")
        await show(operations)

        blocked.clear()
        async for result in operations.failed_retry(FailedWhich(), everything=True):
            print(f"retry by hand: {result.outcome.value}")
        await show(operations)


asyncio.run(main())
