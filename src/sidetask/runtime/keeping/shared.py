"""The states of the conversations that are open here, over several processes.

What conversations share, `app:` and `user:` keys, is written once to a store that outlives them,
whoever of them has changed it. What another process writes, of that or of a conversation that is
open here, is read when the store hints at it: what was written since the last reading, no more.

Between the hint and the write there is some time, so two processes may write one key at once:
see `states` for which write stands.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import ExitStack

from sidetask.core.ids import ConversationId
from sidetask.runtime.keeping.hearing import Hearing
from sidetask.runtime.keeping.states import KeptBoard
from sidetask.state.spaces import SharedSpaces
from sidetask.state.state import State
from sidetask.stores.base import Space, Store, spaces_of, told_as

_NOBODY = ConversationId("shared")


class SharedKeeper:
    """Keeps the states of a runtime's conversations and those of other processes the same."""

    def __init__(self, spaces: SharedSpaces, store: Store) -> None:
        self._spaces = spaces
        self._store = store
        self._hearing = Hearing[Space](store, self._concerned, self._read)
        self._boards: dict[Space, KeptBoard] = {}
        """Of conversations while they are open; what is shared stays."""
        self.owing: dict[KeptBoard, None] = {}
        """Those of them that have what the store did not take."""
        self._marks: dict[Space, int] = {}
        """Up to where each space that somebody has open was read."""
        self._users: Counter[Space] = Counter()
        """How many conversations have it open."""

    async def enter(self, key: ConversationId, user: str | None, state: State) -> KeptBoard:
        """A conversation is being opened. Its state is what the store has of it, and stays so;
        `leave` it, also when this fails.

        Raises:
            StoreError: The store cannot be read.
        """
        own: Space = ("conversation", key)
        board = self._boards[own] = KeptBoard(
            state.own, self._store, key, user, take=state.take, owing=self.owing
        )
        self.follow(user)
        spaces = spaces_of(key, user)
        known = [space for space in spaces if space in self._marks]
        unknown = [space for space in spaces if space not in self._marks]
        self._users.update(spaces)
        # With a mark from now on: what is hinted at while they are read is read once more.
        self._marks.update(dict.fromkeys(unknown, 0))
        self._hearing.start()
        board.is_new = True
        await self._read(unknown)
        board.is_new = False
        await self._read(known)
        return board

    async def leave(self, key: ConversationId, user: str | None) -> None:
        """The conversation is let go."""
        self._boards.pop(("conversation", key), None)
        for space in spaces_of(key, user):
            self._users[space] -= 1
            if self._users[space] <= 0:
                del self._users[space]
                self._marks.pop(space, None)
                if space in self._boards:
                    self._boards[space].hand_over()
        if not self._users:
            await self._hearing.stop()

    def follow(self, user: str | None) -> None:
        """From now on, keep what all share, and what this user's conversations do."""
        for each in {None, user}:
            space: Space = ("app", "") if each is None else ("user", each)
            if space not in self._boards:
                shared = self._spaces.app if each is None else self._spaces.of_user(each)
                self._boards[space] = KeptBoard(
                    shared, self._store, _NOBODY, each, owing=self.owing
                )
                self._boards[space].listen()

    # -- what others write ---------------------------------------------------------------------

    def _concerned(self, which: ConversationId | None) -> Iterable[Space]:
        if which is None:
            return tuple(self._marks)
        sort, _, owner = which.partition(":")
        named: list[Space] = [("conversation", which), (sort, owner)]
        return [space for space in named if space in self._marks and told_as(space) == which]

    async def _read(self, due: Collection[Space]) -> None:
        boards = {space: self._boards[space] for space in due if space in self._marks}
        if not boards:
            return
        after = min([self._marks[space] for space in boards])
        with ExitStack() as readings:
            for board in boards.values():
                readings.enter_context(board.reading())
            found = await self._store.read_state(boards, after=after)
            for space, board in boards.items():
                if self._boards.get(space) is board and space in self._marks:  # still open
                    board.take([entry for where, entry in found.entries if where == space])
                    self._marks[space] = max(self._marks[space], found.mark)
