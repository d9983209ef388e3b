"""A chain of models: who is asked next, and when nobody is."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from sidetask.core.errors import (
    AuthenticationError,
    ConfigurationError,
    IncompleteResponseError,
    ModelError,
    ModelStalledError,
    ModelUnavailableError,
    RateLimitedError,
)
from sidetask.core.messages import user_message
from sidetask.core.usage import Price, Usage
from sidetask.models.base import Chunk, Finished, ModelRequest, TextChunk
from sidetask.models.fallback import FallbackModel
from sidetask.models.scripted import ScriptedModel, cut, reply, stall

ASKED = ModelRequest(instructions="", messages=[user_message("hi")])
LIMITED = RateLimitedError("slow down", 7.0)


async def said(model: FallbackModel) -> list[Chunk]:
    chunks: list[Chunk] = []
    await gather(model, chunks)
    return chunks


async def gather(model: FallbackModel, into: list[Chunk]) -> None:
    async with asyncio.timeout(5), model.stream(ASKED) as chunks:
        async for chunk in chunks:
            into.append(chunk)


async def test_the_first_that_answers_is_the_one() -> None:
    first, second = ScriptedModel("one"), ScriptedModel("two")
    assert await said(FallbackModel(first, second)) == [TextChunk("one"), Finished()]
    assert second.calls == 0


@pytest.mark.parametrize(
    "answer",
    [LIMITED, ModelUnavailableError("down"), reply(LIMITED), cut()],
    ids=["limited", "down", "limited in the stream", "cut before it began"],
)
async def test_one_that_cannot_answer_now_is_passed_over(answer: ModelError) -> None:
    chain = FallbackModel(ScriptedModel(answer), ScriptedModel(LIMITED), ScriptedModel("three"))
    assert await said(chain) == [TextChunk("three"), Finished()]


async def test_once_a_piece_was_handed_on_nobody_else_is_asked() -> None:
    second = ScriptedModel("two")
    heard: list[Chunk] = []
    with pytest.raises(ModelUnavailableError):
        await gather(
            FallbackModel(ScriptedModel(reply("Half", ModelUnavailableError("down"))), second),
            heard,
        )
    assert heard == [TextChunk("Half")]
    assert second.calls == 0


async def test_an_error_that_is_the_callers_is_not_hidden_by_another_model() -> None:
    second = ScriptedModel("two")
    with pytest.raises(AuthenticationError):
        await said(FallbackModel(ScriptedModel(AuthenticationError("no")), second))
    assert second.calls == 0


async def test_what_the_last_one_raises_is_raised() -> None:
    with pytest.raises(RateLimitedError) as caught:
        await said(
            FallbackModel(ScriptedModel(ModelUnavailableError("down")), ScriptedModel(LIMITED))
        )
    assert caught.value is LIMITED


async def test_a_chain_of_cut_replies_is_a_cut_reply() -> None:
    with pytest.raises(IncompleteResponseError):
        await said(FallbackModel(ScriptedModel(cut()), ScriptedModel(cut())))


async def test_one_that_says_nothing_is_not_waited_for_any_longer() -> None:
    chain = FallbackModel(ScriptedModel(stall()), ScriptedModel("two"), patience=0.001)
    assert await said(chain) == [TextChunk("two"), Finished()]


async def test_when_nobody_says_anything_that_is_told() -> None:
    with pytest.raises(ModelStalledError):
        await said(FallbackModel(ScriptedModel(stall()), patience=0.001))


async def test_whoever_was_asked_is_closed_before_the_next_one() -> None:
    events: list[str] = []

    class Noting(ScriptedModel):
        @asynccontextmanager
        async def stream(  # type: ignore[override]
            self, request: ModelRequest
        ) -> AsyncGenerator[AsyncIterator[Chunk]]:
            events.append(f"open {self.name}")
            async with super().stream(request) as chunks:
                try:
                    yield chunks
                finally:
                    events.append(f"close {self.name}")

    chain = FallbackModel(Noting(reply(LIMITED), name="a"), Noting("two", name="b"))
    await said(chain)
    assert events == ["open a", "close a", "open b", "close b"]


async def test_a_cancelled_call_asks_nobody_else() -> None:
    second, begun = ScriptedModel("two"), asyncio.Event()

    async def hang(_: ModelRequest) -> str:
        begun.set()
        await asyncio.Event().wait()
        return ""

    task = asyncio.create_task(said(FallbackModel(ScriptedModel(hang), second)))
    await begun.wait()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert second.calls == 0


def test_a_chain_tells_of_itself_what_holds_for_all_of_it() -> None:
    small = ScriptedModel(name="small", context_window=1_000, price=Price(input=1, output=1))
    large = ScriptedModel(name="large", context_window=9_000)
    chain = FallbackModel(large, small)
    assert chain.name == "large, then small"
    assert chain.context_window == 1_000
    assert chain.price is None
    assert chain.quota_key not in {small.quota_key, large.quota_key}
    assert FallbackModel(small, ScriptedModel()).context_window is None


def test_a_chain_of_nobody_is_refused() -> None:
    with pytest.raises(ConfigurationError):
        FallbackModel()


class Gates:
    """Gates that a test opens and closes."""

    def __init__(self) -> None:
        self.closed: dict[str, float] = {}
        self.answered: list[tuple[str, int]] = []

    def closed_for(self, key: str) -> float:
        return self.closed.get(key, 0.0)

    def ticket(self) -> int:
        return 5

    def record_hit(
        self, key: str, retry_after: float | None = None, *, ticket: int | None = None
    ) -> float:
        assert ticket == 5
        self.closed[key] = retry_after or 1.0
        return 0.0

    def record_success(self, key: str, ticket: int) -> None:
        self.answered.append((key, ticket))


async def first_word(chain: FallbackModel, gates: Gates) -> str:
    async with chain.stream(replace(ASKED, gates=gates)) as chunks:
        async for chunk in chunks:
            assert isinstance(chunk, TextChunk)
            return chunk.text
    raise AssertionError


async def test_one_that_is_parked_is_passed_over_and_asked_when_its_gate_opens() -> None:
    one = ScriptedModel(LIMITED, "one", name="one")
    chain = FallbackModel(one, ScriptedModel("two", name="two", loop=True))
    gates = Gates()
    assert await first_word(chain, gates) == "two"
    assert gates.closed == {"one": 7.0}
    assert await first_word(chain, gates) == "two"
    assert one.calls == 1
    gates.closed.clear()
    assert await first_word(chain, gates) == "one"
    assert gates.answered == [("two", 5), ("two", 5), ("one", 5)]


async def test_nothing_is_sent_when_all_are_parked_and_the_error_says_until_when() -> None:
    one, two = ScriptedModel("one", name="one"), ScriptedModel("two", name="two")
    gates = Gates()
    gates.closed = {"one": 9.0, "two": 4.0}
    with pytest.raises(RateLimitedError) as refused:
        await first_word(FallbackModel(one, two), gates)
    assert refused.value.retry_after == 4.0
    assert one.calls == two.calls == 0


async def test_the_last_of_the_chain_is_parked_like_any_other() -> None:
    gates = Gates()
    with pytest.raises(RateLimitedError):
        await first_word(FallbackModel(ScriptedModel(LIMITED, name="one")), gates)
    assert gates.closed == {"one": 7.0}


async def test_a_refusal_in_the_middle_parks_the_one_that_refused_and_not_the_chain() -> None:
    gates = Gates()
    chain = FallbackModel(ScriptedModel(reply("Well", LIMITED), name="one"), ScriptedModel("two"))
    with pytest.raises(RateLimitedError) as refused:
        async with chain.stream(replace(ASKED, gates=gates)) as chunks:
            assert [chunk async for chunk in chunks] == []
    assert gates.closed == {"one": 7.0}
    assert refused.value.retry_after == 0, "the other one is free"


async def test_a_chain_that_is_refused_by_all_is_parked_until_the_first_is_free() -> None:
    soon, late = RateLimitedError("slow down", 7.0), RateLimitedError("slow down", 60.0)
    chain = FallbackModel(ScriptedModel(soon, name="one"), ScriptedModel(late, name="two"))
    gates = Gates()
    with pytest.raises(RateLimitedError, match="slow down; try again in 7 s"):
        await first_word(chain, gates)
    assert gates.closed == {"one": 7.0, "two": 60.0}


async def test_a_reply_costs_what_whoever_answered_takes() -> None:
    used = Usage(requests=1, input_tokens=1_000_000, output_tokens=1_000_000)
    told = Usage(requests=1, input_tokens=5, usd=0.5)
    dear = ScriptedModel(LIMITED, price=Price(input=70.0, output=7.0))
    cheap = ScriptedModel(
        reply("two", Finished(usage=used)),
        reply("three", Finished(usage=told)),
        price=Price(input=1.0, output=2.0),
    )
    chain = FallbackModel(dear, cheap)
    costs = [each.usage.usd for each in await said(chain) if isinstance(each, Finished)]
    assert costs == [3.0]
    assert (await said(FallbackModel(cheap)))[-1] == Finished(usage=told)
