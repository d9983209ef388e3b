"""A thousand conversations that are open and idle: nothing of the process is theirs each."""

import asyncio
import os
import threading
import time
from collections.abc import Callable

import pytest

from sidetask import Agent, Runtime
from sidetask.stores.opening import open_store
from sidetask.testing import ScriptedModel

pytestmark = [pytest.mark.durable, pytest.mark.slow]

COUNT = int(os.environ.get("SIDETASK_ASLEEP", "1000"))
SECONDS = 2.0


async def test_conversations_that_are_idle_have_no_thread_no_task_and_no_poll_each(
    new_url: Callable[[], str],
) -> None:
    url = new_url()
    agent = Agent(ScriptedModel("Yes.", loop=True, record=False), name="clerk")
    async with Runtime(store=url, agents=[agent]) as runtime:
        first = await runtime.open(agent)
        await first.ask("Are you there?")
        alone = threading.active_count(), len(asyncio.all_tasks())
        idle = await cpu_while_idle()
        chats = [await runtime.open(agent) for _ in range(COUNT)]
        for chat in chats:
            await chat.ask("Are you there?")
        await asyncio.sleep(0.5)
        assert threading.active_count() <= alone[0]
        assert len(asyncio.all_tasks()) <= alone[1]
        used = await cpu_while_idle()
        print(
            f"\n{url.partition(':')[0]}: {threading.active_count()} threads, {used:.2%} of a core;"
            f" one conversation {alone[0]}, {idle:.2%}"
        )
        assert used < idle + 0.1
    store = open_store(url)
    assert len(await store.conversations(limit=2 * COUNT)) == COUNT + 1
    await store.close()


async def cpu_while_idle() -> float:
    before = time.process_time()
    await asyncio.sleep(SECONDS)
    return (time.process_time() - before) / SECONDS
