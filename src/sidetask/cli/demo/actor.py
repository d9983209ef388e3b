"""The demo's model: it plays a part, at the pace of a real one.

It decides by what it is told last, like any model. What it says is written beforehand.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from sidetask.core.messages import ToolCall
from sidetask.core.usage import Price, Usage
from sidetask.models.base import (
    CallArguments,
    CallStarted,
    Chunk,
    Finished,
    ModelRequest,
    TextChunk,
)

Line: TypeAlias = str | list[ToolCall]
"""What an actor says: a text, or tool calls."""
Part: TypeAlias = Callable[[ModelRequest], Line]
"""What to say, given all that was said."""

PAUSE = 0.05
"""Seconds between two words."""


class Actor:
    """A model that plays a part."""

    name = "scripted"
    quota_key = "scripted"
    context_window: int | None = None
    price: Price | None = None

    def __init__(self, part: Part, *, thinks: float = 0.4) -> None:
        self._part = part
        self._thinks = thinks
        """Seconds before the first word."""

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Chunk]]:
        """Play the next line."""
        yield self._play(self._part(request))

    async def _play(self, line: Line) -> AsyncIterator[Chunk]:
        await asyncio.sleep(self._thinks)
        if isinstance(line, str):
            for word in line.split(" "):
                yield TextChunk(word + " ")
                await asyncio.sleep(PAUSE)
        else:
            for index, call in enumerate(line):
                yield CallStarted(index, call.id, call.name)
                yield CallArguments(index, call.arguments)
        yield Finished("stop", Usage(requests=1))
