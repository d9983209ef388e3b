"""Which model to use when nobody said, and why, in one line.

In this order: what was asked for, `SIDETASK_MODEL`, a server on this machine, you. A key in the
environment is offered and never used unasked: it costs money. The servers are asked all at
once, for no longer than a fifth of a second, and are sent nothing but `GET /v1/models`.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, cast

from sidetask.runtime.models.local import SERVERS, LocalServer
from sidetask.tasks.aio.spawn import spawn

VARIABLE = "SIDETASK_MODEL"
PATIENCE = 0.2
"""Seconds for all servers together: one on the loopback answers in a few milliseconds."""
KEYS: Mapping[str, str] = {
    "OPENAI_API_KEY": "openai:gpt-5.2",
    "ANTHROPIC_API_KEY": "anthropic:claude-sonnet-5-5",
    "GOOGLE_API_KEY": "google:gemini-3.8-flash",
    "GEMINI_API_KEY": "google:gemini-3.8-flash",
}
"""Variable -> a model that its key opens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A model's name for `open_model`, and how it came to be chosen."""

    name: str
    why: str
    """One line."""
    offers: tuple[str, ...] = ()
    """Models that a key in the environment would open."""
    is_last_resort: bool = False
    """Nobody named one, and none was found."""


async def find_model(
    wanted: str | None,
    environ: Mapping[str, str],
    servers: Iterable[LocalServer] = tuple(SERVERS.values()),
) -> Choice:
    """Choose a model. Opens nothing and raises nothing: the choice may still prove wrong."""
    offers = _offers(environ)
    if wanted:
        return Choice(name=wanted, why=f"{wanted}, as you asked", offers=offers)
    said = environ.get(VARIABLE, "").strip()
    if said:
        return Choice(name=said, why=f"{said}, from {VARIABLE}", offers=offers)
    local = await probe(servers)
    if local:
        why = f"{local[0]}, found on this machine; -m or {VARIABLE} choose another"
        return Choice(name=local[0], why=why, offers=offers)
    if offers:
        variable = next(name for name in KEYS if environ.get(name, "").strip())
        why = f"no model chosen: you drive. {variable} is set: use it with -m {offers[0]}"
        return Choice(name="you", why=why, offers=offers, is_last_resort=True)
    why = f"no model found: you drive. -m or {VARIABLE} choose one"
    return Choice(name="you", why=why, is_last_resort=True)


async def probe(
    servers: Iterable[LocalServer] = tuple(SERVERS.values()), *, patience: float = PATIENCE
) -> tuple[str, ...]:
    """The names of the models that are offered on the loopback now, in the servers' order."""
    asked = [spawn(_ask(server), name=f"probe {server.name}") for server in servers]
    if not asked:
        return ()
    try:
        await asyncio.wait(asked, timeout=patience)
        answers = [task.result() for task in asked if task.done() and not task.cancelled()]
    finally:
        for task in asked:
            task.cancel()
    await asyncio.wait(asked)
    return tuple([name for names in answers for name in names])


def _offers(environ: Mapping[str, str]) -> tuple[str, ...]:
    found = [model for name, model in KEYS.items() if environ.get(name, "").strip()]
    return tuple(dict.fromkeys(found))


async def _ask(server: LocalServer) -> tuple[str, ...]:
    # Whatever else listens on the port may answer anything.
    with suppress(OSError, ValueError, LookupError, TypeError):
        return await _models(server)
    return ()


async def _models(server: LocalServer) -> tuple[str, ...]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        request = f"GET /v1/models HTTP/1.0\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
        writer.write(request.encode())
        status = (await reader.readline()).split()
        if status[1:2] != [b"200"]:
            return ()
        while (await reader.readline()).strip():
            continue
        return _listed(server, json.loads(await reader.read()))
    finally:
        writer.close()


def _listed(server: LocalServer, answer: Any) -> tuple[str, ...]:
    """The models that can chat; those that only embed are in the same list."""
    entries = cast("list[object]", answer["data"])
    ids = [cast("dict[str, object]", entry)["id"] for entry in entries]
    chatting = [each for each in ids if isinstance(each, str) and "embed" not in each]
    return tuple([f"{server.name}:{each}" for each in chatting])
