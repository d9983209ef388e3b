"""One space of keys: its entries, its journal, and who listens.

A board knows nothing of prefixes, derived values or forks; those who use it hold its lock while
they write. All boards of a `SharedSpaces` have the same lock, so a step over several of them is
one step, and no two locks can be taken in different orders. Readers take none: an entry never
changes, and a dict's look is one step of the interpreter.

Versions of a key never repeat, also after a delete: a key that comes (back) begins above every
version that was ever deleted here. So no graves have to be kept.

The journal is bounded: the oldest changes make room, and a reader is told exactly how many it
came too late for. What must not be kept is replaced on the way in, by a `redact` hook.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from threading import RLock
from typing import Protocol, TypeAlias

from sidetask.core.ids import value
from sidetask.core.jsons import Json
from sidetask.state.provenance import Change, Entry, Origin, change_of
from sidetask.state.values import ABSENT, Kept, freeze

BOUND = 1024
"""Changes that are kept."""
REDACTED = "[redacted]"
"""What is kept instead of a value when the hook fails."""

Redact: TypeAlias = Callable[[str, Json], Json]
"""Gives what the journal keeps in place of a key's value: the value itself, or something else."""

_log = logging.getLogger("sidetask.state")


@value
class Page:
    """What the journal has to tell to one reader."""

    changes: tuple[Change, ...]
    missed: int
    """How many changes before them are no longer kept."""
    position: int
    """Read on from here: `journal.since(page.position)`."""


class Journal:
    """A state's own changes, those of forks once they are committed. Iterate it for what is kept,
    oldest first."""

    __slots__ = ("_kept", "_lock", "_redact", "position")

    def __init__(self, lock: RLock, redact: Redact | None = None) -> None:
        self._lock = lock
        self._kept: deque[tuple[str, Entry | None, Entry]] = deque(maxlen=BOUND)
        self._redact = redact
        self.position = 0
        """How many changes there have been."""

    def note(self, key: str, before: Entry | None, after: Entry) -> None:
        """Keep one write. For the state, under its lock."""
        self.position += 1
        if self._redact is not None:
            before = before and self._redacted(key, before)
            after = self._redacted(key, after)
        self._kept.append((key, before, after))

    def since(self, position: int = 0) -> Page:
        """The changes after the first `position` ones, as far as they are kept."""
        with self._lock:
            end, kept = self.position, tuple(self._kept)
        wanted = max(end - max(position, 0), 0)
        missed = max(wanted - len(kept), 0)
        found = islice(kept, len(kept) - (wanted - missed), None)
        return Page(tuple([change_of(*each) for each in found]), missed, end)

    def __iter__(self) -> Iterator[Change]:
        return iter(self.since().changes)

    def __len__(self) -> int:
        return len(self._kept)

    def _redacted(self, key: str, entry: Entry) -> Entry:
        if self._redact is None or entry.value is ABSENT:
            return entry
        try:
            shown = freeze(key, self._redact(key, entry.value))
        except Exception:  # noqa: BLE001 - the one boundary: a hook of the host's hides, or all is
            _log.exception("the redact hook failed for %r", key)
            shown = REDACTED
        return Entry(shown, entry.version, entry.at, entry.origin)


class Action(Protocol):
    """What is to be done once a write has landed."""

    def fire(self, change: Change) -> None: ...


Fired: TypeAlias = "list[tuple[Action, Change]]"


class Listener(Protocol):
    """Who is told of changes."""

    def hear(self, change: Change, fired: Fired) -> None:
        """A write lands, and the lock is held: note it. What takes longer goes into `fired`."""
        ...

    def close(self) -> None:
        """There will be no more changes."""
        ...


class Board:
    """Entries by key."""

    __slots__ = ("_by_key", "_by_prefix", "_floor", "_journal", "_redact", "entries", "lock")

    def __init__(self, lock: RLock, redact: Redact | None = None) -> None:
        self.lock = lock
        self.entries: dict[str, Entry] = {}
        self._redact = redact
        self._journal: Journal | None = None  # an empty one has a kilobyte; most stay empty
        self._floor = 0
        # Tuples, replaced and never changed: a listener may leave while others are told.
        self._by_key: dict[str, tuple[Listener, ...]] = {}
        self._by_prefix: tuple[tuple[str, Listener], ...] = ()

    @property
    def journal(self) -> Journal:
        """Its changes."""
        with self.lock:
            if self._journal is None:
                self._journal = Journal(self.lock, self._redact)
            return self._journal

    def put(self, key: str, value: Kept, origin: Origin, at: float, fired: Fired) -> int:
        """Write or delete a key and return its new version."""
        entries = self.entries
        before = entries.get(key)
        if before is None and value is ABSENT:
            return 0
        version = (self._floor if before is None else before.version) + 1
        after = Entry(value, version, at, origin)
        if value is not ABSENT:
            entries[key] = after
        else:
            del entries[key]
            self._floor = max(self._floor, version)
        self._landed(key, before, after, fired)
        return version

    def restore(self, key: str, kept: Entry) -> None:
        """Put back what a store has kept of a key, unless there is something newer. Nobody is
        told: it is no change."""
        with self.lock:
            before = self.entries.get(key)
            if kept.value is ABSENT:
                self._floor = max(self._floor, kept.version)
            elif before is None or before.version < kept.version:
                self.entries[key] = kept

    def take(self, key: str, after: Entry, fired: Fired) -> None:
        """A write that was made elsewhere stands here, too, as it is. Whether it does is for the
        caller to know, who has the lock."""
        before = self.entries.get(key)
        if after.value is not ABSENT:
            self.entries[key] = after
        else:
            self._floor = max(self._floor, after.version)
            if before is None:
                return
            del self.entries[key]
        self._landed(key, before, after, fired)

    def _landed(self, key: str, before: Entry | None, after: Entry, fired: Fired) -> None:
        journal = self._journal
        if journal is None:
            journal = self.journal
        journal.note(key, before, after)
        if self._by_prefix or key in self._by_key:
            self.tell(key, before, after, fired)

    def tell(self, key: str, before: Entry | None, after: Entry, fired: Fired) -> None:
        """Let the listeners know."""
        change: Change | None = None
        for listener in self._listeners(key):
            change = change or change_of(key, before, after)
            listener.hear(change, fired)

    def _listeners(self, key: str) -> tuple[Listener, ...]:
        found = self._by_key.get(key, ())
        if self._by_prefix:
            found += tuple([each for prefix, each in self._by_prefix if key.startswith(prefix)])
        return found

    def listen(self, wanted: str, listener: Listener) -> None:
        """Tell `listener` of a key's changes, or of all keys under a prefix (`"a:"`, or `""`)."""
        with self.lock:
            if is_prefix(wanted):
                self._by_prefix += ((wanted, listener),)
            else:
                self._by_key[wanted] = (*self._by_key.get(wanted, ()), listener)

    def mute(self, wanted: str, listener: Listener) -> None:
        with self.lock:
            if is_prefix(wanted):
                self._by_prefix = tuple(
                    [each for each in self._by_prefix if each != (wanted, listener)]
                )
                return
            left = tuple([each for each in self._by_key.get(wanted, ()) if each is not listener])
            if left:
                self._by_key[wanted] = left
            else:
                self._by_key.pop(wanted, None)


def is_prefix(wanted: str) -> bool:
    """Whether what is listened to is a whole family of keys."""
    return not wanted or wanted.endswith(":")
