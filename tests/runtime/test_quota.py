"""Agents at the gate of their key: who is parked, who goes on, what is sent twice."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from sidetask import Agent, background, tool
from sidetask.agents.quota import Quota
from sidetask.core.errors import QuotaExceededError, RateLimitedError, TurnCancelledError
from sidetask.models.fallback import FallbackModel
from sidetask.models.scripted import Script, call, reply
from sidetask.orchestration import batch, sequence
from sidetask.orchestration import call as orchestrated
from sidetask.state import State
from sidetask.tasks.parts.permits import Limits
from sidetask.testing import ScriptedModel, running_runtime
from tests.runtime.harness import beside, settle, talking

LIMITED = RateLimitedError("slow down", 30.0)


def now() -> float:
    return asyncio.get_running_loop().time()


class Times:
    """A reply that notes when it was asked for."""

    def __init__(self, *answers: Script) -> None:
        self._answers = list(answers)
        self.times: list[float] = []

    def __call__(self, _: object) -> Any:
        self.times.append(now())
        return self._answers.pop(0) if self._answers else "fine"


async def test_a_refused_call_is_sent_again_when_the_window_is_over() -> None:
    asked = Times(LIMITED)
    async with talking(asked, asked) as talk:
        assert (await talk.chat.ask("hi")).text == "fine"
        assert asked.times == pytest.approx([0, 30])
        assert talk.runtime.quota.status() == []
        hit, resumed = [e for e in talk.events if e.kind in ("quota_hit", "quota_resumed")]
        assert (hit.wait, hit.hits, resumed.waited) == pytest.approx((30, 1, 30))  # type: ignore[attr-defined]


async def test_a_hundred_agents_on_one_key_send_nothing_before_the_window_ends() -> None:
    asked = Times(LIMITED)
    model, other = ScriptedModel(asked, loop=True), ScriptedModel("other", name="other")
    async with running_runtime() as runtime:
        first = await runtime.open(Agent(model))
        begun = await beside(first.ask("hi"))
        chats = [await runtime.open(Agent(model)) for _ in range(100)]
        replies = [await beside(chat.ask("hi")) for chat in chats]
        elsewhere = await runtime.open(Agent(other))
        assert (await elsewhere.ask("hi")).text == "other"
        assert now() < 1
        assert [each.waiting for each in runtime.quota.status()] == [101]
        for each in (begun, *replies):
            assert (await each).text == "fine"
        for chat in runtime.live_agents:
            await chat.shutdown()
    sent = asked.times[1:]
    assert len(sent) == 101
    assert sent[0] == pytest.approx(30)
    assert len(set(sent)) == 101


async def test_a_turn_that_nobody_asked_for_waits_behind_those_that_somebody_did() -> None:
    asked: list[str] = []

    def answer(who: str) -> Any:
        return lambda _: asked.append(who) or "fine"  # type: ignore[func-returns-value]

    async def later() -> str:
        await asyncio.sleep(1)
        return "done"

    script = [call("later"), "started", answer("wake-up")]
    async with talking(*script, tools=[tool(route=background())(later)]) as talk:
        user = await talk.runtime.open(Agent(ScriptedModel(answer("user"))))
        await talk.chat.ask("go")
        talk.runtime.quota.record_hit("scripted", 30)
        await asyncio.sleep(2)  # the result is there, and its turn is in line
        asking = await beside(user.ask("hi"))
        await asking
        await talk.chat.wait_for_idle()
        await user.shutdown()
    assert asked == ["user", "wake-up"]


async def test_agents_that_are_dispatched_wait_behind_those_that_somebody_waits_for() -> None:
    model = ScriptedModel("ok", loop=True)
    worker, order = Agent(model, name="worker"), list[str]()

    async def note(name: str, work: Awaitable[object]) -> None:
        await work
        order.append(name)

    async with running_runtime() as runtime, runtime.open(Agent(model)) as chat:
        runtime.quota.record_hit(model.quota_key, 30)
        desk = runtime.dispatcher(2)
        async with batch(cap=1, tasks=runtime) as many:
            run = desk.dispatch("one", worker, input="go").wait()
            asked = [await beside(note("dispatched", run))]
            run = desk.dispatch("two", sequence(worker), input="go").wait()
            asked += [await beside(note("in a pipeline", run))]
            run = many.dispatch(worker, input="go", name="three").wait()
            asked += [await beside(note("in a batch", run))]
            run = orchestrated("four", worker, State(), input="go", tasks=runtime)
            asked += [await beside(note("called", run))]
            asked += [await beside(note("asked", chat.ask("go")))]
            await asyncio.wait(asked)
        await desk.close()
    assert order == ["called", "asked", "dispatched", "in a pipeline", "in a batch"]


async def test_an_agent_that_a_background_tool_asks_waits_behind_others() -> None:
    asked: list[str] = []

    def answer(who: str) -> Any:
        return lambda _: asked.append(who) or "fine"  # type: ignore[func-returns-value]

    async def delegate(who: str) -> str:
        async with runtime.open(Agent(ScriptedModel(answer(who)))) as sub:
            return str(await sub.ask("go"))

    aside = tool(route=background(), name="send_off")(delegate)
    calls = reply(call("send_off", who="background"), call("delegate", who="foreground"))
    model = ScriptedModel(calls, "done", "told", name="main")
    async with (
        running_runtime() as runtime,
        runtime.open(Agent(model, tools=[aside, tool(delegate)])) as chat,
    ):
        runtime.quota.record_hit("scripted", 30)
        await chat.ask("go")
        await chat.wait_for_idle()
    assert asked == ["foreground", "background"]


async def test_a_refusal_in_mid_stream_parks_the_key_and_tells_no_text_twice() -> None:
    async with talking(reply("Half of ", LIMITED), "the whole") as talk:
        response = await talk.chat.chat("hi")
        with pytest.raises(RateLimitedError):
            await response
        assert response.text == "Half of "
        assert talk.runtime.quota.closed_for("scripted") == pytest.approx(30)
        assert (await talk.chat.ask("go on")).text == "the whole"
        assert now() == pytest.approx(30)
        assert [e.text for e in talk.events if e.kind == "text_delta"] == ["Half of ", "the whole"]  # type: ignore[attr-defined]


async def test_a_host_that_retries_by_itself_gets_the_error_and_the_gate() -> None:
    quota = Quota(max_retries=0)
    async with talking(LIMITED, "fine", runtime={"quota": quota}) as talk:
        with pytest.raises(RateLimitedError):
            await talk.chat.ask("hi")
        assert (await talk.chat.ask("hi")).text == "fine"
        assert now() == pytest.approx(30)


async def test_retries_end_and_the_error_tells_when_to_come_back() -> None:
    async with talking(*[LIMITED] * 4) as talk:
        with pytest.raises(RateLimitedError) as told:
            await talk.chat.ask("hi")
        assert told.value.retry_after == 30
        assert talk.model.calls == 4


async def test_a_window_beyond_the_longest_wait_ends_the_turn_at_once() -> None:
    async with talking("never") as talk:
        talk.runtime.quota.record_hit("scripted", 3600)
        with pytest.raises(QuotaExceededError):
            await talk.chat.ask("hi")
        assert talk.model.calls == 0
        assert now() < 1


@pytest.mark.parametrize("how", ["interrupt", "shutdown", "cancel the asker"])
async def test_who_waits_at_the_gate_can_be_stopped_at_once_and_nothing_is_sent(how: str) -> None:
    async with talking("never") as talk:
        talk.runtime.quota.record_hit("scripted", 30)
        asking = await beside(talk.chat.ask("hi"))
        match how:
            case "interrupt":
                await talk.chat.interrupt()
            case "shutdown":
                await talk.chat.shutdown()
            case _:
                asking.cancel()
                await settle()
        with pytest.raises((TurnCancelledError, asyncio.CancelledError)):
            await asking
        assert now() < 1
        assert talk.model.calls == 0
        assert talk.runtime.quota.status()[0].waiting == 0


async def test_words_about_a_limit_are_no_limit() -> None:
    async def look() -> str:
        return "listening on port 4290; HTTP 503, rate limit 429"

    async with talking(call("look"), "fine", tools=[look]) as talk:
        await talk.chat.ask("port 4290?")
        assert talk.runtime.quota.status() == []
        assert "quota_hit" not in talk.kinds()


async def test_a_pace_may_be_set_ahead() -> None:
    async with talking(*["fine"] * 4, runtime={"limits": Limits(rpm=3)}) as talk:
        for _ in range(4):
            await talk.chat.ask("hi")
        assert now() == pytest.approx(20)


async def test_waiting_does_not_count_as_a_stalled_model() -> None:
    async with talking("fine", model_timeout=5.0) as talk:
        talk.runtime.quota.record_hit("scripted", 30)
        assert (await talk.chat.ask("hi")).text == "fine"


# -- a chain of models ------------------------------------------------------------------------


async def test_calls_of_a_chain_that_are_refused_together_count_once_for_its_member() -> None:
    all_sent = asyncio.Event()

    async def refused(_: object) -> Any:
        await all_sent.wait()
        return LIMITED

    first = ScriptedModel(*[refused] * 10, "first", name="first")
    chain = FallbackModel(first, ScriptedModel("second", name="second", loop=True))
    quota = Quota(jitter=lambda: 1.0)
    async with running_runtime(quota=quota) as runtime:
        chats = [await runtime.open(Agent(chain)) for _ in range(10)]
        replies = [await beside(chat.ask("hi")) for chat in chats]
        all_sent.set()
        for each in replies:
            assert (await each).text == "second"
        [parked] = [each for each in quota.status() if each.key == "first"]
        assert (parked.hits, parked.opens_in) == pytest.approx((1, 30))
        await asyncio.sleep(31)
        assert (await chats[0].ask("again")).text == "first"
        assert quota.status() == []
        for chat in chats:
            await chat.shutdown()


async def test_a_call_of_a_chain_whose_keys_are_all_parked_waits_for_the_first_that_opens() -> None:
    first, second = ScriptedModel("first", name="first"), ScriptedModel("second", name="second")
    quota = Quota(jitter=lambda: 1.0)
    quota.record_hit("first", 50)
    quota.record_hit("second", 20)
    agent = Agent(FallbackModel(first, second))
    async with running_runtime(quota=quota) as runtime, runtime.open(agent) as chat:
        assert (await chat.ask("hi")).text == "second"
        assert now() == pytest.approx(20)


# -- what comes while a call waits ---------------------------------------------------------------


async def test_what_is_said_while_a_call_is_parked_is_heard_by_it() -> None:
    async with talking("fine") as talk:
        talk.runtime.quota.record_hit("scripted", 30)
        asked = await beside(talk.chat.ask("hi"))
        await talk.chat.send("in German, please")
        assert (await asked).text == "fine"
        assert talk.said() == ["hi", "in German, please", "fine"]
        assert [getattr(each, "text", "") for each in talk.seen(0)][:2] == [
            "hi",
            "in German, please",
        ]


async def test_a_result_that_comes_while_a_call_is_parked_is_heard_by_it() -> None:
    async def later() -> str:
        await asyncio.sleep(5)
        return "the result"

    def parked(_: object) -> Any:
        return RateLimitedError("slow down", 30.0)

    script = [call("later"), parked, "heard"]
    tools = [tool(route=background(), on_complete="interrupt")(later)]
    async with talking(*script, tools=tools) as talk:
        assert (await talk.chat.ask("go")).text == "heard"
        assert talk.model.calls == 3
        assert talk.told() == ["task-1 succeeded"]
