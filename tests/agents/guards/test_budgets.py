"""Budgets of a run, of a conversation, and of a family."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tests.runtime.harness import Held, Talk, beside, settle, talking

import sidetask
from sidetask import Agent, Runtime, Usage, tool
from sidetask.core.budget import Budget, Meter, ambient_meter
from sidetask.core.errors import BudgetExceededError, ModelUnavailableError, TurnCancelledError
from sidetask.core.events import RunFailed
from sidetask.core.usage import Price
from sidetask.models.base import Chunk, Finished, ModelRequest
from sidetask.models.scripted import Script
from sidetask.testing import ScriptedModel, call, reply, running_runtime


@tool
async def add(a: int, b: int = 0) -> int:
    """Add."""
    return a + b


def _used(tokens: int) -> Finished:
    return Finished(usage=Usage(requests=1, input_tokens=tokens))


def _failed(talk: Talk) -> list[str]:
    return [event.error_type for event in talk.events if isinstance(event, RunFailed)]


async def test_a_conversation_ends_the_turn_that_would_go_beyond_its_steps() -> None:
    script = ("one", call("add", a=1), call("add", a=2), "never")
    async with talking(*script, tools=[add], budget=Budget(steps=3)) as talk:
        await talk.chat.ask("hi")
        with pytest.raises(BudgetExceededError, match="3 of 3 steps"):
            await talk.chat.ask("go")
        assert (talk.model.calls, len(talk.answers())) == (3, 2)
        assert (talk.runs(), _failed(talk)) == (
            ["run_completed", "run_failed"],
            ["BudgetExceededError"],
        )


async def test_what_the_user_said_and_results_are_kept_when_nothing_is_left_to_spend() -> None:
    async with talking("one", budget=Budget(steps=1)) as talk:
        await talk.chat.ask("hi")
        with pytest.raises(BudgetExceededError):
            await talk.chat.ask("and this?")
        assert talk.said() == ["hi", "one", "and this?"]


async def test_a_run_has_a_budget_of_its_own() -> None:
    script = [call("add", a=n) for n in range(3)]
    async with talking(*script, "ok", tools=[add]) as talk:
        with pytest.raises(BudgetExceededError, match="2 of 2 steps"):
            await talk.chat.ask("go", budget=Budget(steps=2))
        response = await talk.chat.chat("go on", budget=Budget(steps=9))
        assert (await response).text == "ok"


async def test_tokens_and_money_end_a_turn_before_its_next_model_call() -> None:
    price = Price(input=10.0, output=0.0)
    for budget in (Budget(tokens=200), Budget(usd=0.002)):
        script = [[call("add", a=n), _used(100)] for n in range(3)]
        model = ScriptedModel(*script, "never", price=price)
        agent = Agent(model, tools=[add], budget=budget)
        async with running_runtime() as runtime, runtime.open(agent) as chat:
            with pytest.raises(BudgetExceededError):
                await chat.ask("go")
            assert model.calls == 2
            assert chat.total_usage.input_tokens == 200


@pytest.mark.parametrize(
    ("budget", "price", "times"),
    [
        (Budget(usd=1.0), None, 1),
        (Budget(usd=1.0), Price(input=0.0, output=0.0), 0),
        (Budget(tokens=99), None, 0),
    ],
)
async def test_a_budget_in_money_says_once_that_the_price_of_its_model_is_not_known(
    budget: Budget, price: Price | None, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    model = ScriptedModel(reply("one", _used(7)), reply("two", _used(7)), name="new", price=price)
    async with running_runtime() as runtime, runtime.open(Agent(model, budget=budget)) as chat:
        await chat.ask("hi")
        await chat.ask("and?", budget=Budget(steps=9))
    told = [each.getMessage() for each in caplog.records]
    assert len(told) == times
    assert all(each.startswith("what new costs is not known") for each in told)


async def test_a_reply_that_spends_all_tokens_has_its_calls_answered_and_not_run() -> None:
    ran: list[int] = []

    @tool
    async def note(n: int) -> None:
        """Note."""
        ran.append(n)

    script = [call("note", n=1), call("note", n=2), _used(500)]
    async with talking(script, tools=[note], budget=Budget(tokens=500)) as talk:
        with pytest.raises(BudgetExceededError, match="500 of 500 tokens"):
            await talk.chat.ask("go")
        assert (ran, len(talk.answers())) == ([], 2)
        assert talk.runs() == ["run_failed"]


async def test_a_tool_call_too_many_is_told_to_the_model_which_may_answer() -> None:
    calls = [call("add", a=n) for n in range(4)]
    async with talking(calls, "with what I have", tools=[add], budget=Budget(tool_calls=2)) as talk:
        assert (await talk.chat.ask("go")).text == "with what I have"
        assert [answer.is_error for answer in talk.answers()] == [False, False, True, True]
        assert "2 of 2 tool calls" in talk.answers()[3].content
        assert talk.runs() == ["run_completed"]


async def test_a_model_that_calls_on_after_it_was_told_ends_its_turn() -> None:
    script = ([call("add", a=1), call("add", a=2)], call("add", a=3), "never")
    async with talking(*script, tools=[add], budget=Budget(tool_calls=1)) as talk:
        with pytest.raises(BudgetExceededError, match="1 of 1 tool calls"):
            await talk.chat.ask("go")
        assert [answer.is_error for answer in talk.answers()] == [False, True, True]
        assert (talk.model.calls, talk.runs()) == (2, ["run_failed"])


async def test_the_last_tool_call_of_a_budget_is_run_and_answered() -> None:
    async with talking(call("add", a=1), "2", tools=[add], budget=Budget(tool_calls=1)) as talk:
        assert (await talk.chat.ask("go")).text == "2"


@pytest.mark.parametrize("waits_for", ["model", "tool"])
async def test_seconds_end_a_turn_that_waits(waits_for: str) -> None:
    held, never = Held(), asyncio.Event()
    script = reply("Let me", never) if waits_for == "model" else call("held")
    async with talking(script, "next", tools=[held.tool], budget=Budget(seconds=10)) as talk:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(BudgetExceededError, match="10 of 10 seconds"):
            await talk.chat.ask("go")
        assert loop.time() - begun == pytest.approx(10, abs=0.1)
        assert (talk.runs(), _failed(talk)) == (["run_failed"], ["BudgetExceededError"])
        assert talk.chat.is_idle


async def test_a_users_stop_before_the_time_is_up_is_a_stop() -> None:
    held = Held()
    async with talking(call("held"), tools=[held.tool], budget=Budget(seconds=10)) as talk:
        asking = await beside(talk.chat.ask("go"))
        await held.begun.wait()
        await talk.chat.interrupt()
        await asyncio.sleep(20)
        assert isinstance(asking.exception(), TurnCancelledError)
        assert talk.runs() == ["run_cancelled"]


async def test_a_turn_that_ends_in_time_leaves_no_timer() -> None:
    async with talking("ok", "ok") as talk:
        await talk.chat.ask("hi", budget=Budget(seconds=10))
        await asyncio.sleep(20)
        await talk.chat.ask("hi")
        assert talk.runs() == ["run_completed"] * 2


async def test_background_work_lives_when_the_seconds_of_its_turn_are_over() -> None:
    held = Held(route=sidetask.background())
    never = asyncio.Event()
    script = (call("held"), reply("Meanwhile", never), "I see.")
    async with talking(*script, tools=[held.tool]) as talk:
        with pytest.raises(BudgetExceededError):
            await talk.chat.ask("go", budget=Budget(seconds=5))
        held.let_go.set()
        await talk.chat.wait_for_idle()
        assert talk.told() == ["task-1 succeeded"]
        assert talk.said()[-1] == "I see."


async def test_results_of_a_conversation_without_budget_left_do_not_wake_it_for_ever() -> None:
    held = Held(route=sidetask.background())
    script = (call("held"), "started")
    async with talking(*script, tools=[held.tool], budget=Budget(steps=2)) as talk:
        await talk.chat.ask("go")
        held.let_go.set()
        await settle()
        await talk.chat.wait_for_idle()
        assert talk.runs() == ["run_completed", "run_failed"]
        assert talk.told() == ["task-1 succeeded"]


async def test_what_invoked_a_conversation_pays_for_it() -> None:
    batch = Meter(Budget(steps=3))
    async with Runtime() as runtime:
        outer = ambient_meter.set(batch)
        first = await runtime.open(Agent(ScriptedModel("a", "b", "c")))
        second = await runtime.open(Agent(ScriptedModel("d", "e", "f"), budget=Budget(steps=9)))
        ambient_meter.reset(outer)
        await first.ask("1")
        await second.ask("2")
        await first.ask("3")
        with pytest.raises(BudgetExceededError, match="3 of 3 steps"):
            await second.ask("4")
        assert batch.steps == 3


async def test_an_agent_that_a_tool_opens_spends_what_its_turn_may() -> None:
    @tool
    async def research() -> str:
        """Let another agent work."""
        model = ScriptedModel(call("add", a=1), call("add", a=2), "found")
        try:
            return (await Agent(model, tools=[add]).run("look")).text
        except BudgetExceededError as error:
            return f"no more: {error.spent}"

    async with talking(call("research"), "I see.", tools=[research]) as talk:
        with pytest.raises(BudgetExceededError, match="3 of 3 steps"):
            await talk.chat.ask("go", budget=Budget(steps=3))
        assert talk.answers()[0].content == "no more: 3 of 3 steps"


async def test_a_turn_spends_on_its_own_account_whoever_asks_for_it() -> None:
    """A tool that asks an agent which was there before does not pay for it."""
    async with Runtime() as runtime:
        other = await runtime.open(Agent(ScriptedModel("one", "two")))

        @tool
        async def consult() -> str:
            """Ask another agent."""
            return str(await other.ask("well?"))

        model = ScriptedModel(call("consult"), "ok")
        chat = await runtime.open(Agent(model, tools=[consult], budget=Budget(steps=2)))
        assert (await chat.ask("go")).text == "ok"


class Lingering(ScriptedModel):
    """A model whose connection does not close by itself."""

    def __init__(self, *script: Script) -> None:
        super().__init__(*script)
        self.closing = asyncio.Event()

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Chunk]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        async with super().stream(request) as chunks:
            yield chunks
            self.closing.set()
            await asyncio.sleep(1_000)


async def test_the_usage_of_a_finished_reply_counts_though_its_turn_was_stopped() -> None:
    model = Lingering(["done", _used(70)])
    agent = Agent(model, budget=Budget(tokens=70))
    async with running_runtime() as runtime, runtime.open(agent) as chat:
        asking = await beside(chat.ask("go"))
        await model.closing.wait()
        await chat.interrupt()
        assert isinstance(asking.exception(), TurnCancelledError)
        assert chat.total_usage.input_tokens == chat.last_turn_usage.input_tokens == 70
        with pytest.raises(BudgetExceededError, match="70 of 70 tokens"):
            await chat.ask("again")


async def test_a_model_call_that_failed_was_a_step() -> None:
    script = (ModelUnavailableError("down"), "up", "never")
    async with talking(*script, budget=Budget(steps=2)) as talk:
        with pytest.raises(ModelUnavailableError):
            await talk.chat.ask("go")
        assert (await talk.chat.ask("again")).text == "up"
        with pytest.raises(BudgetExceededError):
            await talk.chat.ask("more")


async def test_who_has_no_budget_has_no_meter() -> None:
    async with Runtime() as runtime:
        chat = await runtime.open(Agent(ScriptedModel("ok")))
        assert chat._conversation.meter is None  # pyright: ignore[reportPrivateUsage]
