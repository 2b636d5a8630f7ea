"""A FastAPI service whose requests write rows and events in one transaction of SQLAlchemy's AsyncSession."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, HTTPException
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from penstock import App, Event
from penstock.errors import WrongVersionError

app = App("shop", store="sqlite:///shop.db")
store = app.store()

engine = create_async_engine("sqlite+aiosqlite:///shop.db")
sessions = async_sessionmaker(engine)


class Base(DeclarativeBase):
    pass


class Account(Base):
    __tablename__ = "accounts"
    name: Mapped[str] = mapped_column(primary_key=True)
    cents: Mapped[int] = mapped_column(default=0)


class Deposited(Event, name="account.deposited", key="account"):
    account: str
    cents: int


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await store.open()
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()
    await app.close()


async def transaction() -> AsyncIterator[AsyncSession]:
    async with sessions.begin() as session:  # commits after the request, or rolls back
        yield session


web = FastAPI(lifespan=lifespan)


@web.post("/accounts/{name}/deposits/{cents}")
async def deposit(
    name: str,
    cents: int,
    session: Annotated[AsyncSession, Depends(transaction, scope="function")],
    version: int | None = None,
) -> dict[str, int]:
    account = await session.get(Account, name) or Account(name=name, cents=0)
    session.add(account)
    account.cents += cents
    event = Deposited(account=name, cents=cents)
    try:
        if version is None:
            placed = await store.append(event, within=session)
        else:
            placed = await store.append(event, within=session, expected_version=version)
    except WrongVersionError as conflict:
        raise HTTPException(409, f"the account is at version {conflict.actual}") from conflict
    if account.cents > 1_000_000:
        raise HTTPException(422, "that is too much for one account")
    return {"version": placed.stream_version}


async def visit() -> None:
    async with (
        lifespan(web),
        httpx.AsyncClient(transport=httpx.ASGITransport(web), base_url="http://shop") as client,
    ):
        for path in (
            "ann/deposits/500",
            "ann/deposits/2000000",
            "ann/deposits/300?version=7",
            "ann/deposits/300?version=1",
        ):
            answer = await client.post(f"/accounts/{path}")
            print(answer.status_code, answer.json())

        async with sessions() as session:
            account = await session.get_one(Account, "ann")
            print("row:", account.cents)
        print("events:", [event.decode(Deposited).cents async for event in store.read("account-ann")])


asyncio.run(visit())
