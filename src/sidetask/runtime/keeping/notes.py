"""What is written down of turns and of the shared state.

A turn has a record: open while it runs, closed by its end. It holds what its conversation has
consumed until now, so the last one tells it all. How many turns there were stands in the record
of the conversation.
"""

from dataclasses import fields
from typing import Any, cast

from sidetask.core.budget import Spent
from sidetask.core.ids import RunId, value
from sidetask.core.jsons import Json, JsonObject
from sidetask.core.usage import Usage
from sidetask.state.provenance import Change, Entry, Origin
from sidetask.state.values import ABSENT, freeze
from sidetask.stores.base import Kind, StateEntry

RUNNING = "running"


@value(kw_only=True)
class TurnNote:
    """A turn, and the sum of all until then."""

    run_id: RunId
    usage: Usage
    """Of the conversation."""
    last_usage: Usage
    """Of this turn."""
    spent: Spent | None = None
    """Of the conversation's budget; None: it has none."""


TURNS = Kind("turn", TurnNote, open=frozenset({RUNNING}))
"""By turn id."""


def entry_of(change: Change) -> StateEntry:
    """A write, as the store keeps it."""
    return StateEntry(
        key=change.key,
        value=change.new,
        version=change.version,
        at=change.provenance.at,
        origin=_told(change.provenance),
        deleted=change.deleted,
    )


def stored_entry(key: str, entry: Entry) -> StateEntry:
    """What a key holds, as the store keeps it."""
    return StateEntry(
        key=key,
        value=entry.json,
        version=entry.version,
        at=entry.at,
        origin=_told(entry.origin),
        deleted=entry.value is ABSENT,
    )


def live_entry(kept: StateEntry) -> Entry:
    """What the store has of a key, as it was."""
    known = {name: kept.origin[name] for name in _ORIGIN if name in kept.origin}
    origin = Origin(**cast("dict[str, Any]", known))
    found = ABSENT if kept.deleted else freeze(kept.key, kept.value)
    return Entry(found, kept.version, kept.at, origin)


def _told(origin: Origin) -> JsonObject:
    told: dict[str, Json] = {name: getattr(origin, name) for name in _ORIGIN}
    return {name: each for name, each in told.items() if each is not None}


_ORIGIN = tuple(each.name for each in fields(Origin))
