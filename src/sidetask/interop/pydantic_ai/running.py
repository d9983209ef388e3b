"""What Pydantic AI calls a run, kept for one conversation: its context, its tools, its prompts.

A turn of ours is a run of theirs. Before each model call `step` asks the agent anew what it has
to say: prepared tools, instructions, settings. Between two of them `call` carries out calls, in
the background too: a call keeps the tools of the step in which it began.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, cast

from pydantic_ai import ApprovalRequired, CallDeferred, InstructionPart, RunContext
from pydantic_ai.exceptions import ToolFailedError, ToolRetryError, UnexpectedModelBehavior
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tool_manager import ToolManager
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.toolsets import AbstractToolset, CombinedToolset
from pydantic_ai.usage import RunUsage

from sidetask.core.errors import ToolError
from sidetask.interop.pydantic_ai.inside import (
    AnyAgent,
    Recipe,
    recipes_of,
    resolved,
    settings_of,
    tool_retries_of,
)
from sidetask.interop.pydantic_ai.results import as_ours
from sidetask.interop.pydantic_ai.usage import spend
from sidetask.tasks.context import RunContext as OurContext


@dataclass(frozen=True, slots=True)
class Step:
    """What the agent has to say before a model call."""

    messages: list[ModelMessage]
    tools: dict[str, ToolDefinition]
    instructions: list[InstructionPart]
    settings: ModelSettings


class MovedRun:
    """An agent at work in one conversation, while it is `open`."""

    def __init__(self, agent: AnyAgent, deps: object, model: Model[Any]) -> None:
        self._agent = agent
        self._deps = deps
        self._model = model
        self._toolset: AbstractToolset[Any] = CombinedToolset(agent.toolsets)
        # An override in force when the agent is opened holds as long as it is open.
        self._recipes: Sequence[Recipe] = recipes_of(agent)
        self._settings = settings_of(agent)
        self._retries = tool_retries_of(agent)
        self._usage = RunUsage()
        self._messages: list[ModelMessage] = []
        self._system: list[SystemPromptPart] | None = None
        self._steps = 0
        self._manager = self._fresh()

    def context(self) -> RunContext[Any]:
        """The context of the step."""
        ctx = RunContext(
            deps=self._deps,
            model=self._model,
            usage=self._usage,
            agent=self._agent,
            prompt=_prompt(self._messages),
            messages=self._messages,
            max_retries=self._retries,
            run_step=self._steps,
        )
        known = self._agent.validation_context
        ctx.validation_context = known(ctx) if callable(known) else known
        return ctx

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Hold its toolsets open: connections to servers, for example."""
        ctx = self.context()
        async with await self._toolset.for_run(ctx) as self._toolset:
            self._manager = await self._fresh().for_run_step(ctx)
            yield

    def tools(self) -> dict[str, ToolDefinition]:
        """The tools of this step, by name."""
        return {each.name: each for each in self._manager.tool_defs}

    async def step(self, messages: list[ModelMessage]) -> Step:
        """What goes to the model with these messages."""
        begins = _is_asked(messages)
        self._steps = 1 if begins else self._steps + 1
        self._messages = messages
        ctx = self.context()
        self._messages = ctx.messages = await self._headed(messages, ctx, begins=begins)
        manager = self._fresh() if begins else self._manager
        self._manager = await manager.for_run_step(ctx)
        parts = await resolved(self._recipes, ctx)
        parts += _parts(await self._manager.toolset.get_instructions(ctx))
        settings = self._settings(ctx) if callable(self._settings) else self._settings
        return Step(
            self._messages,
            self.tools(),
            InstructionPart.sorted(parts),
            cast("ModelSettings", settings or {}),
        )

    def heard(self, response: ModelResponse) -> None:
        """Note what the model replied: the tools that it calls see it in `ctx.messages`."""
        self._messages = [*self._messages, response]
        self._usage.requests += 1
        self._usage.incr(response.usage)

    async def call(self, name: str, arguments: str, ctx: OurContext[Any]) -> object:
        """Carry out a call, asking a person first where the tool wants that.

        Raises:
            ToolError: The model is to try again, or the call failed; in Pydantic AI's words.
            ApprovalDeniedError: A person said no.
        """
        part = ToolCallPart(name, arguments, ctx.call_id)
        try:
            return await self._attempt(part, ctx)
        except ApprovalRequired as asked:
            details = {key: str(value) for key, value in (asked.metadata or {}).items()}
            await ctx.request_approval(f"{name} asks before it runs", **details)
        try:
            return await self._attempt(part, ctx, approved=True)
        except ApprovalRequired:
            raise ToolError(f"{name} was approved, and asks again: it was not run") from None

    async def _attempt(
        self, part: ToolCallPart[Any], ours: OurContext[Any], *, approved: bool = False
    ) -> object:
        before = copy(self._usage)
        usage = copy(before)  # of its own: runs that the tool starts with it are charged with it
        manager = self._managing(ours, usage)
        name = part.tool_name
        try:
            checked = await manager.validate_tool_call(part, approved=approved)
            kind = checked.tool.tool_def.kind if checked.tool is not None else "function"
            if checked.args_valid and kind == "unapproved" and not approved:
                raise ApprovalRequired
            result = await manager.execute_tool_call(checked)
        except ToolRetryError as error:
            self._manager.failed_tools.add(name)
            raise ToolError(_words(error.tool_retry)) from error
        except ToolFailedError as error:
            raise ToolError(_words(error.tool_failed)) from error
        except UnexpectedModelBehavior as error:
            raise ToolError(f"{error.__cause__ or error}\n{error.message}") from error
        except CallDeferred as error:
            raise ToolError(f"{name} is to be carried out elsewhere, which cannot be") from error
        finally:
            self._charge(usage - before)
        self._manager.succeeded_tools.add(name)
        return as_ours(result)

    def _managing(self, ours: OurContext[Any], usage: RunUsage) -> ToolManager[Any]:
        """The tools of this step, for one call."""
        now = self._manager
        assert now.ctx is not None
        ctx = replace(
            now.ctx,
            usage=usage,
            messages=self._messages,
            run_id=ours.run_id,
            conversation_id=ours.conversation_id,
        )
        return replace(now, ctx=ctx)

    def _charge(self, new: RunUsage) -> None:
        self._usage.incr(new)
        spend(replace(new, tool_calls=0))  # the call itself is counted by who runs it

    def _fresh(self) -> ToolManager[Any]:
        return ToolManager(self._toolset, default_max_retries=self._retries)

    async def _headed(
        self, messages: list[ModelMessage], ctx: RunContext[Any], *, begins: bool
    ) -> list[ModelMessage]:
        """The messages below the system prompts, which are asked for once, or, where they are
        dynamic, in each turn."""
        known = self._system
        if known is None or (begins and any(part.dynamic_ref for part in known)):
            fresh = await self._agent.system_prompt_parts(
                deps=self._deps,
                model=self._model,
                message_history=messages,
                prompt=ctx.prompt,
                usage=self._usage,
            )
            now = {part.dynamic_ref: part for part in fresh if part.dynamic_ref}
            kept = fresh if known is None else known
            self._system = known = [now.get(part.dynamic_ref or "", part) for part in kept]
        if not known:
            return messages
        match messages:
            case [ModelRequest() as first, *rest]:
                return [replace(first, parts=[*known, *first.parts]), *rest]
            case _:
                return [ModelRequest(parts=[*known]), *messages]


def _is_asked(messages: Sequence[ModelMessage]) -> bool:
    """Whether a turn begins: the last that was said answers no call."""
    last = messages[-1] if messages else None
    return not isinstance(last, ModelRequest) or not any(
        isinstance(part, ToolReturnPart) for part in last.parts
    )


def _prompt(messages: Sequence[ModelMessage]) -> Any:
    for message in reversed(messages):
        for part in reversed(message.parts):
            if isinstance(part, UserPromptPart):
                return part.content
    return None


def _parts(said: str | InstructionPart | Sequence[str | InstructionPart] | None) -> list[Any]:
    items = [said] if isinstance(said, str | InstructionPart) else said or ()
    parts = [
        InstructionPart(each, dynamic=True) if isinstance(each, str) else each for each in items
    ]
    return [part for part in parts if part.content.strip()]


def _words(part: Any) -> str:
    """What the model reads: a retry with its advice, an error without a frame of JSON."""
    if isinstance(part, ToolReturnPart):
        return cast("ToolReturnPart[Any]", part).model_response_str(wrap_if_error=False)
    return part.model_response()
