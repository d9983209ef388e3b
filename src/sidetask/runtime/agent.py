"""The public agent: its description, and the ways to run it at once."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Unpack

from sidetask.agents.agent import AgentConfig
from sidetask.agents.tools.asking import Arguments, Context
from sidetask.agents.tools.outputs import to_completed
from sidetask.agents.tools.tool import AnyTool, Tool, ToolOptions
from sidetask.core.errors import ConfigurationError, InvalidInputError, ToolError
from sidetask.core.ids import value
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.messages import Content, Message
from sidetask.core.usage import Usage
from sidetask.orchestration.invoker import Invoker, inside
from sidetask.runtime.handle import AgentHandle
from sidetask.runtime.live.base import Within
from sidetask.runtime.runtime import Runtime
from sidetask.runtime.runtime import open as open_agent
from sidetask.runtime.sync import LoopThread
from sidetask.state.provenance import Origin
from sidetask.state.state import StateView
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.values import Idle

_PARAMETERS: JsonObject = {
    "type": "object",
    "properties": {
        "input": {"type": "string", "description": "What is to be done, with all it needs to know."}
    },
    "required": ["input"],
    "additionalProperties": False,
}
NO_INPUT = "Begin."
"""What an agent is told that is invoked without an input: its instructions say what to do."""


@value(kw_only=True, frozen=True)
class RunResult:
    """What a run of an agent came to, late results included. `str(result)` is its text."""

    output: object
    """The structured output, if the agent has an `output_type`; else the last turn's text."""
    text: str
    turns: int
    usage: Usage
    history: Sequence[Message]
    idle: Idle
    """What was still open when nothing ran any more: undelivered results, approvals."""

    def __str__(self) -> str:
        return self.text


class Agent(AgentConfig):
    """A model with instructions and tools: `Agent("openai:gpt-5.2", tools=[crawl])`.

    A frozen description. `sidetask.open(agent)` makes a live one to talk with; `run` and
    `run_sync` ask once and return when all is done.
    """

    async def run(
        self,
        content: Content,
        *,
        deps: object = None,
        timeout: float | None = None,
        **settings: Any,
    ) -> RunResult:
        """Ask once and wait until the conversation is idle: after late results.

        Raises:
            TurnError: The turn failed.
            TimeoutError: It took longer than `timeout` seconds; its tasks are cancelled.
        """
        async with open_agent(self, deps=deps, **settings) as chat, asyncio.timeout(timeout):
            return await _run_out(chat, content)

    async def invoke(self, input: Json, state: StateView) -> Json:
        """Ask once, as part of other work, and return the output when all is done.

        The input is said as it is if it is a text, else as JSON; without one (None) the agent is
        told to begin. Its tools' `ctx.state` is `state`. Inside a task of a runtime it is opened
        in that runtime, and its calls are children of that task; else in a runtime of its own.

        Raises:
            TurnError: The turn failed.
            ToolResultError: Its structured output is not JSON.
            InvalidInputError: The input is a blank text, or no JSON.
        """
        return await self._invoke(input, state, None)

    def as_tool(self, **options: Unpack[ToolOptions]) -> AnyTool:
        """This agent as a tool of another one: `tools=[researcher.as_tool(detach_after=5)]`.

        `options` are those of a tool. Its name is the agent's unless given, and its description
        the first line of the instructions. The model calls it with a text, `input`; each call is
        a task, which opens a fresh conversation with this agent and ends with its output. The
        agent's own calls are children of that task and end with it; it shares the state and the
        dependencies of the conversation that calls it, spends its budget, and may do nothing that
        the caller's policy forbids.

        Raises:
            ConfigurationError: There is nothing to describe it with, or the options contradict
                each other.
        """
        described = options.setdefault("description", _first_line(self.instructions))
        if not described:
            raise ConfigurationError(
                f"agent {self.name!r} says nothing of itself: as_tool(description=...)"
            )
        options.setdefault("name", self.name)

        async def ask(arguments: Arguments, ctx: Context) -> Json:
            said = arguments.get("input")
            if not isinstance(said, str) or not said.strip():
                raise ToolError("say in `input` what is to be done, as a text")
            return await self._invoke(said, ctx.state, lambda: ctx.deps)

        return Tool.from_schema(ask, _PARAMETERS, **options)

    async def _invoke(self, input: Json, state: StateView, deps: object) -> Json:
        parent = inside()
        view = state.as_writer(Origin(source="agent"))
        owner = None if parent is None else parent.owner
        house = Invoker.of(owner).house if isinstance(owner, AsyncTaskManager) else None
        if parent is not None and isinstance(house, Runtime):
            return await self._invoke_in(house, input, Within(view, parent.record.id), deps)
        async with Runtime(store="memory:") as own:
            return await self._invoke_in(own, input, Within(view, None), deps)

    async def _invoke_in(self, runtime: Runtime, input: Json, within: Within, deps: object) -> Json:
        content = _said(input)
        async with await runtime.start_agent(self, within=within, deps=deps) as chat:
            result = await _run_out(chat, content)
        return to_completed(result.output).value

    def run_sync(
        self,
        content: Content,
        *,
        deps: object = None,
        timeout: float | None = None,
        **settings: Any,
    ) -> RunResult:
        """`run` for synchronous code: scripts, and notebooks, whose own event loop it leaves
        alone. Async code awaits `run`."""
        thread = LoopThread()
        try:
            return thread.run(self.run(content, deps=deps, timeout=timeout, **settings))
        finally:
            thread.close()


async def _run_out(chat: AgentHandle, content: Content) -> RunResult:
    """Ask once, and wait until nothing of it runs any more."""
    await chat.ask(content)
    idle = await chat.wait_for_idle()
    assert chat.last_response is not None
    last = await chat.last_response
    return RunResult(
        output=last.output,
        text=last.text,
        turns=chat.turn_count,
        usage=chat.total_usage,
        history=chat.history(),
        idle=idle,
    )


def _first_line(instructions: str) -> str:
    return next((line.strip() for line in instructions.splitlines() if line.strip()), "")


def _said(input: Json) -> str:
    if input is None:
        return NO_INPUT
    if isinstance(input, str):
        return input
    try:
        return json.dumps(input, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"the input is not JSON: {error}") from None
