"""Closing the sockets that Google's library leaves open when a reply is left before its end.

It reads in generators within generators and closes only the outermost: the others, and with
them the socket, wait until they are collected. So its HTTP client tells of every answer that
begins, and whoever began the call closes it.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

_begun: ContextVar[list[Any] | None] = ContextVar("_begun", default=None)
"""The HTTP answers that began in this context's call."""


def watch(client: Any) -> None:
    """Have a vendor's client tell of its answers, if it is Google's."""
    http = getattr(getattr(client, "_api_client", None), "_async_httpx_client", None)
    if http is not None and _note not in http.event_hooks["response"]:
        http.event_hooks["response"].append(_note)


@asynccontextmanager
async def closed_sockets() -> AsyncGenerator[None]:
    """Close the answers that began inside, whatever happens there."""
    answers: list[Any] = []
    _begun.set(answers)
    try:
        yield
    finally:
        for answer in answers:
            await answer.aclose()  # again, mostly: then it does nothing
        answers.clear()


async def _note(answer: Any) -> None:
    answers = _begun.get()
    if answers is not None:
        answers.append(answer)
