"""The seam between tasks and the other processes that may carry them out.

Who has a conversation open decides everything of its calls. What can run in another process is the
innermost part of a background call: the tool itself.
"""

from collections import Counter
from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from sidetask.core.ids import ConversationId, TaskId, value
from sidetask.core.messages import ToolCall
from sidetask.tasks.context import RunContext
from sidetask.tasks.parts.records import TaskRecord
from sidetask.tasks.values import (
    ApprovalNeeded,
    Errored,
    Refused,
    TaskSnapshot,
    ToolOutcome,
)

if TYPE_CHECKING:  # for who shares a store: every program has this module
    from sidetask.tasks.owning import Owning

Placement: TypeAlias = Literal["auto", "here", "workers"]
"""Where background calls run: on a worker if one lives that knows the tool and else here; always
here; always on workers."""


class ToolExecutor(Protocol):
    """What carries out the calls of a tool: by its function's types, or `exactly` as the JSON has
    it. Behind a gate it is that, or `"yes"` would pass a rule that looks for `true`."""

    def __call__(
        self, call: ToolCall, ctx: RunContext[Any], *, exactly: bool = False
    ) -> Coroutine[Any, Any, ToolOutcome]: ...


class Portable(Protocol):
    """A tool that another process may have, too."""

    @property
    def fingerprint(self) -> str: ...
    def held(
        self, call: ToolCall, ctx: RunContext[Any], *, exactly: bool = False
    ) -> ApprovalNeeded | Refused | Errored | None:
        """What keeps a call from running."""
        ...


class Sending(Protocol):
    """The executors of one conversation, some of which send their calls out."""

    executors: Mapping[str, ToolExecutor]

    def take(self, record: TaskRecord) -> bool:
        """Whether a task that begins to run is sent out, or is out already. If so, its executor
        sees to it that a restart would know what has begun."""
        ...


@value(kw_only=True)
class Outside:
    """The job of a task that another process carries out."""

    job_id: str
    call: ToolCall | None
    """As it was admitted; None: that cannot be read."""
    answered: Counter[str]
    """How many of its questions were answered yes, by their reason."""


class Elsewhere(Protocol):
    """Has calls carried out by other processes."""

    owning: "Owning"
    """Which conversations are open here, for others to see."""

    async def open(self) -> None:
        """Look who there is. Twice is fine.

        Raises:
            ConfigurationError: There can be nobody.
            StoreError: The store cannot be asked.
        """
        ...

    async def close(self, grace: float) -> None:
        """Look no more. What is to be written gets `grace` seconds."""
        ...

    def sending(
        self,
        executors: Mapping[str, ToolExecutor],
        portable: Mapping[str, Portable],
        *,
        agent: str,
        user: str | None,
    ) -> Sending:
        """The same executors, of which the portable ones may send their calls out."""
        ...

    async def left(
        self, conversation_id: ConversationId, tasks: Sequence[TaskSnapshot]
    ) -> Mapping[TaskId, Outside]:
        """The jobs of these tasks, which are all that have not ended; others are cancelled."""
        ...

    def cancel_soon(self, job_id: str, reason: str) -> None:
        """Nobody waits for this job."""
        ...

    def let_go(self, conversation_id: ConversationId, *, is_taken: bool = False) -> None:
        """What of it is out goes on, for whoever takes the conversation up, or has taken it."""
        ...

    def take_up(self, conversation_id: ConversationId) -> None:
        """It is this process's again."""
        ...
