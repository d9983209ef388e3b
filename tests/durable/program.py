"""A program that is killed: `python -m tests.durable.program URL LOG ENGINE`.

It starts twenty background tasks, or takes up those that an earlier life has left, tells their
ends to a history, and says "done". What its tools do is written to the log, line by line.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from sidetask.core.ids import ConversationId
from sidetask.core.messages import Notification, NotificationMessage, ToolCall
from sidetask.core.routing import TaskPolicy, background
from sidetask.engines.base import Engine
from sidetask.stores.base import Store
from sidetask.stores.opening import open_store
from sidetask.tasks.aio.clock import SystemClock
from sidetask.tasks.aio.outbox import Outbox
from sidetask.tasks.context import RunContext
from sidetask.tasks.durable.kept import KeptTasks
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.stored import TASKS
from sidetask.tasks.values import Completed, TaskLaunch, ToolOutcome

C = ConversationId("c")
TASK_COUNT = 20
STEPS = 5
RETRY = TaskPolicy(idempotent=True, on_crash="retry")


class Log:
    """Lines that are there when the process is killed: each is one write."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def say(self, *words: object) -> None:
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())


def lines_of(log: Path) -> list[str]:
    """What is said there by now. One write may be seen half: a line is there when it has ended."""
    return log.read_text().rpartition("\n")[0].splitlines() if log.exists() else []


class Program:
    """One life."""

    def __init__(self, store: Store, log: Log, engine: Engine | None) -> None:
        self._store = store
        self._log = log
        self._outbox = Outbox(store, SystemClock())
        self._manager = AsyncTaskManager(
            {"work": self._work, "pay": self._pay},
            outbox=self._outbox,
            store=store,
            engine=engine,
        )

    async def run(self) -> None:
        await self._store.start()
        self._outbox.journal(C).seq = await self._store.last_seq(C)
        changed = asyncio.Event()
        self._outbox.everything.tap(lambda _: changed.set())
        kept = self._manager.kept
        assert kept is not None
        print("ready", flush=True)
        await kept.revive(C)
        await self._launch_rest()
        while True:
            changed.clear()
            await self._tell(kept)
            if not self._manager.is_busy(C) and not changed.is_set():
                break
            await changed.wait()
        print("done", flush=True)
        await self._manager.handle().close()
        await self._store.close()

    async def _launch_rest(self) -> None:
        rows = await self._store.find(TASKS, conversation_id=C, limit=10 * TASK_COUNT)
        there = {row.value.call_ids[0] for row in rows}
        for number in range(TASK_COUNT):
            name = "pay" if number % 5 == 0 else "work"
            call = ToolCall.make(name, {"number": number}, id=f"call-{number}")
            if call.id in there:
                continue
            policy = TaskPolicy() if name == "pay" else RETRY
            launch = TaskLaunch(call=call, conversation_id=C, route=background(), policy=policy)
            await self._manager.start_task(launch)
        await self._manager.stored()

    async def _tell(self, kept: KeptTasks) -> None:
        updates = self._manager.take_pending_loop_updates(C)
        if not updates.items:
            return
        told = NotificationMessage(
            tuple(
                [
                    Notification(each.task_id, each.call_ids, each.name, each.status, each.content)
                    for each in updates.items
                ]
            )
        )
        await self._store.commit_turn(C, (told,), ack=kept.covered(C, updates.ids))
        self._manager.ack(C, updates.ids)

    async def _work(self, call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        for number in range(STEPS):
            await ctx.step(f"step-{number}", self._step, ctx.task_id, number)
            self._log.say("finished", ctx.task_id, number)
        return Completed(None, "worked")

    async def _step(self, task_id: str, number: int) -> int:
        self._log.say("began", task_id, number)
        await asyncio.sleep(0.02)
        return number

    async def _pay(self, call: ToolCall, ctx: RunContext[Any]) -> ToolOutcome:
        self._log.say("paid", ctx.task_id)
        await asyncio.sleep(0.03)
        return Completed(None, "paid")


def open_engine(url: str, name: str) -> Engine | None:
    if name == "stored":
        return None
    from sidetask.engines.dbos import DbosEngine  # noqa: PLC0415 - half a second

    return DbosEngine(url)


async def main(url: str, log: str, engine: str) -> None:
    await Program(open_store(url), Log(Path(log)), open_engine(url, engine)).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
