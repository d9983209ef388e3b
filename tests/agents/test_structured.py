"""Structured output: handed in by a call, or written as the reply."""

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from tests.runtime.harness import Held, beside, talking

from sidetask import tool
from sidetask.agents.tools.structured import NAME, OutputSpec
from sidetask.core.errors import ConfigurationError, InvalidInputError, OutputError
from sidetask.core.ids import CallId
from sidetask.core.messages import ToolCall
from sidetask.testing import call, reply


class City(BaseModel):
    name: str
    people: int


@dataclass
class Pair:
    a: int
    b: str


BONN = City(name="Bonn", people=330_000)


@tool
async def look_up(name: str) -> int:
    """Look it up."""
    return 330_000


# -- reading -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "text", "value"),
    [
        (City, '{"name": "Bonn", "people": 330000}', BONN),
        (Pair, '{"a": 1, "b": "x"}', Pair(1, "x")),
        (dict[str, int], '{"output": 1}', {"output": 1}),
        (list[City], '{"output": [{"name": "Bonn", "people": 330000}]}', [BONN]),
        (list[City], '[{"name": "Bonn", "people": 330000}]', [BONN]),
        (int, "3", 3),
        (int, '{"output": 3}', 3),
        (set[int], '{"output": [1, 1]}', {1}),
        (int | None, '{"output": null}', None),
        (City, '```json\n{"name": "Bonn", "people": 330000}\n```', BONN),
        (City, '\n```\n{"name": "Bonn", "people": 330000}```\n', BONN),
    ],
)
def test_a_value_is_read_bare_wrapped_or_fenced(wanted: Any, text: str, value: object) -> None:
    assert OutputSpec(wanted).read(text) == value


@pytest.mark.parametrize(
    ("wanted", "text", "said"),
    [
        (City, '{"name": "Bonn"}', "people: Field required"),
        (City, "Bonn is nice.", "Invalid JSON"),
        (City, "", "Invalid JSON"),
        (int, '{"output": "x"}', "valid integer"),
        (list[City], "[" * 100_000, "Invalid JSON"),
    ],
)
def test_what_does_not_fit_is_said(wanted: Any, text: str, said: str) -> None:
    with pytest.raises(InvalidInputError, match=said):
        OutputSpec(wanted).read(text)


def test_the_definitions_of_a_wrapped_type_are_where_its_references_look() -> None:
    parameters = OutputSpec(list[City]).schema.parameters  # type: ignore[arg-type]
    assert parameters["type"] == "object"
    assert "$defs" in parameters
    assert "'$ref': '#/$defs/City'" in str(parameters["properties"])


def test_a_type_without_a_schema_is_refused_when_the_agent_is_opened() -> None:
    with pytest.raises(ConfigurationError, match="no JSON schema"):
        OutputSpec(Held)


# -- in a turn -----------------------------------------------------------------------------


async def test_the_call_of_the_output_ends_the_turn() -> None:
    script = reply("Here.", call(NAME, name="Bonn", people=330_000))
    async with talking(script, output_type=City) as talk:
        answer = await talk.chat.ask("Bonn?")
        assert (answer.output, answer.steps, answer.text) == (BONN, 1, "Here.")
        assert talk.chat.last_structured_output == BONN
        assert [a.is_error for a in talk.answers()] == [False]


async def test_tools_come_before_the_output() -> None:
    script = (call("look_up", name="Bonn"), call(NAME, name="Bonn", people=330_000))
    async with talking(*script, tools=[look_up], output_type=City) as talk:
        assert (await talk.chat.ask("Bonn?")).output == BONN
        assert [schema.name for schema in talk.chat.available_tools] == [
            "look_up",
            "read_output",
            NAME,
        ]


