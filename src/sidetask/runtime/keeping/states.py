"""The shared state, written to a store as it changes, and taken from it as others change it.

Which of two writes of a key stands does not depend on who hears of which first: the store and
every process decide by `replaces`. So when all have heard of all, all have the same, also of a
write that was made on an older version than the one that is there: then that one may be undone.

    a write here          ->  unsaved  ->  handed over, in the loop
    a write elsewhere     ->  a hint, a reading  ->  it stands here, unless ours replaces it

A reading sees what was handed over before it. What a key was deleted by later than that is noted
while it goes on: a board keeps no graves.
"""

import asyncio
import logging
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import TypeAlias

from sidetask.core.errors import SidetaskError, StoreUnavailableError
from sidetask.core.ids import ConversationId
from sidetask.runtime.keeping.notes import entry_of, live_entry, stored_entry
from sidetask.state.board import Board, Fired
from sidetask.state.provenance import Change, Entry
from sidetask.state.spaces import SharedSpaces, fire
from sidetask.stores.base import StateEntry, Store, replaces
from sidetask.tasks.aio.telling import PAUSE

Take: TypeAlias = Callable[[Mapping[str, Entry], Fired], None]
"""Lets writes stand that were made elsewhere."""

_log = logging.getLogger(__name__)


class KeptBoard:
    """One space of keys that is written through to a store: of a conversation, a user, or all.

    Any thread may write a key; a store belongs to its loop. What the store does not take while
    it is away is handed over when it is back, before any end of a task that is told after it; and
    all keys once more when the conversation is let go.
    """

    def __init__(
        self,
        board: Board,
        store: Store,
        conversation_id: ConversationId,
        user: str | None = None,
        *,
        take: Take | None = None,
        owing: "dict[KeptBoard, None] | None" = None,
    ) -> None:
        """`take`: a way for others' writes that does more than to put them on the board. `owing`:
        which boards, of all that are kept together, have what the store did not take."""
        self._board = board
        self._store = store
        self._conversation_id = conversation_id
        self._user = user
        self._take = take or self._put
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self._unsaved: dict[str, Change] = {}
        """The last write of each key that the store does not have yet."""
        self._graves: dict[str, Change] = {}
        """Keys whose deletion was handed over while a reading goes on."""
        self._owing = {} if owing is None else owing
        self._again: asyncio.TimerHandle | None = None
        self._readings = 0
        self._is_taking = False
        self.is_new = False
        """What is taken is no change: it is put back."""

    # -- out -----------------------------------------------------------------------------------

    def listen(self) -> None:
        """Write each change from now on."""
        self._board.listen("", self)

    def mute(self) -> None:
        self._board.mute("", self)
        self._is_paid()

    def hear(self, change: Change, fired: Fired) -> None:
        """A write has landed: hand it over when the lock is free."""
        if not self._is_taking:  # else it is from the store
            self._unsaved[change.key] = change
            fired.append((self, change))

    def fire(self, change: Change) -> None:
        if get_ident() == self._thread:
            self.hand_over()
        else:
            self._loop.call_soon_threadsafe(self.hand_over)

    def close(self) -> None:
        """The state is closed; what it holds is kept by `save`."""

    def pay(self) -> bool:
        """Give the store what it did not take when it was written, of all boards that are kept
        together, before it is told of an end; False: it takes nothing still."""
        for board in tuple(self._owing):
            board.hand_over()
        return not self._owing

    def hand_over(self) -> None:
        """Give the store what it does not have yet."""
        with self._board.lock:
            changes, self._unsaved = self._unsaved, {}
            if self._readings:
                self._graves.update({key: each for key, each in changes.items() if each.deleted})
        if not changes:
            return
        entries = [entry_of(change) for change in changes.values()]
        try:
            self._store.save_state(self._conversation_id, entries, user=self._user)
        except StoreUnavailableError as error:
            with self._board.lock:
                self._unsaved = {**changes, **self._unsaved}
            self._owe(error)
        except SidetaskError:
            self._is_paid()
            _log.exception("the state of %s was not stored", self._conversation_id)
        else:
            self._is_paid()

    def _owe(self, error: StoreUnavailableError) -> None:
        if self not in self._owing:
            _log.warning("the state of %s is not stored yet: %s", self._conversation_id, error)
        self._owing[self] = None
        if self._again is None:
            self._again = self._loop.call_later(PAUSE, self._try_again)

    def _try_again(self) -> None:
        self._again = None
        self.hand_over()

    def _is_paid(self) -> None:
        self._owing.pop(self, None)
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def save(self) -> None:
        """Hand over all that it holds.

        Raises:
            StoreError: The store does not take it.
        """
        with self._board.lock:
            found = list(self._board.entries.items())
            gone = [entry_of(each) for each in self._unsaved.values() if each.deleted]
        entries = [*gone, *[stored_entry(key, entry) for key, entry in found]]
        self._store.save_state(self._conversation_id, entries, user=self._user)

    # -- in ------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Generator[None]:
        """Within this the store may be read, and what was found be taken."""
        self.hand_over()
        self._readings += 1
        try:
            yield
        finally:
            self._readings -= 1
            if not self._readings:
                self._graves.clear()

    def take(self, found: Sequence[StateEntry]) -> None:
        """Let stand here what others have written, where nothing here replaces it: a change like
        any other, with the other's version, time and origin."""
        fired: Fired = []
        with self._board.lock:
            entries = {each.key: live_entry(each) for each in found if self._is_news(each)}
            if self.is_new:
                for key, entry in entries.items():
                    self._board.restore(key, entry)
                return
            if not entries:
                return
            self._is_taking = True
            try:
                self._take(entries, fired)
            finally:
                self._is_taking = False
        fire(fired)

    def _is_news(self, found: StateEntry) -> bool:
        key = found.key
        entry, gone = self._board.entries.get(key), self._unsaved.get(key) or self._graves.get(key)
        if entry is not None:
            return replaces(found, stored_entry(key, entry))
        return gone is None or replaces(found, entry_of(gone))

    def _put(self, entries: Mapping[str, Entry], fired: Fired) -> None:
        for key, entry in entries.items():
            self._board.take(key, entry, fired)


def restore(
    entries: Sequence[StateEntry], own: Board, spaces: SharedSpaces, user: str | None
) -> None:
    """Put back what a store has, where there is nothing newer. Nobody is told."""
    for kept in entries:
        board = own
        if kept.key.startswith("app:"):
            board = spaces.app
        elif kept.key.startswith("user:") and user is not None:
            board = spaces.of_user(user)
        board.restore(kept.key, live_entry(kept))
