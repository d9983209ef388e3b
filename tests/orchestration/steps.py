"""Agents for pipelines under test: they do as they are told, and tell what became of them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

from sidetask.core.errors import TaskFencedError
from sidetask.core.jsons import Json
from sidetask.state.state import StateView

Body = Callable[[Json, StateView], "Json | Exception"]
Answer: TypeAlias = "Body | Exception | Json"


class Quick:
    """Answers at once; an exception that it would answer with is raised."""

    def __init__(self, name: str, body: Answer = None) -> None:
        self.name = name
        self.body = body
        self.inputs: list[Json] = []

    async def invoke(self, input: Json, state: StateView) -> Json:
        self.inputs.append(input)
        answer = self.body(input, state) if callable(self.body) else self.body
        if isinstance(answer, Exception):
            raise answer
        return answer


class Slow(Quick):
    """Takes `seconds`, and cleans up for `cleanup` seconds when it is cancelled."""

    def __init__(
        self,
        name: str,
        seconds: float,
        body: Answer = None,
        cleanup: float = 0.0,
    ) -> None:
        super().__init__(name, body)
        self.seconds = seconds
        self.cleanup = cleanup
        self.running = 0
        self.most = 0
        """How many runs there were at once, at most."""
        self.cancelled = 0

    async def invoke(self, input: Json, state: StateView) -> Json:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(self.seconds)
            return await super().invoke(input, state)
        except asyncio.CancelledError:
            self.cancelled += 1
            with suppress(TaskFencedError):  # where it is a task, it may write no more
                state.set(f"{self.name}:cleanup", "begun")
            await asyncio.sleep(self.cleanup)
            raise
        finally:
            self.running -= 1


def writing(key: str, value: Json, answer: "Json | Exception" = None) -> Body:
    """A body that writes to the state before it answers."""

    def body(input: Json, state: StateView) -> Json:
        state.set(key, value)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return body


def appending(letter: str) -> Quick:
    """Adds a letter to a text."""
    return Quick(letter, lambda input, _: f"{input}{letter}")