async def test_calls_beside_the_output_are_carried_out_before_the_turn_ends() -> None:
    held = Held()
    calls = [call(NAME, name="Bonn", people=330_000), call("held")]
    async with talking(calls, tools=[held.tool], output_type=City) as talk:
        asking = await beside(talk.chat.ask("Bonn?"))
        assert not asking.done()
        held.let_go.set()
        assert (await asking).output == BONN
        assert [a.content for a in talk.answers()] == ["Accepted.", "held is done"]


async def test_a_reply_that_is_nothing_but_the_output_is_the_output() -> None:
    async with talking('{"name": "Bonn", "people": 330000}', output_type=City) as talk:
        assert (await talk.chat.ask("Bonn?")).output == BONN


async def test_an_output_that_does_not_fit_is_answered_with_what_is_wrong() -> None:
    script = (call(NAME, name="Bonn"), call(NAME, name="Bonn", people=330_000))
    async with talking(*script, output_type=City) as talk:
        assert (await talk.chat.ask("Bonn?")).output == BONN
        assert [a.is_error for a in talk.answers()] == [True, False]
        assert "people: Field required" in talk.answers()[0].content


async def test_a_model_that_forgets_the_output_is_reminded() -> None:
    script = ("Bonn is nice.", call(NAME, name="Bonn", people=330_000))
    async with talking(*script, output_type=City) as talk:
        assert (await talk.chat.ask("Bonn?")).output == BONN
        assert talk.said()[2] == f"Call {NAME} with the output of this turn."


async def test_a_model_that_forgets_it_three_times_fails_the_turn() -> None:
    async with talking("No.", "No.", "No.", "never", output_type=City) as talk:
        with pytest.raises(OutputError, match="2 reminders"):
            await talk.chat.ask("Bonn?")
        assert talk.model.calls == 3
        assert talk.runs() == ["run_failed"]


async def test_a_reminder_is_no_message_for_a_later_turn() -> None:
    gate_open = ("No.",)
    async with talking(*gate_open, "never", output_type=City, max_steps=1) as talk:
        with pytest.raises(Exception, match="model calls"):
            await talk.chat.ask("Bonn?")
        await talk.chat.wait_for_idle()
        assert talk.chat.turn_count == 1


async def test_each_turn_owes_an_output_of_its_own() -> None:
    script = [call(NAME, name=name, people=1) for name in ("a", "b")]
    async with talking(*script, output_type=City) as talk:
        outputs = [(await talk.chat.ask("go")).output for _ in range(2)]
        assert outputs == [City(name="a", people=1), City(name="b", people=1)]


async def test_an_output_of_none_is_an_output() -> None:
    async with talking(call(NAME, output=None), output_type=int | None) as talk:
        answer = await talk.chat.ask("How many?")
        assert (answer.output, answer.steps) == (None, 1)


async def test_a_text_as_output_type_is_the_reply() -> None:
    async with talking("Hello.", output_type=str) as talk:
        assert (await talk.chat.ask("Hi")).output == "Hello."
        assert talk.chat.available_tools == ()


async def test_who_steers_after_the_output_gets_a_reply_and_what_it_calls_is_heard() -> None:
    held = Held()
    script = (
        [call(NAME, name="Bonn", people=1), call("held")],
        call("held"),
        "As you said.",
    )
    async with talking(*script, tools=[held.tool], output_type=City) as talk:
        asking = await beside(talk.chat.ask("Bonn?"))
        await talk.chat.send("and look again")
        held.let_go.set()
        answer = await asking
        assert (answer.output, answer.text) == (City(name="Bonn", people=1), "As you said.")


async def test_no_tool_may_have_the_name_of_the_output() -> None:
    with pytest.raises(ConfigurationError, match=NAME):
        async with talking(tools=[Held(NAME).tool], output_type=City):
            raise AssertionError


async def test_broken_json_as_output_is_answered() -> None:
    script = (ToolCall(CallId(""), NAME, "{"), call(NAME, name="Bonn", people=330_000))
    async with talking(*script, output_type=City) as talk:
        assert (await talk.chat.ask("Bonn?")).output == BONN
