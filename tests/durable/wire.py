"""A wire to a Postgres server that can be cut, frozen and mended."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from tempfile import TemporaryDirectory
from urllib.parse import parse_qs, urlsplit

PIECE = 65_536


class Wire:
    """Hands bytes on between clients and a server, as long as it is whole."""

    def __init__(self, server: str, folder: str) -> None:
        parts = urlsplit(server)
        self._target = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._path = f"{folder}/.s.PGSQL.5432"
        self.url = f"{parts.scheme}://{parts.netloc}{parts.path}?host={folder}"
        self._listening: asyncio.Server | None = None
        self._lines: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.connections = 0
        """How many were made through it."""

    async def mend(self) -> None:
        self._flows.set()
        if self._listening is None:
            self._listening = await asyncio.start_unix_server(self._connect, self._path)

    async def cut(self) -> None:
        """Break all connections, and let nobody make one."""
        listening, self._listening = self._listening, None
        if listening is not None:
            listening.close()
        for line in tuple(self._lines):
            line.transport.abort()

    def freeze(self) -> None:
        """Hand nothing on; nobody is told."""
        self._flows.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        there, here = await asyncio.open_unix_connection(self._target)
        if self._listening is None:  # it was cut meanwhile
            writer.transport.abort()
            here.transport.abort()
            return
        self._lines |= {writer, here}
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._hand_on(reader, here))
                both.create_task(self._hand_on(there, writer))
        finally:
            self._lines -= {writer, here}

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while piece := await reader.read(PIECE):
                await self._flows.wait()
                writer.write(piece)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def wire_to(server: str) -> AsyncGenerator[Wire]:
    """A whole wire to the server; its `url` is where clients connect."""
    with TemporaryDirectory(prefix="wire", dir="/tmp") as folder:
        wire = Wire(server, folder)
        await wire.mend()
        yield wire
        await wire.cut()
