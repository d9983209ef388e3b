"""The doctor examines a model over its wire."""

import asyncio

import pytest

from sidetask.cli.doctor import Finding, examine
from tests.limits import HANG
from tests.wires.conftest import Script
from tests.wires.tap import Tap
from tests.wires.wires import Wire

pytestmark = pytest.mark.wires

OSLO = {"name": "weather", "arguments": '{"city":"Oslo"}', "id": "one"}
ROME = {"name": "weather", "arguments": '{"city":"Rome"}', "id": "two"}
TOKENS = {"prompt_tokens": 1_000, "completion_tokens": 20, "total_tokens": 1_020}
COUNTED = {"content": "one, two, three, four", "usage": TOKENS}
STORY = {"content": "Once upon a time. " * 200, "_": {"streamingProfile": {"ttft": 1, "tps": 40}}}


def calling(*calls: dict[str, str]) -> dict[str, object]:
    return {"toolCalls": [*calls], "finishReason": "stop"}  # what Gemini says of calls, too


async def examined(wire: Wire, url: str) -> tuple[bool, dict[str, Finding]]:
    found: dict[str, Finding] = {}

    def tell(finding: Finding) -> None:
        found[finding.name] = finding

    model = wire.model(url)
    healthy = await examine(model, tell)
    await model.aclose()
    return healthy, found


async def test_a_healthy_model_passes_all_five_calls_and_the_cut_one_is_hung_up(
    wire: Wire, tap: Tap, script: Script
) -> None:
    script(COUNTED, calling(OSLO), calling(OSLO, ROME), STORY, COUNTED)
    healthy, found = await examined(wire, tap.url)
    assert healthy, found
    assert len(tap.asked) == 5
    for body in tap.asked:
        wire.check(body)
    async with asyncio.timeout(HANG):
        await tap.hung_up.wait()
    assert found["tool"].told.replace(" ", "") == 'weather{"city":"Oslo"}'
    assert found["usage"].told.startswith("1000 tokens in, 20 out")


async def test_each_fault_of_a_provider_is_one_line(wire: Wire, tap: Tap, script: Script) -> None:
    def error(status: int) -> dict[str, object]:
        return {"error": {"message": "no", "type": "some_error"}, "status": status}

    script(error(500), error(401), calling(OSLO), error(429), COUNTED)
    healthy, found = await examined(wire, tap.url)
    assert not healthy
    assert [name for name, each in found.items() if each.works] == ["usage"]
    assert all("\n" not in each.told for each in found.values())
    assert found["parallel tools"].told == "two calls at once were asked for, and 1 came"


async def test_a_model_that_cannot_be_reached_fails_all_five(wire: Wire) -> None:
    healthy, found = await examined(wire, "http://127.0.0.1:9")
    assert not healthy
    assert not any(each.works for each in found.values())
