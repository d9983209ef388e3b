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


def stores() -> list[threading.Thread]:
    """Databases that are open."""
    return [each for each in threading.enumerate() if each.name == "sidetask-store"]


def lookouts() -> int:
    """How many runtimes look for what is too old."""
    return len([each for each in asyncio.all_tasks() if each.get_name() == "retention"])


def assert_nothing_is_left() -> None:
    for each in stores():  # one that was closed ends in its own time
        each.join(5)
    assert (stores(), lookouts()) == ([], 0)


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.mark.slow
async def test_an_opening_that_is_refused_leaves_no_runtime_behind(store: str) -> None:
    mine = Agent(ScriptedModel("hi"), name="mine")
    async with sidetask.open(mine, conversation_id="c", store=store):
        assert (len(stores()), lookouts()) == (1, 1)
    with pytest.raises(InvalidInputError, match="with 'mine', not with 'yours'"):
        await sidetask.open(
            Agent(ScriptedModel("hi"), name="yours"), conversation_id="c", store=store
        )
    assert_nothing_is_left()


@pytest.mark.slow
async def test_an_opening_that_is_cancelled_leaves_no_runtime_behind(store: str) -> None:
    hooks = Waiting()
    agent = Agent(ScriptedModel("hi"), hooks=[hooks])

    async def opening() -> None:
        await sidetask.open(agent, store=store)

    task = await beside(opening())
    await hooks.begun.wait()
    assert (len(stores()), lookouts()) == (1, 1)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert_nothing_is_left()
