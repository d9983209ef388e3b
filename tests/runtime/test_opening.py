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
from tests.limits import HANG
from tests.runtime.harness import beside


class Waiting(Hooks):
    """Never begins."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    async def conversation_started(self, ctx: HookContext) -> None:
        self.begun.set()
        await asyncio.Event().wait()


class Left:
    """What has come since the beginning of the test and is still there."""

    def __init__(self) -> None:
        self._before = set(threading.enumerate())

    def stores(self) -> list[threading.Thread]:
        """Databases that are open."""
        new = set(threading.enumerate()) - self._before
        return [each for each in new if each.name == "sidetask-store"]

    def count(self) -> tuple[int, int]:
        """Databases, and runtimes that look for what is too old."""
        lookouts = [each for each in asyncio.all_tasks() if each.get_name() == "retention"]
        return len(self.stores()), len(lookouts)

    def assert_nothing(self) -> None:
        for each in self.stores():  # one that was closed ends in its own time
            each.join(HANG)
        assert self.count() == (0, 0)


@pytest.fixture
def left() -> Left:
    return Left()


@pytest.fixture
def store(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'test.db'}"


@pytest.mark.slow
async def test_an_opening_that_is_refused_leaves_no_runtime_behind(store: str, left: Left) -> None:
    mine = Agent(ScriptedModel("hi"), name="mine")
    async with sidetask.open(mine, conversation_id="c", store=store):
        assert left.count() == (1, 1)
    with pytest.raises(InvalidInputError, match="with 'mine', not with 'yours'"):
        await sidetask.open(
            Agent(ScriptedModel("hi"), name="yours"), conversation_id="c", store=store
        )
    left.assert_nothing()


@pytest.mark.slow
async def test_an_opening_that_is_cancelled_leaves_no_runtime_behind(
    store: str, left: Left
) -> None:
    hooks = Waiting()
    agent = Agent(ScriptedModel("hi"), hooks=[hooks])

    async def opening() -> None:
        await sidetask.open(agent, store=store)

    task = await beside(opening())
    await hooks.begun.wait()
    assert left.count() == (1, 1)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    left.assert_nothing()
