"""What conversations share, written to a store that outlives them: `app:` and `user:` keys."""

from sidetask.core.ids import ConversationId
from sidetask.runtime.keeping.states import KeptBoard
from sidetask.state.spaces import SharedSpaces
from sidetask.stores.base import Store

_NOBODY = ConversationId("shared")


class SharedKeeper:
    """Writes each change once, whoever of many conversations made it."""

    def __init__(self, spaces: SharedSpaces, store: Store) -> None:
        self._spaces = spaces
        self._store = store
        self._followed: set[str | None] = set()

    def follow(self, user: str | None) -> None:
        """From now on, keep what all share, and what this user's conversations do."""
        for each in {None, user}:
            if each not in self._followed:
                self._followed.add(each)
                board = self._spaces.app if each is None else self._spaces.of_user(each)
                KeptBoard(board, self._store, _NOBODY, each).listen()
