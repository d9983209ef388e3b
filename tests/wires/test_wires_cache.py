"""The provider's prompt cache on every wire: what is asked of it, and what it saved."""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any

import pytest

from sidetask.core.messages import user_message
from sidetask.core.usage import Usage
from sidetask.models.base import Finished, ModelRequest
from sidetask.models.pydantic_ai import PydanticAIModel, openai_compatible
from tests.wires.conftest import Script
from tests.wires.tap import Event, Tamper, Tap
from tests.wires.wires import ANTHROPIC, CHAT, GEMINI, RESPONSES, Wire

pytestmark = pytest.mark.wires

TOKENS = {"prompt_tokens": 1_000, "completion_tokens": 20, "total_tokens": 1_020}


@dataclass(frozen=True)
class Told:
    """Where a wire tells how many tokens came from the cache."""

    usage: tuple[str, ...]
    cached: dict[str, Any]
    beside: int = 0
    """Cached tokens that the wire does not count among those of the prompt."""


TOLD = {
    CHAT: Told(("usage",), {"prompt_tokens_details": {"cached_tokens": 600}}),
    RESPONSES: Told(("response", "usage"), {"input_tokens_details": {"cached_tokens": 600}}),
    ANTHROPIC: Told(("message", "usage"), {"cache_read_input_tokens": 600}, beside=600),
    GEMINI: Told(("usageMetadata",), {"cachedContentTokenCount": 600}),
}


def never(event: Event) -> bool:
    return False


def caching(told: Told) -> Tamper:
    """Tell of the cache in each event that tells of tokens."""

    def edit(event: Event) -> Event:
        head, mark, data = event.partition(b"data: ")
        if not data.startswith(b"{"):
            return event
        body: Any = json.loads(data)
        usage = body
        for key in told.usage:
            usage = usage.get(key, {})
        if usage:
            usage.update(told.cached)
        return head + mark + json.dumps(body).encode()

    return Tamper(after=never, edit=edit)


@pytest.fixture
async def model(wire: Wire, tap: Tap) -> AsyncGenerator[PydanticAIModel]:
    made = wire.model(tap.url)
    yield made
    await made.aclose()


async def usage_of(model: PydanticAIModel, **settings: Any) -> Usage:
    request = ModelRequest(
        instructions="Be brief.", messages=(user_message("hi"),), settings=settings
    )
    async with model.stream(request) as chunks:
        (finished,) = [chunk async for chunk in chunks if isinstance(chunk, Finished)]
    return finished.usage


async def test_cached_tokens_are_counted_as_part_of_the_input(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"content": "Hello", "usage": TOKENS}, {"content": "Hello", "usage": TOKENS})
    fresh = await usage_of(model)
    tap.tamper = caching(TOLD[wire])
    cached = await usage_of(model)
    assert (fresh.cached_tokens, cached.cached_tokens) == (0, 600)
    assert cached.input_tokens == fresh.input_tokens + TOLD[wire].beside
    assert cached.output_tokens == fresh.output_tokens


async def test_cached_tokens_cost_less(
    wire: Wire, model: PydanticAIModel, tap: Tap, script: Script
) -> None:
    script({"content": "Hello", "usage": TOKENS})
    tap.tamper = caching(TOLD[wire])
    usage = await usage_of(model)
    assert model.price is not None
    assert model.price.cached is not None
    assert model.price.cached < model.price.input
    assert usage.usd == pytest.approx(model.price.of(usage), rel=1e-6)
    assert usage.usd < model.price.of(Usage(input_tokens=usage.input_tokens, output_tokens=20))


MARKED = {"openai-chat": CHAT, "openai-responses": RESPONSES}


@pytest.mark.parametrize("dialect", MARKED)
@pytest.mark.parametrize(("name", "has_marks"), [("gpt-5.6", True), ("gpt-5.2", False)])
async def test_openais_prompts_are_marked_for_the_models_that_know_marks(
    dialect: str, name: str, has_marks: bool, tap: Tap, script: Script
) -> None:
    script({"content": "Hello"}, {"content": "Hello"})
    model = openai_compatible(name, f"{tap.url}/v1", "key", dialect=dialect)
    await usage_of(model)
    await usage_of(model, cache=False)
    await model.aclose()
    marked, unmarked = ["prompt_cache_breakpoint" in str(body) for body in tap.asked]
    assert marked is has_marks
    assert not unmarked


async def test_geminis_prompts_carry_no_marks_for_its_cache_needs_none(
    tap: Tap, script: Script
) -> None:
    script({"content": "Hello"})
    model = GEMINI.model(tap.url)
    await usage_of(model)
    await model.aclose()
    assert "cache" not in str(tap.asked[0]).lower()
