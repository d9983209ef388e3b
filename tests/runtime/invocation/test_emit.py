"""Runs by request: who is asked, in which conversation, and what is asked twice."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest

from sidetask import Agent, Runtime, background
from sidetask.core.errors import AgentNotStartedError, ConfigurationError, InvalidInputError
from sidetask.core.events import RunStarted
from sidetask.runtime.invocation import Control, ConversationContext, EmitRequest
from sidetask.testing import ScriptedModel, call, reply, stall
from tests.runtime.harness import Held, settle
from tests.runtime.invocation.harness import asked, staged, until_running

# -- who, and where ------------------------------------------------------------------------------


async def test_the_run_id_is_known_at_once_and_is_that_of_its_events() -> None:
    async with staged() as stage:
        run = stage.emit("Hello.")
        assert run.run_id
        assert (run.status, stage.events) == ("waiting", [])
        await run
        assert {event.run_id for event in stage.events} == {run.run_id}


async def test_a_fresh_conversation_is_made_for_a_run_and_closed_after_it() -> None:
    async with staged() as stage:
        first, second = stage.emit("One."), stage.emit("Two.")
        assert first.conversation_id != second.conversation_id
        assert [(await run).text for run in (first, second)] == ["One.", "Two."]
        assert stage.runtime.live_agents == ()


async def test_a_fresh_conversation_lives_until_its_background_work_is_done() -> None:
    held = Held(route=background())
    async with staged() as stage:
        run = stage.emit(call("held"), "Begun.", "Done.", tools=[held.tool])
        assert str(await run) == "Begun."
        assert len(stage.runtime.live_agents) == 1
        held.let_go.set()
        await settle()
        assert stage.runtime.live_agents == ()
        assert [e.kind for e in stage.events if e.terminal] == [
            "run_completed",
            "task_succeeded",
            "run_completed",
        ]


async def test_a_conversation_that_is_open_is_used_and_its_input_reaches_the_model_once() -> None:
    async with staged() as stage:
        model = ScriptedModel("One.", "Two.", "Three.")
        async with stage.runtime.open(Agent(model), conversation_id="c") as chat:
            await chat.ask("one")
            output = await stage.runtime.emit(EmitRequest(input="two", conversation_id="c"))
            assert (output.text, output.conversation_id, output.turn_id) == ("Two.", "c", "turn-2")
            await chat.ask("three")
            assert [asked(model, n) for n in range(3)] == [
                ["one"],
                ["one", "two"],
                ["one", "two", "three"],
            ]


async def test_a_conversation_that_is_named_is_opened_once_and_goes_on() -> None:
    async with staged() as stage:
        model = ScriptedModel("One.", "Two.", "Three.")
        request = EmitRequest(agent=Agent(model), conversation_id="c")
        runs = [stage.runtime.emit(request.with_input(word)) for word in ("one", "two")]
        assert [str(await run) for run in runs] == ["One.", "Two."]
        assert str(await stage.runtime.emit(request.with_input("three"))) == "Three."
        assert asked(model, 2) == ["one", "two", "three"]


async def test_a_run_takes_its_turn_behind_whoever_speaks() -> None:
    go = asyncio.Event()
    async with staged() as stage:
        agent = Agent(ScriptedModel(reply(go, "One."), "Two."))
        async with stage.runtime.open(agent, conversation_id="c") as chat:
            asking = await chat.chat("one")
            run = stage.runtime.emit(EmitRequest(input="two", conversation_id="c"))
            await settle()
            assert run.status == "waiting"
            go.set()
            assert (str(await asking), str(await run)) == ("One.", "Two.")


async def test_a_registered_agent_is_found_by_its_name_and_a_model_by_its_own() -> None:
    agent = Agent(ScriptedModel("Hello."), name="greeter")
    async with staged(agents=[agent], models={"house:mouse": ScriptedModel("Peep.")}) as stage:
        greeted = stage.runtime.emit(EmitRequest(agent="greeter", input="hi"))
        peeped = stage.runtime.emit(EmitRequest(provider="house", model="mouse", input="hi"))
        assert (str(await greeted), str(await peeped)) == ("Hello.", "Peep.")


async def test_a_conversation_of_another_agent_is_refused_with_nothing_lost() -> None:
    async with staged() as stage:
        agent = Agent(ScriptedModel("One."), name="one")
        async with stage.runtime.open(agent, conversation_id="c") as chat:
            for who in (Agent(ScriptedModel(), name="two"), "two"):
                request = EmitRequest(agent=who, input="hi", conversation_id="c")
                with pytest.raises(InvalidInputError, match="with 'one', not with 'two'"):
                    stage.runtime.emit(request)
            request = EmitRequest(model="two", input="hi", conversation_id="c")
            with pytest.raises(InvalidInputError, match="with 'one', not with 'two'"):
                stage.runtime.emit(request)
            again = EmitRequest(agent="one", input="hi", conversation_id="c")
            assert str(await stage.runtime.emit(again)) == "One."
            assert len(chat.history()) == 2


BAD: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: EmitRequest(model="you", input="  "), InvalidInputError, "empty"),
    (lambda: EmitRequest(input="hi"), InvalidInputError, "name an agent"),
    (lambda: EmitRequest(input="hi", conversation_id="c"), InvalidInputError, "not open"),
    (lambda: "hi", ConfigurationError, "EmitRequest"),
    (lambda: EmitRequest(provider="openai", input="hi"), ConfigurationError, "model of 'openai'"),
    (lambda: EmitRequest(agent="a", model="you"), ConfigurationError, "not both"),
]


@pytest.mark.parametrize(("make", "error", "why"), BAD)
async def test_a_request_that_makes_no_sense_is_refused_at_once(
    make: Callable[[], Any], error: type[Exception], why: str
) -> None:
    async with staged() as stage:
        with pytest.raises(error, match=why):
            stage.runtime.emit(make())
        assert stage.events == []


async def test_a_closed_runtime_takes_no_request() -> None:
    runtime = Runtime()
    await runtime.close()
    with pytest.raises(AgentNotStartedError):
        runtime.emit(EmitRequest(model="you", input="hi"))


def test_a_request_is_a_value_that_others_are_made_of() -> None:
    base = EmitRequest(model="you")
    made = (
        base.with_input("hi")
        .with_conversation("c")
        .with_client_request_id("1")
        .with_metadata(a=1)
        .with_metadata(b=2)
        .with_tool_choice("none")
    )
    assert made == EmitRequest(
        model="you",
        input="hi",
        conversation_id="c",
        client_request_id="1",
        metadata={"a": 1, "b": 2},
        tool_choice="none",
    )
    assert base.input == ""
    assert base.with_model("m", provider="p").model_name == "p:m"
    assert base.with_agent("a").model_name is None


# -- what is told, and what the model is given ---------------------------------------------------


async def test_metadata_and_the_clients_id_are_told_with_the_start() -> None:
    async with staged() as stage:
        run = stage.emit("Hello.", metadata={"job": 7}, client_request_id="r1")
        await run
        start = stage.of(run)[0]
        assert isinstance(start, RunStarted)
        assert (start.metadata, start.client_request_id) == ({"job": 7}, "r1")


@pytest.mark.parametrize(
    ("choice", "given"),
    [("required", "required"), ("none", "none"), (("held",), ["held"])],
)
async def test_a_tool_choice_is_for_the_first_model_call(choice: Any, given: Any) -> None:
    held = Held()
    held.let_go.set()
    model = ScriptedModel(call("held"), "Done.", "Again.")
    agent = Agent(model, tools=[held.tool], settings={"temperature": 0})
    async with staged() as stage:
        request = EmitRequest(agent=agent, input="go", conversation_id="c")
        await stage.runtime.emit(request.with_tool_choice(choice))
        await stage.runtime.emit(request)
        free = {"temperature": 0}
        assert [dict(r.settings) for r in model.requests] == [
            {**free, "tool_choice": given},
            free,
            free,
        ]


async def test_a_run_is_read_by_many_and_after_its_end() -> None:
    async with staged() as stage:
        run = stage.emit(reply("One, ", "two."))
        texts = [piece async for piece in run.text_stream()]
        kinds = [str(event.kind) async for event in run]
        assert "".join(texts) == "One, two."
        assert kinds[0] == "run_started"
        assert kinds[-1] == "run_completed"
        assert kinds == stage.kinds(run)[:4] + kinds[4:]
        assert (await run) == (await run)


async def test_events_of_a_run_can_be_read_while_it_waits_and_end_when_it_is_cancelled() -> None:
    async with staged() as stage:
        run = stage.emit(stall("One."))

        async def read() -> list[str]:
            return [str(event.kind) async for event in run]

        reading = asyncio.create_task(read())
        await until_running(run)
        run.cancel()
        assert (await reading)[-1] == "run_cancelled"


# -- builders ------------------------------------------------------------------------------------


async def test_a_builder_is_told_where_it_is_and_makes_the_request() -> None:
    seen: list[ConversationContext] = []

    async def build(context: ConversationContext, control: Control) -> EmitRequest:
        seen.append(context)
        await asyncio.sleep(1)
        return EmitRequest(agent=Agent(ScriptedModel("Hello.")), input="hi", metadata={"n": 1})

    async with staged() as stage:
        run = stage.runtime.emit(build)
        assert str(await run) == "Hello."
        assert [(c.run_id, c.conversation_id) for c in seen] == [(run.run_id, run.conversation_id)]
        start = stage.of(run)[0]
        assert isinstance(start, RunStarted)
        assert start.metadata == {"n": 1}


async def test_a_builder_may_be_an_ordinary_function() -> None:
    def build(context: ConversationContext, control: Control) -> EmitRequest:
        return EmitRequest(agent=Agent(ScriptedModel("Hello.")), input="hi")

    def mistake(context: ConversationContext, control: Control) -> str:
        return "hi"

    async with staged() as stage:
        assert str(await stage.runtime.emit(build)) == "Hello."
        run = stage.runtime.emit(cast(Any, mistake))
        with pytest.raises(ConfigurationError, match="returns an EmitRequest"):
            await run
        assert stage.kinds(run) == ["run_failed"]


async def test_a_builder_may_choose_the_conversation() -> None:
    async def build(context: ConversationContext, control: Control) -> EmitRequest:
        return EmitRequest(input="hi", conversation_id="c")

    async with (
        staged() as stage,
        stage.runtime.open(Agent(ScriptedModel("Hello.")), conversation_id="c") as chat,
    ):
        output = await stage.runtime.emit(build)
        assert (output.text, output.conversation_id) == ("Hello.", "c")
        assert len(chat.history()) == 2


# -- the same request again ----------------------------------------------------------------------


async def test_a_repeated_client_request_id_is_the_first_run() -> None:
    async with staged() as stage:
        model = ScriptedModel("One.", "never")
        request = EmitRequest(
            agent=Agent(model), input="go", conversation_id="c", client_request_id="r1"
        )
        first = stage.runtime.emit(request)
        again = stage.runtime.emit(request.with_input("something else"))
        assert again is first
        await first
        assert stage.runtime.emit(request) is first
        assert model.calls == 1


async def test_a_repeated_text_is_another_run() -> None:
    async with staged() as stage:
        request = EmitRequest(
            agent=Agent(ScriptedModel("One.", "Two.")), input="go", conversation_id="c"
        )
        assert [str(await stage.runtime.emit(request)) for _ in range(2)] == ["One.", "Two."]


async def test_the_same_client_request_id_in_another_conversation_is_another_run() -> None:
    async with staged() as stage:
        agent = Agent(ScriptedModel("One.", "Two.", "Three."))
        request = EmitRequest(agent=agent, input="go", client_request_id="r1")
        places = ("a", "b", None)
        runs = [stage.runtime.emit(request.with_conversation(each)) for each in places]
        assert len({run.run_id for run in runs}) == 3
        for run in runs:
            await run


async def test_the_same_client_request_id_of_another_user_is_another_run() -> None:
    async with staged() as stage:
        agent = Agent(ScriptedModel("For Ann.", "For Bob."))
        runs = [
            stage.runtime.emit(
                EmitRequest(agent=agent, input="go", client_request_id="r1", user=user)
            )
            for user in ("ann", "bob")
        ]
        assert [str(await run) for run in runs] == ["For Ann.", "For Bob."]


async def test_a_builder_that_repeats_a_request_stands_for_the_first_run() -> None:
    go = asyncio.Event()
    async with staged() as stage:
        model = ScriptedModel(reply(go, "One."))
        request = EmitRequest(agent=Agent(model), input="go", client_request_id="r1")

        async def build(context: ConversationContext, control: Control) -> EmitRequest:
            return request

        first, again = stage.runtime.emit(request), stage.runtime.emit(build)
        reading = asyncio.create_task(_kinds(again))
        await settle()
        assert again.run_id == first.run_id
        go.set()
        assert str(await again) == str(await first) == "One."
        assert (await reading)[-1] == "run_completed"
        assert model.calls == 1
        assert len([event for event in stage.events if event.kind == "run_started"]) == 1


async def _kinds(run: Any) -> list[str]:
    return [str(event.kind) async for event in run]


async def test_a_request_that_was_refused_may_be_made_again() -> None:
    async with staged() as stage:
        request = EmitRequest(agent=Agent(ScriptedModel("One.")), input=" ", client_request_id="r1")
        with pytest.raises(InvalidInputError):
            stage.runtime.emit(request)
        assert str(await stage.runtime.emit(request.with_input("go"))) == "One."
