"""The shared state, written to a store as it changes, and taken up again from it."""

import asyncio
import logging
from collections.abc import Sequence
from threading import get_ident

from sidetask.core.errors import SidetaskError
from sidetask.core.ids import ConversationId
from sidetask.runtime.keeping.notes import entry_of, live_entry, stored_entry
from sidetask.state.board import Board, Fired
from sidetask.state.provenance import Change
from sidetask.state.spaces import SharedSpaces
from sidetask.stores.base import StateEntry, Store

_log = logging.getLogger(__name__)


class KeptBoard:
    """One space of keys that is written through to a store: of a conversation, a user, or all.

    Any thread may write a key; a store belongs to its loop. What a store does not take now stands
    in the log, and is handed over once more with all other keys when the conversation is let go.
    """

    def __init__(
        self, board: Board, store: Store, conversation_id: ConversationId, user: str | None = None
    ) -> None:
        self._board = board
        self._store = store
        self._conversation_id = conversation_id
        self._user = user
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()

    def listen(self) -> None:
        """Write each change from now on."""
        self._board.listen("", self)

    def mute(self) -> None:
        self._board.mute("", self)

    def hear(self, change: Change, fired: Fired) -> None:
        """A write has landed: hand it over when the lock is free."""
        fired.append((self, change))

    def fire(self, change: Change) -> None:
        if get_ident() == self._thread:
            self._save([entry_of(change)])
        else:
            self._loop.call_soon_threadsafe(self._save, [entry_of(change)])

    def close(self) -> None:
        """The state is closed; what it holds is kept by `save`."""

    def save(self) -> None:
        """Hand over all that it holds."""
        with self._board.lock:
            found = list(self._board.entries.items())
        self._store.save_state(
            self._conversation_id,
            [stored_entry(key, entry) for key, entry in found],
            user=self._user,
        )

    def _save(self, entries: Sequence[StateEntry]) -> None:
        try:
            self._store.save_state(self._conversation_id, entries, user=self._user)
        except SidetaskError:
            _log.exception("the state of %s was not stored", self._conversation_id)


def restore(
    entries: Sequence[StateEntry], own: Board, spaces: SharedSpaces, user: str | None
) -> None:
    """Put back what a store has, where there is nothing newer."""
    for kept in entries:
        board = own
        if kept.key.startswith("app:"):
            board = spaces.app
        elif kept.key.startswith("user:") and user is not None:
            board = spaces.of_user(user)
        board.restore(kept.key, live_entry(kept))
