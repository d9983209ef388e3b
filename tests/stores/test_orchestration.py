"""Dispatchers, batches, resolvers and budgets in a runtime whose store outlives it; and what of
them is there when their process is gone."""

import asyncio
import signal
import subprocess
import sys

import pytest

from sidetask import Agent
from sidetask.agents.guards import Budget
from sidetask.core.errors import BudgetExceededError, InvalidInputError
from sidetask.core.jsons import Json
from sidetask.core.usage import Usage
from sidetask.models.base import Finished
from sidetask.orchestration import Resolver, as_agent, batch
from sidetask.state import StateView
from sidetask.testing import ScriptedModel, reply, running_runtime
from tests.stores.conftest import DATABASES

pytestmark = pytest.mark.parametrize("url", DATABASES, indirect=True)


def talker(*script: object, **config: object) -> Agent:
    return Agent(ScriptedModel(*script), name="talker", **config)  # type: ignore[arg-type]


async def work(input: Json, state: StateView) -> Json:
    state.set(f"seen:{input}", True)
    await asyncio.sleep(0.01)
    return f"worked on {input}"


async def test_results_of_dispatched_agents_are_in_the_state_of_the_next_life(url: str) -> None:
    async with running_runtime(store=url) as runtime:
        chat = await runtime.open(talker("Hello."), conversation_id="mine")
        async with runtime.dispatcher(2, conversation=chat) as agents:
            for name in ("a", "b", "c"):
                agents.dispatch(name, as_agent(work), input=name)
        await chat.disconnect()
    async with running_runtime(store=url) as runtime:
        chat = await runtime.open(talker("Hello."), conversation_id="mine")
        for name in ("a", "b", "c"):
            assert chat.state[f"{name}:status"] == "succeeded"
            assert chat.state[f"{name}:result"] == f"worked on {name}"
            assert chat.state[f"seen:{name}"] is True
        await chat.disconnect()


async def test_a_key_that_cannot_be_stored_costs_no_other_key_its_place(url: str) -> None:
    async with running_runtime(store=url) as runtime:
        chat = await runtime.open(talker("Hello."), conversation_id="mine")
        for key in ("k" * 1_001, "a\0b", "caf\udce9"):
            with pytest.raises(InvalidInputError, match="a state key"):
                chat.state.set(key, 1)
        chat.state.update({"k" * 1_000: 1, "b": "a\0b"})
        async with runtime.dispatcher(2, conversation=chat) as agents:
            agents.dispatch("n" * 993, as_agent(work), input="long")
            with pytest.raises(InvalidInputError, match="a state key"):
                agents.dispatch("n" * 994, as_agent(work))
        await chat.disconnect()
    async with running_runtime(store=url) as runtime:
        chat = await runtime.open(talker("Hello."), conversation_id="mine")
        assert (chat.state["k" * 1_000], chat.state["b"]) == (1, "a\0b")
        assert chat.state[f"{'n' * 993}:result"] == "worked on long"
        await chat.disconnect()


async def test_a_batch_stops_at_its_budget(url: str) -> None:
    dear = reply("Read.", Finished(usage=Usage(requests=1, usd=0.02)))
    async with running_runtime(store=url) as runtime:
        chat = await runtime.open(talker("Hello."), conversation_id="mine")
        async with batch(cap=1, budget=Budget(usd=0.03), tasks=runtime, state=chat.state) as many:
            for name in ("a", "b", "c"):
                many.dispatch(Agent(ScriptedModel(dear), name="reader"), input="go", name=name)
        assert [item.status for item in many.results] == ["succeeded", "succeeded", "cancelled"]
        await chat.disconnect()
    async with running_runtime(store=url) as runtime:
        chat = await runtime.open(talker("Hello."), conversation_id="mine")
        kept = [chat.state[f"{name}:status"] for name in ("a", "b", "c")]
        assert kept == ["succeeded", "succeeded", "cancelled"]
        await chat.disconnect()


async def test_what_a_resolver_has_found_is_not_asked_for_again_by_the_next_life(
    url: str,
) -> None:
    asked: list[int] = []

    async def rates(_: StateView) -> Json:
        asked.append(1)
        return {"EUR": 1.1}

    exchange = Resolver.fetch("rates", rates, ttl=1_000)
    for _ in range(2):
        async with running_runtime(store=url) as runtime:
            chat = await runtime.open(talker("Hello."), conversation_id="mine")
            assert await exchange(chat.state) == {"EUR": 1.1}
            told = chat.state.provenance("rates:result")
            assert told is not None
            assert told.resolver == "rates"
            await chat.disconnect()
    assert asked == [1]


async def test_what_was_spent_counts_in_the_next_life(url: str) -> None:
    dear = reply("Dear.", Finished(usage=Usage(requests=1, input_tokens=600)))
    agent = talker(dear, dear, "Never said.", budget=Budget(tokens=1_000))
    async with running_runtime(store=url) as runtime:
        chat = await runtime.open(agent, conversation_id="mine")
        await chat.ask("one")
        await chat.disconnect()
    async with running_runtime(store=url, agents=[agent]) as runtime:
        chat = await runtime.resume("mine")
        assert chat.total_usage.input_tokens == 600
        await chat.ask("two")
        with pytest.raises(BudgetExceededError):
            await chat.ask("three")
        await chat.disconnect()


def die(url: str) -> None:
    command = [sys.executable, "-m", "tests.stores.dispatching", url]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL


@pytest.mark.slow
async def test_after_a_crash_the_state_has_what_dispatched_agents_said_last(url: str) -> None:
    die(url)
    async with running_runtime(store=url) as runtime:
        chat = await runtime.open(talker("Hello."), conversation_id="mine")
        assert (chat.state["quick:status"], chat.state["long:status"]) == ("succeeded", "running")
        assert (chat.state["quick:result"], chat.state["half"]) == ("quick", 5)
        assert "long:result" not in chat.state
        assert not runtime.tasks.list_running()
        await chat.disconnect()
