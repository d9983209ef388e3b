"""The public agent: its description, and two ways to run it at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sidetask.agents.agent import AgentConfig
from sidetask.core.messages import Content, Message
from sidetask.core.usage import Usage
from sidetask.runtime.runtime import open as open_agent
from sidetask.tasks.values import Idle


@dataclass(frozen=True, slots=True, kw_only=True)
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
            reply = await chat.ask(content)
            idle = await chat.wait_for_idle()
            last = chat.last_response
            if last is not None and last.error is not None:
                raise last.error
            output = chat.last_structured_output if self.output_type is not None else None
            text = last.text if last is not None else reply.text
            return RunResult(
                output=text if output is None else output,
                text=text,
                turns=chat.turn_count,
                usage=chat.total_usage,
                history=chat.history(),
                idle=idle,
            )

    def run_sync(
        self,
        content: Content,
        *,
        deps: object = None,
        timeout: float | None = None,
        **settings: Any,
    ) -> RunResult:
        """`run` for synchronous code. Not from inside a running event loop: await `run` there."""
        return asyncio.run(self.run(content, deps=deps, timeout=timeout, **settings))
