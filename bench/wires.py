"""A streamed reply over a real wire: what we add to pydantic-ai's own stream.

    python wires.py [--deltas 2000] [--rounds 15] [--json FILE]

aimock serves OpenAI Chat and Anthropic on the loopback, from a process of its own. Each round asks
it once in each way, interleaved, and counts the CPU time of this process for a delta, and the time
to the first piece of text; told are the medians of the ratios and differences, paired with
`direct`. Two ways are pydantic-ai's: `direct` reads a model's events, `agent` is the text stream of
its Agent. Two are ours: `model` reads chunks, and is held against `direct`; `chat` opens a live
agent with its events, history and store, and is held against `agent`, which does as much.

Needs node and `npm ci` in tests/wires.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path

from pydantic_ai import Agent as TheirAgent
from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelRequest as TheirRequest
from pydantic_ai.messages import PartDeltaEvent, PartStartEvent, TextPart, TextPartDelta
from pydantic_ai.models import Model, ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

import sidetask
from sidetask import Agent
from sidetask.core.messages import user_message
from sidetask.models.base import ModelRequest, TextChunk
from sidetask.models.pydantic_ai import PydanticAIModel

WIRES = Path(__file__).resolve().parents[1] / "tests" / "wires"
CPU, FIRST = 1.15, 2.0
"""Targets: the ratio of CPU a delta, and milliseconds more to the first piece."""
RIVALS = {"model": "direct", "chat": "agent"}

Way = Callable[[Model], AsyncIterator[str]]


async def direct(model: Model) -> AsyncIterator[str]:
    messages = [TheirRequest.user_text_prompt("hi")]
    parameters = ModelRequestParameters()
    async with model_request_stream(
        model, messages, model_request_parameters=parameters
    ) as response:
        async for event in response:
            match event:
                case PartDeltaEvent(delta=TextPartDelta(content_delta=text)):
                    yield text
                case PartStartEvent(part=TextPart(content=text)) if text:
                    yield text
                case _:
                    pass


async def agent(model: Model) -> AsyncIterator[str]:
    async with TheirAgent(model).run_stream("hi") as result:
        async for text in result.stream_text(delta=True, debounce_by=None):
            yield text


async def ours(model: Model) -> AsyncIterator[str]:
    request = ModelRequest(instructions="", messages=(user_message("hi"),))
    async with PydanticAIModel(model).stream(request) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, TextChunk):
                yield chunk.text


async def chat(model: Model) -> AsyncIterator[str]:
    async with sidetask.open(Agent(PydanticAIModel(model))) as live:
        response = await live.chat("hi")
        async for text in response.text_stream():
            yield text


WAYS: dict[str, Way] = {"direct": direct, "agent": agent, "model": ours, "chat": chat}


def models(url: str) -> dict[str, Model]:
    openai = OpenAIProvider(base_url=f"{url}/v1", api_key="key")
    anthropic = AnthropicProvider(base_url=url, api_key="key")
    return {
        "openai chat": OpenAIChatModel("gpt-5.2", provider=openai),
        "anthropic": AnthropicModel("claude-sonnet-5-5", provider=anthropic),
    }


async def measure(way: Way, model: Model, text: str) -> tuple[float, float, int]:
    """Seconds of CPU for the whole reply, milliseconds to its first piece, and pieces."""
    gc.collect()
    pieces: list[str] = []
    first = 0.0
    begun, cpu = time.perf_counter(), time.process_time()
    async with aclosing(way(model)) as stream:  # type: ignore[type-var]
        async for piece in stream:
            if not pieces:
                first = time.perf_counter() - begun
            pieces.append(piece)
    spent = time.process_time() - cpu
    assert "".join(pieces) == text, "what came is not what was sent"
    return spent, first * 1000, len(pieces)


async def compare(name: str, model: Model, text: str, deltas: int, rounds: int) -> list[dict]:
    found: dict[str, list[tuple[float, float, int]]] = {way: [] for way in WAYS}
    for round_ in range(rounds + 2):
        for way, stream in WAYS.items():
            result = await measure(stream, model, text)
            if round_ >= 2:  # connections, caches
                found[way].append(result)
    rows = []
    for way, results in found.items():
        pairs = list(zip(results, found["direct"], strict=True))
        rows.append(
            {
                "wire": name,
                "way": way,
                "us_per_delta": statistics.median(each[0] for each in results) / deltas * 1e6,
                "cpu_ratio": statistics.median(own[0] / base[0] for own, base in pairs),
                "first_ms": statistics.median(each[1] for each in results),
                "first_more_ms": statistics.median(own[1] - base[1] for own, base in pairs),
                "pieces": results[0][2],
            }
        )
    return rows


def show(rows: list[dict]) -> None:
    print(f"{'wire':12} {'way':7} {'us/delta':>9} {'ratio':>6} {'first ms':>9} {'more':>6}")
    for row in rows:
        print(
            f"{row['wire']:12} {row['way']:7} {row['us_per_delta']:9.1f} {row['cpu_ratio']:6.2f}"
            f" {row['first_ms']:9.2f} {row['first_more_ms']:+6.2f}"
        )
    known = {(row["wire"], row["way"]): row for row in rows}
    for (wire, way), row in known.items():
        if way in RIVALS:
            rival = known[wire, RIVALS[way]]
            ratio = row["cpu_ratio"] / rival["cpu_ratio"]
            more = row["first_more_ms"] - rival["first_more_ms"]
            word = "met   " if ratio <= CPU and more <= FIRST else "MISSED"
            print(f"{word} {wire} {way} against {RIVALS[way]}: {ratio:.2f} x, {more:+.2f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--deltas", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    text = "word" * given.deltas
    with subprocess.Popen(
        ["node", "serve.mjs"], cwd=WIRES, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        url = server.stdout.readline().strip()
        fixture = {"match": {}, "response": {"content": text}, "chunkSize": 4}
        body = json.dumps({"fixtures": [fixture]}).encode()
        request = urllib.request.Request(
            f"{url}/__aimock/fixtures", body, {"Content-Type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).close()

        async def run() -> list[dict]:
            rows: list[dict] = []
            for name, model in models(url).items():
                rows += await compare(name, model, text, given.deltas, given.rounds)
            return rows

        rows = asyncio.run(run())
        server.stdin.close()
    show(rows)
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1), "utf-8")


if __name__ == "__main__":
    main()
