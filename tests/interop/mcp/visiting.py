"""A live agent that calls the tools of a server, and the server as a process."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from sidetask.interop.mcp import McpServer
from tests.limits import HANG
from tests.runtime.harness import Talk, talking

WORKSHOP = Path(__file__).with_name("workshop.py")


def visiting(*script: Any, server: McpServer, **more: Any) -> AbstractAsyncContextManager[Talk]:
    """Open an agent with the tools of this server, whose model plays this script."""
    tools: Any = [server]
    return talking(*script, tools=tools, **more)


def answers(talk: Talk) -> list[str]:
    return [each.content for each in talk.answers()]


class Bench:
    """The workshop as processes: where they note what they do."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "workshop.log"
        self.env = {"WORKSHOP_LOG": str(self._log)}

    def notes(self) -> list[str]:
        return self._log.read_text().split("\n")[:-1] if self._log.exists() else []

    def pids(self) -> list[int]:
        """All that were ever started, the oldest first."""
        return [int(note.split()[1]) for note in self.notes() if note.startswith("start ")]

    def count(self, note: str) -> int:
        return self.notes().count(note)

    async def noted(self, note: str, times: int = 1) -> None:
        """Wait until it stands there."""
        async with asyncio.timeout(HANG):
            while self.count(note) < times:  # noqa: ASYNC110 - another process writes it
                await asyncio.sleep(0.01)

    def stdio(self, **options: Any) -> McpServer:
        env = self.env | options.pop("env", {})
        return McpServer.stdio(sys.executable, [str(WORKSHOP)], env=env, **options)

    def silent(self, **options: Any) -> McpServer:
        """One that starts and says nothing."""
        script = 'echo "start $$" >> "$WORKSHOP_LOG"; exec sleep 600'
        return McpServer.stdio("sh", ["-c", script], env=self.env, **options)

    def _start(self, port: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, str(WORKSHOP), str(port)],
            env=os.environ | self.env,
            stderr=subprocess.DEVNULL,
        )

    @asynccontextmanager
    async def serving(self, port: int) -> AsyncGenerator[subprocess.Popen[bytes]]:
        """The workshop at `http://127.0.0.1:port/mcp`, killed at the end."""
        process = self._start(port)
        try:
            await _listening(port)
            yield process
        finally:
            kill(process)


def kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
    process.wait()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@contextmanager
def free_port() -> Generator[int]:
    """A port that nobody else is given meanwhile. Whoever is told of it may listen there, as
    servers set SO_REUSEADDR, and this one does not listen."""
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(("127.0.0.1", 0))
        yield found.getsockname()[1]


async def _listening(port: int) -> None:
    async with asyncio.timeout(HANG):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            writer.close()
            await writer.wait_closed()
            return
