"""Lives of one program, each in a process of its own: they share a database and a world.

A process that is killed is buried at once: its database takes and gives nothing more, so what its
asyncio tasks do while they are cancelled changes nothing. The next one finds the file, and nothing
else.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from sidetask import Agent, AgentHandle, Runtime
from sidetask.client import Client
from sidetask.core.errors import ConversationNotFoundError
from sidetask.core.events import Event
from sidetask.core.ids import ConversationId
from sidetask.core.messages import AssistantMessage, UserMessage
from sidetask.models.base import ModelRequest
from sidetask.runtime.triggers.base import Trigger
from sidetask.stores.sql.driver import Driver
from sidetask.stores.sql.store import SqlStore
from sidetask.tasks.aio.spawn import spawn
from sidetask.tasks.values import Resolution
from sidetask.testing import ScriptedModel, VirtualClock
from tests.durable.crashes.disk import Fate, Killed, Loop, open_disk
from tests.durable.crashes.world import World

NAME = "mine"
KEY = ConversationId(NAME)
USER = "ana"
LIMIT = 100.0
"""Virtual seconds that a life takes at most."""
_PASSING = ("temp:", "turn:", "derived:")


@dataclass(kw_only=True)
class Story:
    """A program that is killed, and how its next life is told to go on."""

    name: str
    agents: Callable[[World], Sequence[Agent]]
    """The first one has the conversation."""
    first: Callable[["Life", AgentHandle], Awaitable[None]]
    answer: Literal["approve", "deny"] = "approve"
    """What a person says to the questions that are open after a crash."""
    busy: bool = False
    """Much goes on at once: it is told of a slow disk, too."""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of the runtime."""
    fails: bool = False
    """A call of it fails without a crash, too."""
    triggers: Sequence[Trigger] = ()
    """Of the first life."""
    extra: "Callable[[World, Any], None] | None" = None
    """What is true of this story besides, at its end."""

    def __str__(self) -> str:
        return self.name


class Life:
    """One process."""

    def __init__(
        self,
        story: Story,
        agents: Sequence[Agent],
        world: World,
        driver: Callable[[], Driver],
        fate: Fate,
        latency: float,
    ) -> None:
        self.story = story
        self.agents = agents
        self.world = world
        self.fate = fate
        self.latency = latency
        self.driver = driver
        self.store: SqlStore = open_disk(driver(), fate, latency)
        self.running: Runtime

    @asynccontextmanager
    async def runtime(self, clock: VirtualClock):
        async with asyncio.timeout(LIMIT):
            await self.store.start()
            try:
                async with Runtime(
                    store=self.store,
                    clock=clock,
                    agents=self.agents,
                    on_approval="host",
                    **self.story.settings,
                ) as runtime:
                    self.running = runtime
                    spawn(self._read(runtime), name="reader")
                    yield runtime
            finally:
                await self.store.close()

    async def _read(self, runtime: Runtime) -> None:
        """A reader: what it is told, the world has seen."""
        async for event in runtime.events(KEY, after=0):
            if isinstance(event, Event):
                self.world.hear(event)

    async def end(self) -> None:
        """Be killed here and now."""
        loop = asyncio.get_running_loop()
        loop.call_soon(self.fate.die)
        await loop.create_future()

    # -- what hosts do ---------------------------------------------------------------------------

    async def ask(self, chat: AgentHandle, text: str, **options: Any) -> str:
        """Say something, and remember that an answer was given."""
        reply = await chat.ask(text, **options)
        self.told(chat)
        if self.world.alive:
            self.world.answers.append(reply.text)
        return reply.text

    def told(self, chat: AgentHandle) -> None:
        """The host was told of something that came after all this."""
        if self.world.alive:
            self.world.usage = chat.total_usage
            kept = chat.state.snapshot().items()
            self.world.state = {key: each for key, each in kept if not key.startswith(_PASSING)}

    def drain(self, chat: AgentHandle) -> None:
        """Take what is the host's."""
        for item in chat.tasks.drain_ready_items():
            if isinstance(item, Resolution) and self.world.alive:
                self.world.drained.add(item.task_id)

    @asynccontextmanager
    async def client(self):
        """Another process, which lives longer."""
        store = open_disk(self.driver(), Fate(), self.latency)
        try:
            async with Client(store) as client:
                yield client
        finally:
            await store.close()


def live(life: Life, clock: VirtualClock, program: Callable[[Life], Awaitable[None]]) -> bool:
    """Run a process; False: it was killed."""
    life.world.alive = True
    loop = Loop(clock)

    async def main() -> None:
        await program(life)

    try:
        loop.run_until_complete(main())
    except Killed:
        return False
    else:
        return True
    finally:
        _bury(life, loop)


def _bury(life: Life, loop: Loop) -> None:
    """End what is left of a process, which nobody hears or reads."""
    life.world.alive = False
    life.fate.dead = True
    logging.disable()
    loop.set_exception_handler(_ignore)
    loop.bury()
    try:
        for _ in range(20):
            left = asyncio.all_tasks(loop)
            if not left:
                break
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=20))
        assert not asyncio.all_tasks(loop)
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        logging.disable(logging.NOTSET)
        loop.close()


def _ignore(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What a dead process complains of."""


# -- programs ------------------------------------------------------------------------------------


def first_life(clock: VirtualClock, *, closes: bool = True) -> Callable[[Life], Awaitable[None]]:
    """The story, to its end, where the runtime is closed, or the process killed."""

    async def program(life: Life) -> None:
        async with life.runtime(clock) as runtime:
            chat = await runtime.open(
                life.agents[0], conversation_id=NAME, user=USER, triggers=life.story.triggers
            )
            await life.story.first(life, chat)
            if not closes:
                await life.end()

    return program


def next_life(clock: VirtualClock, *, asks: bool = True) -> Callable[[Life], Awaitable[None]]:
    """Take the conversation up, answer what is open, let it come to rest, and ask for news."""

    async def program(life: Life) -> None:
        async with life.runtime(clock) as runtime:
            try:
                chat = await runtime.resume(NAME)
            except ConversationNotFoundError:
                return
            life.world.resume(chat.total_usage)
            await rest(life, chat)
            life.world.rested(chat.history())
            if asks:
                await life.ask(chat, "Any news?")
                await rest(life, chat)
            else:
                await life.end()

    return program


async def rest(life: Life, chat: AgentHandle) -> None:
    """Answer every question, until there is none, and no task and no turn."""
    while (asked := list(chat.approvals)) or not chat.is_idle:
        for each in asked:
            if life.story.answer == "approve":
                chat.approvals.approve(each.id, by="ana")
            else:
                chat.approvals.deny(each.id, "no", by="ana")
        await asyncio.sleep(0.05)  # until a decision is entered
    life.drain(chat)


def brain(
    plan: Mapping[str, Sequence[Any]], *, otherwise: str = "I see.", **options: Any
) -> ScriptedModel:
    """A model that knows where it is from the history: what it says to a user's words, step by
    step, and to all else."""

    def answer(request: ModelRequest) -> Any:
        said, step = "", 0
        for message in request.messages:
            if isinstance(message, UserMessage):
                said, step = message.text, 0
            elif isinstance(message, AssistantMessage):
                step += 1
        replies = plan.get(said, ())
        reply = replies[step] if step < len(replies) else otherwise
        return reply(request) if callable(reply) else reply

    return ScriptedModel(answer, loop=True, record=False, **options)
