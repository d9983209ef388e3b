"""`sidetask doctor`: five live calls of a model, and what works."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from sidetask.core.errors import SidetaskError
from sidetask.core.messages import user_message
from sidetask.core.usage import Usage
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    Model,
    ModelRequest,
    TextChunk,
    ToolSchema,
)

PATIENCE = 60.0
"""Seconds that one call may take."""

_WEATHER = ToolSchema(
    name="weather",
    description="The weather in a city.",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one call showed."""

    name: str
    works: bool
    told: str
    """One line."""


async def examine(model: Model, tell: Callable[[Finding], None]) -> bool:
    """Make the five calls, tell each finding as it comes, and say whether all work."""
    checks: list[tuple[str, Callable[[Model], Awaitable[str]]]] = [
        ("stream", _stream),
        ("tool", _tool),
        ("parallel tools", _parallel),
        ("cancel", _cancel),
        ("usage", _usage),
    ]
    healthy = True
    for name, check in checks:
        finding = await _checked(name, check, model)
        healthy = healthy and finding.works
        tell(finding)
    return healthy


async def _checked(name: str, check: Callable[[Model], Awaitable[str]], model: Model) -> Finding:
    try:
        async with asyncio.timeout(PATIENCE):
            return Finding(name, True, await check(model))
    except TimeoutError:
        return Finding(name, False, f"nothing within {PATIENCE:g} s")
    except (SidetaskError, _Lacking) as error:
        return Finding(name, False, str(error))


class _Lacking(Exception):  # noqa: N818 - a finding, and it never leaves this file
    """The call went well, and something that was asked for is not in it."""


async def _stream(model: Model) -> str:
    chunks = await _ask(model, "Count from one to twenty, in words.")
    pieces = [chunk for chunk in chunks if isinstance(chunk, TextChunk)]
    if not pieces:
        raise _Lacking("it said nothing")
    text = "".join([piece.text for piece in pieces])
    whole = "" if len(pieces) > 1 else ", in one piece: it does not stream"
    return f"{len(text)} characters in {len(pieces)} pieces{whole}"


async def _tool(model: Model) -> str:
    calls = await _calls(model, "What is the weather in Oslo? Use the tool.")
    if len(calls) != 1:
        raise _Lacking(f"one call was asked for, and {len(calls)} came")
    return calls[0]


async def _parallel(model: Model) -> str:
    wanted = "What is the weather in Oslo, and in Rome? Call the tool for both at once."
    calls = await _calls(model, wanted)
    if len(calls) < 2:
        raise _Lacking(f"two calls at once were asked for, and {len(calls)} came")
    return "; ".join(calls)


async def _cancel(model: Model) -> str:
    loop = asyncio.get_running_loop()
    request = _request("Write a very long story.")
    async with model.stream(request) as chunks:
        async for _ in chunks:
            begun = loop.time()
            break
        else:
            raise _Lacking("it said nothing that could be cut")
    return f"cut after its first piece, within {(loop.time() - begun) * 1000:.0f} ms"


async def _usage(model: Model) -> str:
    chunks = await _ask(model, "Say hello.")
    usage = next((chunk.usage for chunk in chunks if isinstance(chunk, Finished)), Usage())
    if not usage.input_tokens and not usage.output_tokens:
        raise _Lacking("it does not tell its tokens: cost and budgets cannot be counted")
    cost = f", {usage.usd:.6f} US dollars" if usage.usd else ""
    return f"{usage.input_tokens} tokens in, {usage.output_tokens} out{cost}"


async def _calls(model: Model, text: str) -> list[str]:
    names: dict[int, str] = {}
    arguments: dict[int, str] = {}
    for chunk in await _ask(model, text, (_WEATHER,)):
        match chunk:
            case CallStarted(index, _, name):
                names[index] = name
            case CallArguments(index, piece):
                arguments[index] = arguments.get(index, "") + piece
            case _:
                pass
    return [f"{name} {arguments.get(index, '')}" for index, name in names.items()]


async def _ask(model: Model, text: str, tools: tuple[ToolSchema, ...] = ()) -> list[Chunk]:
    async with model.stream(_request(text, tools)) as chunks:
        return [chunk async for chunk in chunks]


def _request(text: str, tools: tuple[ToolSchema, ...] = ()) -> ModelRequest:
    return ModelRequest(instructions="Be brief.", messages=(user_message(text),), tools=tools)


def line(finding: Finding) -> str:
    """A finding as a line of text."""
    return f"{'✓' if finding.works else '✗'} {finding.name:<15} {finding.told}"
