"""Moving an agent of Pydantic AI in: what it is made of, as an agent of ours.

Kept are its instructions and system prompts (static and dynamic), tools and toolsets, deps, model
and settings, and its output type. What cannot be kept is refused when the agent is opened.
"""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic_ai import Agent
from pydantic_ai.agent import AbstractAgent, WrapperAgent
from pydantic_ai.models import Model
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, FunctionToolset

from sidetask.agents.agent import AgentConfig
from sidetask.agents.tools.asking import Arguments, Context
from sidetask.agents.tools.tool import AnyTool, Tool
from sidetask.core.errors import ConfigurationError
from sidetask.core.ids import CallId
from sidetask.core.messages import ToolCall
from sidetask.core.routing import DEFAULT_POLICY, Route, TaskPolicy, foreground
from sidetask.interop.pydantic_ai.inside import AnyAgent, deps_of, model_of
from sidetask.interop.pydantic_ai.model import MovedModel
from sidetask.interop.pydantic_ai.refusals import check, output_type
from sidetask.interop.pydantic_ai.running import MovedRun
from sidetask.models.pydantic_ai import PydanticAIModel
from sidetask.runtime.foreign import Entered
from sidetask.tasks.aio.spawn import run_to_end, spawn, wait_done

MAX_STEPS = 50
"""Model calls in one turn: the limit of a run in Pydantic AI, where nobody gives another."""

CLEANUP = 5.0
"""Seconds that closing toolsets may take whose opening was cancelled."""


@dataclass(frozen=True, slots=True)
class MovingAgent:
    """What `move_in` makes: `sidetask.open`, `runtime.open` and `Runtime(agents=[...])` take it."""

    agent: AnyAgent
    routes: Mapping[str, Route] = field(default_factory=dict[str, Route])
    policies: Mapping[str, TaskPolicy] = field(default_factory=dict[str, TaskPolicy])

    @property
    def name(self) -> str | None:
        return self.agent.name

    async def enter(self, deps: object) -> Entered:
        """Open its toolsets and describe it for one conversation.

        Raises:
            ConfigurationError: Something of it would be lost; the error names it.
        """
        model = model_of(self.agent)
        check(self.agent, model)
        own = deps_of(self.agent, deps)
        run = MovedRun(self.agent, own, model)
        held = _Held(run)
        await held.open()
        try:
            config = self._described(run, model)
        except ConfigurationError:
            await held.close()
            raise
        return Entered(config, own, held.close)

    def _described(self, run: MovedRun, model: Model[Any]) -> AgentConfig:
        defined = {**_unprepared(self.agent), **run.tools()}
        _check_names("routes", self.routes, defined)
        _check_names("policies", self.policies, defined)
        _check_kinds(defined)
        moved = MovedModel(
            model, run, frozenset(defined), instrument=self.agent.instrument or False
        )
        return AgentConfig(
            model=PydanticAIModel(moved),
            name=self.name or "agent",
            tools=[self._tool(run, each) for each in defined.values()],
            output_type=output_type(self.agent),
            max_steps=MAX_STEPS,
        )

    def _tool(self, run: MovedRun, definition: ToolDefinition) -> AnyTool:
        name = definition.name
        policy = self.policies.get(name, DEFAULT_POLICY)

        async def body(arguments: Arguments, ctx: Context) -> object:
            return await run.call(name, written(arguments), ctx)

        return Tool(
            name=name,
            description=definition.description or "",
            parameters=definition.parameters_json_schema,
            route=self.routes.get(name, foreground()),
            policy=replace(policy, exclusive=True) if definition.sequential else policy,
            parse=_parse,
            body=body,
            function=body,
        )


def move_in(
    agent: AbstractAgent[Any, Any],
    *,
    routes: Mapping[str, Route] | None = None,
    policies: Mapping[str, TaskPolicy] | None = None,
) -> MovingAgent:
    """Say how the calls of an agent's tools are routed, before it is opened.

        sidetask.open(move_in(agent, routes={"crawl": detach_after(5)}), deps=Shop())

    Without routes and policies it is the same to open the agent itself.

    Raises:
        ConfigurationError: It is no `pydantic_ai.Agent`, but something with a loop of its own.
    """
    while type(agent) is WrapperAgent:
        agent = agent.wrapped
    if not isinstance(agent, Agent):
        raise ConfigurationError(
            f"{type(agent).__name__} runs an agent in its own way: open the Agent inside of it, or"
            " leave it to its own loop, from_pydantic_ai(agent)"
        )
    return MovingAgent(agent, routes or {}, policies or {})


# -- tools -----------------------------------------------------------------------------------


class _Written(Arguments):
    """Arguments with the text in which the model wrote them: the library validates that."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        super().__init__(ToolCall(CallId(""), "", text).parsed())
        self.text = text


def _parse(text: str) -> Arguments:
    return _Written(text)


def written(arguments: Arguments) -> str:
    """The arguments as JSON text."""
    return arguments.text if isinstance(arguments, _Written) else json.dumps(arguments)


def _unprepared(agent: AnyAgent) -> dict[str, ToolDefinition]:
    """Tools that a `prepare` or a filter may hide now and show later."""
    found: dict[str, ToolDefinition] = {}

    def visit(toolset: AbstractToolset[Any]) -> None:
        if isinstance(toolset, FunctionToolset):
            found.update({name: tool.tool_def for name, tool in toolset.tools.items()})

    for toolset in agent.toolsets:
        toolset.apply(visit)
    return found


def _check_names(what: str, named: Mapping[str, object], defined: Mapping[str, object]) -> None:
    unknown = ", ".join(sorted(named.keys() - defined.keys()))
    if unknown:
        raise ConfigurationError(
            f"{what}= names {unknown}, which is no tool of the agent; there are:"
            f" {', '.join(sorted(defined)) or 'none'}"
        )


def _check_kinds(defined: Mapping[str, ToolDefinition]) -> None:
    for name, each in defined.items():
        if each.kind not in {"function", "unapproved"}:
            raise ConfigurationError(f"tool {name!r} is {each.kind}: its calls are not run here")
        if each.defer_loading:
            raise ConfigurationError(f"tool {name!r} has defer_loading=True: show it at once")


# -- what is held open -----------------------------------------------------------------------


class _Held:
    """Opens and closes toolsets in one asyncio task: what they open may belong to theirs."""

    def __init__(self, run: MovedRun) -> None:
        self._run = run
        self._leave = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises: whatever opening them raises. Cancelled, it leaves nothing open."""
        ready = asyncio.get_running_loop().create_future()
        self._task = task = spawn(self._hold(ready), name="toolsets of a moved-in agent")
        try:
            await asyncio.wait({task, ready}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            await run_to_end(wait_done(task), within=CLEANUP)
            raise
        if task.done():
            task.result()

    async def close(self) -> None:
        """Raises: whatever closing them raises, once."""
        task = self._task
        if task is not None:
            self._leave.set()
            await wait_done(task)
            self._task = None
            task.result()

    async def _hold(self, ready: "asyncio.Future[None]") -> None:
        async with self._run.open():
            ready.set_result(None)
            await self._leave.wait()
