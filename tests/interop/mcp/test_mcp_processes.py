"""Servers that are processes: what happens when they start slowly, die, hang and come back."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from sidetask import Agent, TaskPolicy, background
from sidetask.core.errors import ToolServerError
from sidetask.core.events import TaskProgressed
from sidetask.interop.mcp import McpServer
from sidetask.models.scripted import call, reply
from sidetask.testing import ScriptedModel, running_runtime
from tests.interop.mcp.visiting import (
    Bench,
    answers,
    free_port,
    is_alive,
    kill,
    visiting,
)
from tests.limits import HANG

pytestmark = pytest.mark.slow


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # processes know no virtual clock


@pytest.fixture
def port() -> Generator[int]:
    with free_port() as found:
        yield found


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


# -- over its standard input and output ---------------------------------------------------


async def test_a_process_is_started_with_the_agent_and_ended_with_it(
    bench: Bench,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mcp.client.stdio.PROCESS_TERMINATION_TIMEOUT", HANG)
    caplog.set_level(logging.INFO, "sidetask.interop.mcp")
    script = reply(call("add", a=1, b=2), call("walk", steps=2), call("complain"))
    async with visiting(script, "ok", server=bench.stdio()) as talk:
        [pid] = bench.pids()
        assert is_alive(pid)
        await talk.chat.ask("go")
        assert answers(talk) == ["3", "walked 2 steps", "complained"]
        notes = [e.note for e in talk.events if isinstance(e, TaskProgressed)]
        assert notes == ["step 1", "step 2"]
        async with asyncio.timeout(HANG):
            while "workshop: something is not right" not in caplog.text:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # a thread reads it
    assert not is_alive(pid)
    assert bench.count("end") == 1
    assert capfd.readouterr() == ("", "")


async def test_a_server_that_dies_in_mid_call_is_started_again_by_the_next_call(
    bench: Bench,
) -> None:
    script = [call("die"), call("add", a=1, b=1), call("die_once"), "ok"]
    async with visiting(*script, server=bench.stdio(name="shop")) as talk:
        await talk.chat.ask("go")
        lost, added, came_back = answers(talk)
        assert "the server 'shop': the connection was lost in the middle of the call" in lost
        assert "may have been carried out" in lost
        assert added == "2"
        assert came_back == "call 2 came back"  # it is idempotent: sent again, once
        assert bench.count("die") == 1
        pids = bench.pids()
        assert len(pids) == 3
        assert not any(map(is_alive, pids[:-1]))


async def test_a_server_that_is_killed_between_two_calls_is_not_missed(bench: Bench) -> None:
    script = [call("add", a=1, b=1), "ok", call("add", a=2, b=2), "ok"]
    # The second call may be on its way before the loss is noticed: then only one that may run
    # twice is sent again.
    server = bench.stdio(policy=TaskPolicy(idempotent=True))
    async with visiting(*script, server=server) as talk:
        await talk.chat.ask("go")
        [pid] = bench.pids()
        os.kill(pid, signal.SIGKILL)
        while is_alive(pid):  # noqa: ASYNC110 - the library reaps it
            await asyncio.sleep(0.01)
        await talk.chat.ask("again")
        assert answers(talk) == ["2", "4"]


async def test_a_cancelled_call_is_stopped_at_the_server(bench: Bench) -> None:
    server = bench.stdio(route=background())
    async with visiting(call("hang"), "ok", "it was cancelled", server=server) as talk:
        await talk.chat.ask("go")
        await bench.noted("hang begun")
        await talk.chat.tasks.cancel(talk.chat.tasks.running()[0].id)
        await bench.noted("hang stopped")
        await talk.chat.wait_for_idle()


async def test_shutting_down_ends_a_call_that_runs_and_the_process(bench: Bench) -> None:
    server = bench.stdio(route=background())
    async with visiting(call("hang"), "ok", server=server) as talk:
        await talk.chat.ask("go")
        await bench.noted("hang begun")
    assert not is_alive(bench.pids()[0])


async def test_a_server_that_starts_too_slowly_is_an_error_and_leaves_no_process(
    bench: Bench,
) -> None:
    server = bench.silent(name="slow", start_timeout=0.5)
    async with running_runtime() as runtime:
        with pytest.raises(ToolServerError, match=r"'slow': it did not start within 0\.5 s"):
            await runtime.open(Agent(ScriptedModel("ok"), tools=[server]))
    assert not any(map(is_alive, bench.pids()))  # on a slow machine it had not even begun


async def test_giving_up_an_opening_leaves_no_process(bench: Bench) -> None:
    async with running_runtime() as runtime:
        opening = asyncio.create_task(
            runtime.start_agent(Agent(ScriptedModel("ok"), tools=[bench.silent()]))
        )
        while not bench.pids():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
    assert not is_alive(bench.pids()[0])


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["/nowhere/at/all"], "there is no '/nowhere/at/all' to start"),
        ([sys.executable, "-c", "import no_such_thing"], "No module named 'no_such_thing'"),
    ],
)
async def test_a_server_that_does_not_start_says_why_in_one_line(
    command: list[str], told: str
) -> None:
    server = McpServer.stdio(command[0], command[1:], name="broken")
    with pytest.raises(ToolServerError) as caught:
        await server.open()
    assert "the server 'broken': " in str(caught.value)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


async def test_what_is_no_message_does_not_disturb(
    bench: Bench, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    noisy = tmp_path / "noisy.py"
    where = str(Path(__file__).parent)
    noisy.write_text(
        f"print('hello, this is no JSON', flush=True)\nimport sys; sys.path.insert(0, {where!r})\n"
        "import workshop; workshop.server.run('stdio')\n"
    )
    server = McpServer.stdio(sys.executable, [str(noisy)], env=bench.env)
    async with visiting(call("add", a=1, b=2), "ok", server=server) as talk:
        await talk.chat.ask("go")
        assert answers(talk) == ["3"]
    assert capfd.readouterr() == ("", "")


# -- over HTTP ---------------------------------------------------------------------------


async def test_a_server_over_http_dies_in_mid_call_and_comes_back(bench: Bench, port: int) -> None:
    server = McpServer.http(f"http://127.0.0.1:{port}/mcp", name="remote")
    hang: Any = call("hang")
    script = [reply(call("add", a=1, b=1), call("walk", steps=2)), hang]
    script += ["one", call("add", a=1, b=2), "two", call("add", a=2, b=2), "three"]
    async with bench.serving(port) as process, visiting(*script, server=server) as talk:
        asking = asyncio.create_task(talk.chat.ask("go"))
        await bench.noted("hang begun")
        kill(process)
        await asking
        first, walked, lost = answers(talk)
        assert (first, walked) == ("2", "walked 2 steps")
        assert "the connection was lost in the middle of the call" in lost
        await talk.chat.ask("is it there?")
        assert answers(talk)[-1].endswith(": All connection attempts failed")
        async with bench.serving(port):
            await talk.chat.ask("and now?")
            assert answers(talk)[-1] == "4"


async def test_a_cancelled_call_is_stopped_over_http(bench: Bench, port: int) -> None:
    server = McpServer.http(f"http://127.0.0.1:{port}/mcp", route=background())
    script = [call("hang"), "ok", "it was cancelled"]
    async with bench.serving(port), visiting(*script, server=server) as talk:
        await talk.chat.ask("go")
        await bench.noted("hang begun")
        await talk.chat.tasks.cancel(talk.chat.tasks.running()[0].id)
        await bench.noted("hang stopped")
        await talk.chat.wait_for_idle()


async def test_nobody_at_the_address_is_one_clear_line(port: int) -> None:
    server = McpServer.http(f"http://127.0.0.1:{port}/mcp", name="remote")
    with pytest.raises(ToolServerError, match=r"the server 'remote': .*connection"):
        await server.open()


async def test_a_server_that_refuses_says_by_which_status() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as door:
        port = door.sockets[0].getsockname()[1]
        with pytest.raises(ToolServerError, match=r"'remote': .*\(HTTP 401\)"):
            await McpServer.http(f"http://127.0.0.1:{port}/mcp", name="remote").open()


def test_without_the_library_the_extra_is_named() -> None:
    code = (
        "import asyncio, sys; sys.modules['mcp'] = None\n"
        "from sidetask.interop.mcp import McpServer\n"
        "asyncio.run(McpServer.stdio('x').open())"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        "MissingExtraError: the server 'x' needs an extra: pip install 'sidetask[mcp]'"
        in ran.stderr
    )
