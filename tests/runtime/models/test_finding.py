"""Which model is chosen when nobody says: on this machine, with servers of the test's own."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, cast

import pytest

from sidetask.runtime.models.finding import find_model, probe
from sidetask.runtime.models.local import LocalServer
from tests.limits import HANG


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # real sockets know no virtual clock


QUIET: list[LocalServer] = []
"""No server at all: what is chosen then does not depend on the machine of the test."""


@asynccontextmanager
async def serving(answer: bytes | None, name: str = "ollama") -> AsyncGenerator[LocalServer]:
    """A server that sends `answer` to whoever connects; None: it accepts and says nothing."""
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is None:
            await done.wait()
        else:
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield LocalServer(name, server.sockets[0].getsockname()[1])
    finally:
        done.set()
        server.close()
        await server.wait_closed()


def listing(*models: str) -> bytes:
    body = json.dumps({"object": "list", "data": [{"id": model} for model in models]})
    return f"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{body}".encode()


async def test_what_was_asked_for_comes_first() -> None:
    choice = await find_model("openai:x", {"SIDETASK_MODEL": "anthropic:y"}, QUIET)
    assert (choice.name, choice.why) == ("openai:x", "openai:x, as you asked")


async def test_then_comes_the_variable() -> None:
    choice = await find_model(None, {"SIDETASK_MODEL": "anthropic:y"}, QUIET)
    assert (choice.name, choice.why) == ("anthropic:y", "anthropic:y, from SIDETASK_MODEL")


async def test_then_a_server_on_this_machine_before_any_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(cast("Any", probe).__kwdefaults__, "patience", HANG)
    async with serving(listing("nomic-embed-text", "qwen3", "gemma")) as server:
        choice = await find_model(None, {"OPENAI_API_KEY": "k"}, [server])
    assert choice.name == "ollama:qwen3"
    assert "found on this machine" in choice.why
    assert choice.offers


async def test_a_key_is_offered_and_not_spent() -> None:
    choice = await find_model(None, {"ANTHROPIC_API_KEY": "k", "SIDETASK_MODEL": " "}, QUIET)
    assert choice.name == "you"
    assert choice.offers == ("anthropic:claude-sonnet-5-5",)
    assert "ANTHROPIC_API_KEY" in choice.why
    assert "-m anthropic:" in choice.why


async def test_with_nothing_at_all_you_drive() -> None:
    choice = await find_model(None, {"OPENAI_API_KEY": ""}, QUIET)
    assert (choice.name, choice.offers) == ("you", ())
    assert "\n" not in choice.why


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.0 404 Not Found\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nnonsense",
        b"HTTP/1.0 200 OK\r\n\r\n[]",
        b'HTTP/1.0 200 OK\r\n\r\n{"data": {"id": "x"}}',
        b'HTTP/1.0 200 OK\r\n\r\n{"data": [1]}',
        b'HTTP/1.0 200 OK\r\n\r\n{"data": [{"id": 1}]}',
        b"\xff\xfe" * 100_000,
    ],
)
async def test_whatever_else_listens_there_is_not_taken_for_a_model(answer: bytes) -> None:
    async with serving(answer) as server:
        assert await probe([server], patience=HANG) == ()


@pytest.mark.slow
async def test_nothing_is_waited_for_that_does_not_answer() -> None:
    async with AsyncExitStack() as stack:
        silent = await stack.enter_async_context(serving(None, "vllm"))
        good = await stack.enter_async_context(serving(listing("a", "b")))
        assert await probe([silent, good], patience=1) == ("ollama:a", "ollama:b")


async def test_nobody_there_is_no_error() -> None:
    async with serving(b"") as server:
        pass
    assert await probe([server], patience=HANG) == ()


async def test_no_servers_are_no_models() -> None:
    assert await probe([]) == ()
