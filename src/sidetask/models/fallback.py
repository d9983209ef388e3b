"""A chain of models: when one cannot answer, the next is asked.

A model is given up only while nothing of its reply was handed on: what the user has seen is
not taken back. And only for an error that another model, or another key, may not have.
A model whose key is parked at its gate is passed over until the gate is open again; when all
are, nothing is sent. What the chain says of a refusal is when the first of its models is free, be
that at once: whoever waits for the chain waits no longer than that.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from hashlib import sha256
from typing import TypeAlias

from sidetask.core.errors import (
    ConfigurationError,
    IncompleteResponseError,
    ModelError,
    ModelStalledError,
    RateLimitedError,
)
from sidetask.core.usage import Price, Usage
from sidetask.models.base import Chunk, Finished, Model, ModelRequest, RateGates

Refused: TypeAlias = Callable[[RateLimitedError], RateLimitedError]
"""Hears of a model's refusal, and says what it is for whoever asked the chain."""


class FallbackModel:
    """Asks its models one after another until one answers.

    `patience` is how many seconds a model has until its first piece comes; None: as long as the
    agent waits. What the last one that was asked raises is raised.

    Raises:
        ConfigurationError: There is no model in the chain.
    """

    def __init__(self, *models: Model, patience: float | None = None) -> None:
        if not models:
            raise ConfigurationError("a chain of models needs at least one")
        self.models = models
        self.patience = patience

    @property
    def name(self) -> str:
        return ", then ".join([model.name for model in self.models])

    @property
    def quota_key(self) -> str:
        """The chain's own: one member's limit does not stop the others."""
        return sha256("\0".join([model.quota_key for model in self.models]).encode()).hexdigest()[
            :32
        ]

    @property
    def context_window(self) -> int | None:
        """The smallest one, for any member may be asked; None if one is unknown."""
        windows = [model.context_window for model in self.models]
        known = [window for window in windows if window is not None]
        return min(known) if len(known) == len(windows) else None

    @property
    def price(self) -> Price | None:
        """Unknown: it depends on who answers, whose cost is in the reply's usage."""
        return None

    @asynccontextmanager
    async def stream(self, request: ModelRequest) -> AsyncGenerator[AsyncIterator[Chunk]]:
        async with AsyncExitStack() as stack:
            yield await self._first_that_answers(request, stack)

    async def _first_that_answers(
        self, request: ModelRequest, stack: AsyncExitStack
    ) -> AsyncIterator[Chunk]:
        gates, failed = request.gates, None
        for model in self.models:
            if gates is not None and gates.closed_for(model.quota_key):
                continue  # its key is parked; the next one's may not be
            try:
                return await self._sent(model, request, stack)
            except ModelError as error:
                failed = error
                if not error.retryable:
                    raise
                await stack.aclose()
        if failed is None:
            failed = RateLimitedError("the keys of all models of the chain are parked")
        if gates is not None and isinstance(failed, RateLimitedError):
            raise self._refused(failed, gates)
        raise failed

    def _refused(self, error: RateLimitedError, gates: RateGates) -> RateLimitedError:
        """A refusal as one of the chain: until the first of its models may be asked again."""
        opens_in = min([gates.closed_for(model.quota_key) for model in self.models])
        return RateLimitedError(error.message, opens_in)

    async def _sent(
        self, model: Model, request: ModelRequest, stack: AsyncExitStack
    ) -> AsyncIterator[Chunk]:
        """Ask a model, and tell the gate of its key what came of it."""
        gates = request.gates
        if gates is None:
            return await self._asked(model, request, stack)
        ticket = gates.ticket()

        def refused(error: RateLimitedError) -> RateLimitedError:
            gates.record_hit(model.quota_key, error.retry_after, ticket=ticket)
            return self._refused(error, gates)

        try:
            reply = await self._asked(model, request, stack, refused)
        except RateLimitedError as error:
            refused(error)
            raise
        gates.record_success(model.quota_key, ticket)
        return reply

    async def _asked(
        self,
        model: Model,
        request: ModelRequest,
        stack: AsyncExitStack,
        refused: Refused | None = None,
    ) -> AsyncIterator[Chunk]:
        """Open a model's reply and wait for its first piece."""
        try:
            async with asyncio.timeout(self.patience):
                chunks = await stack.enter_async_context(model.stream(request))
                first = await anext(chunks, None)
        except TimeoutError:
            raise ModelStalledError(self.patience or 0.0) from None
        if first is None:
            raise IncompleteResponseError(f"the stream of {model.name} ended before it began")
        reply = _joined(first, chunks, model.price, refused)
        stack.push_async_callback(reply.aclose)
        return reply


async def _joined(
    first: Chunk,
    rest: AsyncIterator[Chunk],
    price: Price | None,
    refused: "Refused | None",
) -> AsyncGenerator[Chunk, None]:
    """The whole reply, with what it cost; `refused` says what is raised of a refusal in the
    middle."""
    yield _priced(first, price)
    try:
        async for chunk in rest:
            yield _priced(chunk, price)
    except RateLimitedError as error:
        if refused is None:
            raise
        raise refused(error) from error


def _priced(chunk: Chunk, price: Price | None) -> Chunk:
    """Whoever reads the reply does not know whose price is the one."""
    if price is None or not isinstance(chunk, Finished) or chunk.usage.usd:
        return chunk
    return replace(chunk, usage=chunk.usage + Usage(usd=price.of(chunk.usage)))
