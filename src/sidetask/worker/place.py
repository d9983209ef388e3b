"""What a worker holds of a conversation while it carries out calls of it: the shared state.

It is read when a call begins, and written through. Of keys that others write meanwhile the newer
version stands, here and in the store; so a place is left when its last call has ended, and the next
one reads anew.
"""

import asyncio
from collections.abc import Callable

from sidetask.core.ids import ConversationId
from sidetask.runtime.keeping.shared import SharedKeeper
from sidetask.runtime.keeping.states import KeptBoard, restore
from sidetask.state.spaces import SharedSpaces
from sidetask.state.state import State
from sidetask.stores.base import Store


class Place:
    """One conversation's."""

    def __init__(
        self, store: Store, now: Callable[[], float], key: ConversationId, user: str | None
    ) -> None:
        self._store = store
        # Not shared with other places: it would hold what all users of the past have written.
        self._spaces = SharedSpaces()
        self.key = key
        self.user = user
        self.state = State(self._spaces, user=user, now=now)
        self._shared = SharedKeeper(self._spaces, store)
        self._board = KeptBoard(self.state.own, store, key, user, owing=self._shared.owing)
        self.users = 0
        """Calls that need it."""
        self.turn = asyncio.Lock()
        """Who opens it, or reads into it."""
        self.is_open = False

    async def load(self) -> None:
        """Read what the store has, as far as it is newer.

        Raises:
            StoreError: It cannot be read.
        """
        entries = await self._store.load_state(self.key, user=self.user)
        restore(entries, self.state.own, self._spaces, self.user)

    def open(self) -> None:
        """From now on, write each change through."""
        self.is_open = True
        self._board.listen()
        self._shared.follow(self.user)

    def hand_over(self) -> bool:
        """Give the store what was written while it was away; False: it is away still."""
        return self._board.pay()

    def close(self) -> None:
        """Write nothing any more."""
        if self.is_open:
            self._board.mute()
        self.state.close()
