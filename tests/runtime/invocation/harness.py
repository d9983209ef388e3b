"""A runtime whose every event is noted. However a test's runs end, each has exactly one end."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from sidetask import Agent, Event, Runtime, Tool
from sidetask.agents.tools.tool import AnyTool
from sidetask.core.events import RunCancelled, RunCompleted, RunFailed
from sidetask.core.messages import UserMessage
from sidetask.runtime.invocation import EmitRequest, RunHandle
from sidetask.testing import ScriptedModel, reply, running_runtime
from tests.runtime.harness import LIMIT, settle

ENDS = (RunCompleted, RunFailed, RunCancelled)


class Stage:
    """A runtime, and what it told."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.events: list[Event] = []
        cast(Any, runtime)._outbox.everything.tap(self.events.append)

    def emit(self, *script: Any, tools: Sequence[Any] = (), **request: Any) -> RunHandle:
        """A run of an agent with this script."""
        return self.runtime.emit(self.request(*script, tools=tools, **request))

    def request(self, *script: Any, tools: Sequence[Any] = (), **request: Any) -> EmitRequest:
        model = ScriptedModel(*script)
        settings = {
            key: request.pop(key) for key in ("max_steps", "model_timeout") if key in request
        }
        agent = Agent(model, tools=tools, **settings)
        return EmitRequest(agent=agent, input=request.pop("input", "go"), **request)

    def of(self, run: RunHandle) -> list[Event]:
        return [event for event in self.events if event.run_id == run.run_id]

    def kinds(self, run: RunHandle) -> list[str]:
        return [str(event.kind) for event in self.of(run)]

    def end(self, run: RunHandle) -> str:
        """The one end of a run."""
        ends = [str(event.kind) for event in self.of(run) if isinstance(event, ENDS)]
        assert len(ends) == 1, ends
        return ends[0]

    def check(self) -> None:
        """Nothing of a run is told after its end, but its background tasks."""
        for run_id in {event.run_id for event in self.events}:
            ends = [e for e in self.events if e.run_id == run_id and isinstance(e, ENDS)]
            assert run_id is None or len(ends) == 1, (run_id, ends)


@asynccontextmanager
async def staged(**settings: Any) -> AsyncGenerator[Stage, None]:
    """A runtime for runs."""
    async with asyncio.timeout(LIMIT), running_runtime(**settings) as runtime:
        stage = Stage(runtime)
        yield stage
    stage.check()


async def until_running(run: RunHandle) -> None:
    """Let it come as far as it can."""
    await settle()
    assert run.status == "running"


def asked(model: ScriptedModel, call: int = 0) -> list[str]:
    """What the user had said, at a call of the model."""
    return [m.text for m in model.requests[call].messages if isinstance(m, UserMessage)]


def broken_tool() -> AnyTool:
    async def crash(arguments: object, ctx: object) -> object:
        raise RuntimeError("it broke")

    return Tool.from_schema(crash, {"type": "object"}, name="crash", description="Break.")


def numbered(count: int) -> tuple[Any, ...]:
    """A reply of so many deltas, each with its number."""
    return reply(*[f"{n} " for n in range(count)])
