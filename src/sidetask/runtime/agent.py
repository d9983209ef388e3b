"""The public agent: its description, and two ways to run it at once."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sidetask.agents.agent import AgentConfig
from sidetask.core.messages import Content, Message
from sidetask.core.usage import Usage
from sidetask.runtime.runtime import open as open_agent
from sidetask.runtime.sync import LoopThread
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
