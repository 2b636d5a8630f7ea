"""A network that breaks on command: a proxy between a broker and its server."""

import asyncio
import ssl
from types import TracebackType
from typing import Self

__all__ = ["Proxy"]


class Proxy:
    """Passes bytes to a server's Unix socket, until told to hold, to lose or to cut them."""

    def __init__(self, target: str, *, tls: ssl.SSLContext | None = None) -> None:
        self.swallow_replies = False
        """Replies are lost."""
        self.pass_on: int | None = None
        """So many bytes more go to the server; what follows is lost."""
        self.cut_after_replies: int | None = None
        """After so many line ends from the server, the connection breaks."""
        self.passed_on = asyncio.Event()
        """Set when something has reached the server."""
        self.opened = 0
        self._target, self._tls = target, tls
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """The URL to give to a broker."""
        return f"redis://127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Break every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def stop_listening(self) -> None:
        """Refuse new connections, as a server that is down does."""
        if self._server is not None:
            self._server.close()

    async def listen(self, port: int = 0) -> None:
        """Take connections."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, ssl=self._tls)

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop_listening()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.opened += 1
        server_reader, server_writer = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, server_writer}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._to_server(reader, server_writer))
                both.create_task(self._to_client(server_reader, writer))
        except* OSError:
            pass
        finally:
            for end in (writer, server_writer):
                end.transport.abort()
                self._writers.discard(end)
            self._tasks.discard(task)

    async def _to_server(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            passing = data
            if self.pass_on is not None:
                passing, self.pass_on = data[: self.pass_on], max(0, self.pass_on - len(data))
            if passing:
                writer.write(passing)
                await writer.drain()
                self.passed_on.set()
        raise ConnectionResetError

    async def _to_client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self.swallow_replies:
                continue
            writer.write(data)
            await writer.drain()
            if self.cut_after_replies is not None:
                self.cut_after_replies -= data.count(b"\r\n")
                if self.cut_after_replies <= 0:
                    self.cut_after_replies = None
                    writer.close()
                    raise ConnectionResetError
        raise ConnectionResetError
