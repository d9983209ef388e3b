"""Events of a conversation that a store keeps: `sidetask events`.

Other processes' conversations too, and while they go on: facts only, as live events are told by
the process that makes them, and kept by nobody.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields

from rich.text import Text

from sidetask.cli.view import lanes
from sidetask.cli.view.render import cleaned, shortened
from sidetask.cli.view.screen import Screen
from sidetask.core.codec import event_to_json
from sidetask.core.errors import NotFoundError
from sidetask.core.events import Event, TaskEvent
from sidetask.core.ids import ConversationId
from sidetask.stores.base import Store, follow

KNOWN = 10
"""Conversations that are named when the one asked for is not there."""
_ENVELOPE = frozenset(
    [*(each.name for each in fields(TaskEvent)), "index", "message", "metadata", "arguments"]
)


class UnknownConversationError(NotFoundError):
    """The store has no events of this conversation."""

    kind = "conversation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is printed, and how."""

    after: int = 0
    """From the fact after this number on."""
    as_json: bool = False
    trace: bool = False
    """Lanes, at the end."""
    follow: bool = False
    """Also what is still to come."""


async def show(store: Store, conversation: str, shown: Shown) -> int:
    """Print the facts of a conversation; returns the exit code.

    Raises:
        UnknownConversationError: The store has none of it.
    """
    conversation_id = ConversationId(conversation)
    await store.start()
    try:
        if not shown.follow:
            facts = await store.facts(conversation_id, after=shown.after)
            if not facts and not await store.last_seq(conversation_id):
                raise await _unknown(store, conversation)
            _print(facts, as_json=shown.as_json)
            if shown.trace:
                Screen(styled=False).show(Text(""), *lanes.drawn(lanes.lanes(facts)))
            return 0
        async with follow(store, conversation_id, after=shown.after) as coming:
            async for fact in coming:
                _print([fact], as_json=shown.as_json)
    finally:
        await store.close()
    return 0


def line(event: Event) -> str:
    """An event on one line: its number, time, turn or task, kind, and what it carries."""
    clock = time.strftime("%H:%M:%S", time.localtime(event.at))
    who = f"{event.task_id} {event.name}" if isinstance(event, TaskEvent) else event.turn_id or ""
    own = [each.name for each in fields(event) if each.name not in _ENVELOPE]
    shown = [f"{name}={getattr(event, name)!r}" for name in own if getattr(event, name)]
    details = shortened(" ".join(shown), 100)
    told = f"{event.seq:6}  {clock}  {who:<18} {event.kind.value:<28} {details}"
    return cleaned(told).rstrip()


def _print(facts: Sequence[Event], *, as_json: bool) -> None:
    for fact in facts:
        print(json.dumps(event_to_json(fact)) if as_json else line(fact), flush=True)


async def _unknown(store: Store, conversation: str) -> UnknownConversationError:
    known = await store.conversations(limit=KNOWN)
    return UnknownConversationError(conversation, [each.id for each in known])
