"""What live agents are to each other.

A sub-agent is opened by a live agent (`spawn_subagent`), or in a task of one (an agent as a tool,
a dispatch). It is one level deeper, its rules are its parent's and its own, and it ends with its
parent: with the task that waits for it, or with the parent's handle.
"""

from collections.abc import Callable, Iterator
from typing import Protocol

from sidetask.agents.policies.rules import Policy
from sidetask.core.errors import DepthLimitError
from sidetask.core.ids import ConversationId, TaskId
from sidetask.tasks.handle import ManagerHandle


class Ward(Protocol):
    """A live agent that ends with another one."""

    async def shutdown(self) -> None: ...
    async def delete(self) -> None: ...


MAX_DEPTH = 5
"""How many agents may stand above each other, the first one not counted."""


class Kin:
    """One live agent in its family."""

    __slots__ = ("children", "depth", "id", "parent", "policies", "wards")

    def __init__(
        self, key: ConversationId, parent: "Kin | None", policies: tuple[Policy, ...]
    ) -> None:
        self.id = key
        self.parent = parent
        self.depth = 0 if parent is None else parent.depth + 1
        self.policies = policies
        """Its rules: they hold for its descendants, too."""
        self.children: dict[ConversationId, Kin] | None = None
        self.wards: dict[ConversationId, Ward] | None = None
        """Those of its children that end with it; it holds them."""
        if parent is not None:
            if parent.children is None:
                parent.children = {}
            parent.children[key] = self

    def leave(self) -> None:
        """It is closed."""
        parent = self.parent
        if parent is not None:
            for found in (parent.children, parent.wards):
                if found is not None:
                    found.pop(self.id, None)

    async def close_wards(self) -> None:
        """Shut down those that end with it."""
        for handle in tuple((self.wards or {}).values()):
            await handle.shutdown()

    def descendants(self) -> Iterator[ConversationId]:
        """Its children, and theirs."""
        for child in tuple((self.children or {}).values()):
            yield child.id
            yield from child.descendants()


class Families:
    """All live agents of a runtime."""

    def __init__(self, tasks: Callable[[], ManagerHandle], *, max_depth: int) -> None:
        self._tasks = tasks
        self._max_depth = max_depth
        self._kin: dict[ConversationId, Kin] = {}

    def find(self, key: ConversationId) -> Kin | None:
        return self._kin.get(key)

    def parent_of(self, task_id: TaskId | None) -> Kin | None:
        """The live agent whose task this is, or whose task started it."""
        while task_id is not None:
            task = self._tasks().get(task_id)
            kin = self._kin.get(task.conversation_id)
            if kin is not None:
                return kin
            task_id = task.parent_id
        return None

    def check(self, parent: Kin) -> None:
        """Refuse a child that would stand too deep.

        Raises:
            DepthLimitError: It would.
        """
        if parent.depth >= self._max_depth:
            raise DepthLimitError(self._max_depth)

    def enter(self, key: ConversationId, parent: Kin | None, policies: tuple[Policy, ...]) -> Kin:
        """A live agent is being opened."""
        kin = self._kin[key] = Kin(key, parent, policies)
        return kin

    def leave(self, key: ConversationId) -> None:
        """A live agent is closed."""
        kin = self._kin.pop(key, None)
        if kin is not None:
            kin.leave()
