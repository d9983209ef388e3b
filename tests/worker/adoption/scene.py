"""Homes and workers over one store that outlives them, on the test's clock."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from sidetask import Agent, AgentHandle, Runtime
from sidetask.client import Client
from sidetask.core.ids import ConversationId
from sidetask.core.messages import Message
from sidetask.stores.base import Record
from sidetask.stores.members import HOME
from sidetask.tasks.stored import HOMES, Home
from sidetask.testing import ScriptedModel, VirtualClock
from sidetask.worker import Worker
from tests.tasks.remote.town import View

C = ConversationId("c")
LIMIT = 100.0


def clerk(*script: object, tools: Sequence[Any] = (), **config: Any) -> Agent:
    return Agent(ScriptedModel(*script), name=config.pop("name", "clerk"), tools=tools, **config)  # type: ignore[arg-type]


class Process:
    """One process, and how it sees the store."""

    def __init__(self, scene: "Scene", *agents: Agent, **settings: Any) -> None:
        self.view = scene.store.view()
        self.agents = agents
        self.runtime = Runtime(
            store=self.view, agents=agents, clock=scene.clock, quota=None, **settings
        )
        self.worker: Worker | None = None
        self.running: asyncio.Task[None] | None = None
        self._scene = scene

    @property
    def model(self) -> ScriptedModel:
        return cast(ScriptedModel, self.agents[0].model)

    @property
    def opens(self) -> int:
        """Conversations that it has open."""
        return len(self.runtime.live_agents)

    @property
    def members(self) -> list[str]:
        """Its names in the register."""
        kept = cast(Any, self.runtime)._manager.kept
        names = [kept.elsewhere._presence.id]
        if self.worker is not None and self.worker.member is not None:
            names.append(self.worker.member.id)
        return [name for name in names if name is not None]

    def die(self) -> None:
        """As `kill -9`: it writes nothing more, and its locks are free."""
        for name in self.members:
            self._scene.store.register.kill(name)
        self.view.die()

    async def work(self, **how: Any) -> "Process":
        self.worker = Worker(self.runtime, **how)
        joined = asyncio.Event()
        self.running = asyncio.create_task(self.worker.run(joined.set))
        await joined.wait()
        return self

    async def end(self) -> None:
        self.view.dead = self.view.line.dead = False  # or what it has left behind would never end
        if self.worker is not None and self.running is not None:
            self.worker.drain()
            self.worker.drain()
            await asyncio.wait({self.running}, timeout=LIMIT)
            self.running.result()
        await self.runtime.close()


class Scene:
    """A store, and processes on it."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.store = View.new()
        self.processes: list[Process] = []

    def process(self, *agents: Agent, **settings: Any) -> Process:
        made = Process(self, *agents, **settings)
        self.processes.append(made)
        return made

    async def worker(self, *script: object, tools: Sequence[Any] = (), **how: Any) -> Process:
        """One that knows the clerk."""
        return await self.process(clerk(*script, tools=tools)).work(**how)

    async def begun(
        self, *script: object, tools: Sequence[Any] = ()
    ) -> tuple[Process, AgentHandle]:
        """A process that has the conversation `c` open, in which one turn was."""
        home = self.process(clerk("Hello.", *script, tools=tools))
        chat = await home.runtime.open("clerk", conversation_id=C)
        await chat.ask("Hi.")
        return home, chat

    async def left(self, *script: object, tools: Sequence[Any] = ()) -> None:
        """The conversation `c`, which nobody has open."""
        _, chat = await self.begun(*script, tools=tools)
        await chat.disconnect()

    async def send(self, text: str, key: ConversationId = C) -> None:
        await Client(self.store.view()).send(key, text)

    async def history(self, key: ConversationId = C) -> Sequence[Message]:
        return await self.store.history(key)

    async def texts(self, key: ConversationId = C) -> list[str]:
        return [getattr(each, "text", type(each).__name__) for each in await self.history(key)]

    async def said(self, text: str, key: ConversationId = C) -> None:
        """Wait until this is the last message."""
        async with asyncio.timeout(LIMIT):
            while (await self.texts(key))[-1:] != [text]:  # noqa: ASYNC110 - time is virtual
                await asyncio.sleep(0.05)

    async def home(self, key: ConversationId = C) -> Record[Home]:
        found = await self.store.get(HOMES, key, HOME)
        assert found is not None
        return found


@asynccontextmanager
async def playing(clock: VirtualClock) -> AsyncGenerator[Scene]:
    """At the end all processes end, and have left nothing alive."""
    before = asyncio.all_tasks()
    scene = Scene(clock)
    yield scene
    has_dead = any(each.view.dead for each in scene.processes)
    for process in sorted(scene.processes, key=lambda each: each.view.dead):
        await process.end()
    await asyncio.sleep(0.001)
    left = asyncio.all_tasks() - before
    if has_dead:  # they wait for a store that never answers
        for each in left:
            each.cancel()
        left = (await asyncio.wait(left))[1] if left else left
    if left:
        raise AssertionError(left)
