"""The sources of tools that live agents name: each is opened once, for all who name it.

* The first agent that names a source opens it; the last one to be shut down closes it. One that
  the runtime itself was given stays open until the runtime is closed.
* A live agent's tools stay what they were when it was opened: they stand at the head of its
  prompt, which is cached. The next agent to be opened gets what the source has then.
* No tool is renamed to make room for another: rules go by names, and a name that depends on who
  else is there would slip past them. Two of one name are an error that says what to do.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import Any, TypeAlias

from sidetask.agents.agent import AgentConfig, ToolLike
from sidetask.agents.tools.source import OpenTools, ToolSource
from sidetask.agents.tools.tool import AnyTool
from sidetask.core.errors import ConfigurationError
from sidetask.runtime.handle import AgentHandle
from sidetask.tasks.aio.branches import Branches
from sidetask.tasks.aio.spawn import run_to_end

CLEANUP = 30.0
"""Seconds that closing a source may take: a server process is asked, terminated, and killed."""

Start: TypeAlias = Callable[..., Coroutine[Any, Any, AgentHandle]]


class Sources:
    """What is open, and for how many. `standing` are the runtime's own tools, with sources among
    them; `built_in` those whose names no source may take."""

    def __init__(self, standing: Iterable[ToolLike], *, built_in: Iterable[AnyTool]) -> None:
        self._standing = tuple([each for each in standing if isinstance(each, ToolSource)])
        self._built_in = {each.name: "the runtime" for each in built_in}
        self._shared = {each: _Shared(each, users=1) for each in self._standing}

    async def start(self, config: AgentConfig, start: Start) -> AgentHandle:
        """Open the sources of an agent, and then the agent: `start(toolbox=...)`.

        Raises:
            ToolServerError: A source cannot be reached.
            ConfigurationError: Two tools have one name.
        """
        taken: list[_Shared] = []
        release = partial(self._release, taken)
        try:
            toolbox = await self._toolbox(config, taken)
            handle = await start(toolbox=toolbox)
        except BaseException:  # the one boundary: a start that fails leaves nothing behind
            await run_to_end(release(), within=CLEANUP)
            raise
        handle.on_shutdown(release)
        return handle

    async def close(self) -> None:
        """Close what the runtime itself was given. Twice is fine."""
        standing, self._standing = self._standing, ()
        await self._release([self._shared[each] for each in standing])

    async def _toolbox(self, config: AgentConfig, taken: list["_Shared"]) -> Sequence[AnyTool]:
        """The agent's own tools, and then those of its sources."""
        async with Branches[Sequence[AnyTool]]() as branches:
            asked: dict[ToolSource, asyncio.Task[Sequence[AnyTool]]] = {}
            for source in dict.fromkeys(config.sources):
                shared = self._shared.setdefault(source, _Shared(source))
                shared.users += 1
                taken.append(shared)
                asked[source] = branches.start(shared.tools(), name=f"tools of {source.name}")
            for _ in asked:
                (await branches.next_ended()).result()
        found = {source: task.result() for source, task in asked.items()}
        self._check(config, found)
        return [*config.toolbox, *(tool for tools in found.values() for tool in tools)]

    def _check(self, config: AgentConfig, found: dict[ToolSource, Sequence[AnyTool]]) -> None:
        owners = self._built_in | dict.fromkeys(
            [each.name for each in config.toolbox], f"agent {config.name!r}"
        )
        for source, tools in found.items():
            for tool in tools:
                if tool.name in owners:
                    raise ConfigurationError(
                        f"{owners[tool.name]} and {source.name!r} both have a tool named"
                        f" {tool.name!r}: give {source.name!r} prefix=True, or name by only= the"
                        " tools that it is to have"
                    )
                owners[tool.name] = repr(source.name)

    async def _release(self, taken: list["_Shared"]) -> None:
        while taken:
            shared = taken.pop()
            shared.users -= 1
            await shared.close_unused()
            if not shared.users and self._shared.get(shared.source) is shared:
                del self._shared[shared.source]


class _Shared:
    """One source, and how many use it."""

    def __init__(self, source: ToolSource, users: int = 0) -> None:
        self.source = source
        self.users = users
        self._open: OpenTools | None = None
        self._turn = asyncio.Lock()
        """Opening and closing never overlap: one process of a server at a time."""

    async def tools(self) -> Sequence[AnyTool]:
        async with self._turn:
            if self._open is None:
                self._open = await self.source.open()
            return await self._open.tools()

    async def close_unused(self) -> None:
        """Close it, unless somebody uses it."""
        if self.users:  # and may be opening it, which takes long
            return
        async with self._turn:
            if self.users or self._open is None:
                return
            closing, self._open = self._open, None
            await closing.close()
