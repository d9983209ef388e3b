"""An agent that opens in a runtime of its own: what is left when it does not."""

import asyncio
import threading
from pathlib import Path

import pytest

import sidetask
from sidetask import Agent
from sidetask.agents.policies.hooks import HookContext, Hooks
from sidetask.core.errors import InvalidInputError
from sidetask.testing import ScriptedModel
from tests.runtime.harness import beside


class Waiting(Hooks):
    """Never begins."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def conversation_started(self, ctx: HookContext) -> None:
        self.begun.set()
        await asyncio.Event().wait()


def left() -> list[str]:
    """What runs besides the test."""
    threads = [each.name for each in threading.enumerate() if each.name == "sidetask-store"]
    return threads + [each.get_name() for each in asyncio.all_tasks() if _is_ours(each)]


def _is_ours(task: asyncio.Task[object]) -> bool:
    return task is not asyncio.current_task() and task.get_name() == "retention"


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.mark.slow
async def test_an_opening_that_is_refused_leaves_no_runtime_behind(store: str) -> None:
    mine = Agent(ScriptedModel("hi"), name="mine")
    async with sidetask.open(mine, conversation_id="c", store=store):
        assert left() == ["sidetask-store", "retention"]
    with pytest.raises(InvalidInputError, match="with 'mine', not with 'yours'"):
        await sidetask.open(
            Agent(ScriptedModel("hi"), name="yours"), conversation_id="c", store=store
        )
    assert left() == []


@pytest.mark.slow
async def test_an_opening_that_is_cancelled_leaves_no_runtime_behind(store: str) -> None:
    hooks = Waiting()
    agent = Agent(ScriptedModel("hi"), hooks=[hooks])

    async def opening() -> None:
        await sidetask.open(agent, store=store)

    task = await beside(opening())
    await hooks.begun.wait()
    assert left() == ["sidetask-store", "retention"]
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert left() == []
