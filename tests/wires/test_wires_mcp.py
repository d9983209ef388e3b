"""The reference server of the Model Context Protocol, from the npm registry: the handshake of
2025, which many servers speak, with sessions over HTTP."""

import asyncio
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sidetask import Image, background
from sidetask.core.events import TaskProgressed
from sidetask.interop.mcp import McpServer
from sidetask.models.scripted import call, reply
from tests.interop.mcp.visiting import answers, free_port, is_alive, kill, visiting
from tests.limits import HANG
from tests.wires.conftest import unavailable

pytestmark = pytest.mark.wires

HERE = Path(__file__).parent
EVERYTHING = HERE / "node_modules/@modelcontextprotocol/server-everything/dist/index.js"


@pytest.fixture
def node() -> str:
    found = shutil.which("node")
    if found is None:
        unavailable("node is not installed")
    if not EVERYTHING.exists():
        unavailable("server-everything is not installed: run `make wires`")
    return found


@pytest.fixture
def port() -> Generator[int]:
    with free_port() as found:
        yield found


@contextmanager
def _serving(node: str, port: int) -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [node, str(EVERYTHING), "streamableHttp"],
        env=os.environ | {"PORT": str(port)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=0.1).close()
                break
            except OSError:
                assert process.poll() is None, "the server has ended"
        yield process
    finally:
        kill(process)


async def test_its_tools_are_tools_over_pipes(node: str) -> None:
    server = McpServer.stdio(node, [str(EVERYTHING), "stdio"], name="all", prefix=True)
    script = reply(
        call("all_echo", message="hello"),
        call("all_get-sum", a=2, b=3),
        call("all_get-tiny-image"),
        call("all_get-structured-content", location="New York"),
        call("all_trigger-long-running-operation", duration=0.3, steps=3),
        call("all_get-sum", a="two"),
    )
    async with asyncio.timeout(HANG), visiting(script, "ok", server=server) as talk:
        await talk.chat.ask("go")
        echo, added, image, weather, long, wrong = talk.answers()
        assert echo.content == "Echo: hello"
        assert "5" in added.content
        assert [type(each) for each in image.attachments] == [Image]
        assert "temperature" in weather.content
        assert not long.is_error
        assert wrong.is_error
        fractions = [e.fraction for e in talk.events if isinstance(e, TaskProgressed)]
        assert fractions[-1] == 1.0


async def test_a_session_that_the_server_has_forgotten_begins_anew(node: str, port: int) -> None:
    server = McpServer.http(f"http://127.0.0.1:{port}/mcp")
    script: list[Any] = [call("echo", message="one"), "ok", call("echo", message="two"), "ok"]
    with _serving(node, port) as process:
        async with asyncio.timeout(HANG), visiting(*script, server=server) as talk:
            await talk.chat.ask("go")
            kill(process)
            with _serving(node, port):
                await talk.chat.ask("again")
                assert answers(talk) == ["Echo: one", "Echo: two"]


async def test_a_call_that_is_cut_off_over_http_fails(node: str, port: int) -> None:
    server = McpServer.http(f"http://127.0.0.1:{port}/mcp", route=background())
    slow = call("trigger-long-running-operation", duration=60, steps=600)
    script: list[Any] = [slow, "ok", "it was cut off"]
    with _serving(node, port) as process:
        async with asyncio.timeout(HANG), visiting(*script, server=server) as talk:
            await talk.chat.ask("go")
            async for event in talk.chat.events():
                if isinstance(event, TaskProgressed):
                    break
            kill(process)
            await talk.chat.wait_for_idle()
            assert talk.told() == ["task-1 failed"]


async def test_a_server_that_ignores_every_polite_way_is_killed(tmp_path: Path) -> None:
    stubborn = tmp_path / "stubborn.py"
    stubborn.write_text(
        "import os, signal, sys, time\n"
        f"sys.path.insert(0, {str(HERE.parent / 'interop/mcp')!r})\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "import threading, workshop\n"
        "threading.Thread(target=time.sleep, args=[600]).start()\n"
        "workshop.note(f'start {os.getpid()}')\n"
        "workshop.server.run('stdio')\n"
    )
    log = tmp_path / "log"
    env = {"WORKSHOP_LOG": str(log)}
    server = McpServer.stdio(sys.executable, [str(stubborn)], env=env)
    async with visiting(call("add", a=1, b=1), "ok", server=server) as talk:
        await talk.chat.ask("go")
    pid = int(log.read_text().split()[1])
    assert not is_alive(pid)
