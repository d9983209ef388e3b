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
from tests.durable.limits import HANG
from tests.durable.waiting import until

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
        idle = await cpu_at_rest(0.1)
        threads, tasks = threading.active_count(), len(asyncio.all_tasks())
        chats = [await runtime.open(agent) for _ in range(COUNT)]
        for chat in chats:
            await chat.ask("Are you there?")
        used = await cpu_at_rest(idle + 0.1)
        await until(lambda: threading.active_count() <= threads)
        await until(lambda: len(asyncio.all_tasks()) <= tasks)
        print(
            f"\n{url.partition(':')[0]}: {threading.active_count()} threads, {used:.2%} of a core;"
            f" one conversation {threads}, {idle:.2%}"
        )
    store = open_store(url)
    assert len(await store.conversations(limit=2 * COUNT)) == COUNT + 1
    await store.close()


async def cpu_at_rest(limit: float) -> float:
    """Wait until less than this part of a core is used, and what was begun is done; say how much.
    A thread, a task or a poll for each conversation never comes to rest."""
    async with asyncio.timeout(HANG):
        while True:
            before = time.process_time()
            await asyncio.sleep(SECONDS)
            if (used := (time.process_time() - before) / SECONDS) < limit:
                return used
