"""Errors of tasks, approvals and tools, and of those that are asked to start them."""

from sidetask.core.errors.base import NotFoundError, SidetaskError


class TaskNotFoundError(NotFoundError):
    """No task with this id is known: never started, or finished and evicted."""

    kind = "task"


class ConversationNotFoundError(NotFoundError):
    """The store has no conversation with this id."""

    kind = "conversation"


class ApprovalNotFoundError(NotFoundError):
    """No approval with this id is known."""

    kind = "approval"


class DuplicateTaskError(SidetaskError):
    """A living task has this id already, or does this very work already."""

    def __init__(self, task_id: str, why: str) -> None:
        super().__init__(task_id, why)
        self.task_id = task_id
        self.why = why

    def __str__(self) -> str:
        return f"{self.task_id} is alive already: {self.why}"


class AlreadyDecidedError(SidetaskError):
    """The approval was decided before; that decision stands."""

    def __init__(self, approval_id: str, decision: str, by: str | None, at: float | None) -> None:
        super().__init__(approval_id, decision, by, at)
        self.approval_id = approval_id
        self.decision = decision
        self.by = by
        self.at = at
        """Seconds since the epoch."""

    def __str__(self) -> str:
        told = f"approval {self.approval_id} is already {self.decision}"
        if self.by is not None:
            told += f" by {self.by}"
        if self.at is not None:
            # For who decides too late: every program has this module.
            from datetime import UTC, datetime  # noqa: PLC0415

            told += f" at {datetime.fromtimestamp(self.at, UTC):%Y-%m-%d %H:%M:%S} UTC"
        return told


class ManagerClosedError(SidetaskError):
    """The task manager, dispatcher or batch is closed and takes no new work."""

    def __init__(self, what: str = "task manager") -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"the {self.what} is closed: open a new one to start tasks"


class AgentNotStartedError(SidetaskError):
    """The live agent is shut down, or was never opened."""

    def __str__(self) -> str:
        return "this agent is not running: open it with sidetask.open(...) and use it inside"


class DepthLimitError(SidetaskError):
    """A sub-agent would stand too deep below the first agent; it was not opened."""

    def __init__(self, max_depth: int) -> None:
        super().__init__(max_depth)
        self.max_depth = max_depth

    def __str__(self) -> str:
        return (
            f"sub-agents are nested {self.max_depth} deep already: let this one do the work itself,"
            " or raise the runtime's max_depth"
        )


class ConversationBusyError(SidetaskError):
    """A turn is running, and the caller did not want to wait for its end."""

    def __init__(self, conversation_id: str) -> None:
        super().__init__(conversation_id)
        self.conversation_id = conversation_id

    def __str__(self) -> str:
        return f"conversation {self.conversation_id} is busy: wait for its turn, or interrupt it"


class TooManyTasksError(SidetaskError):
    """A bounded queue is full: of tasks to start, or of results that nobody took."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(what, limit)
        self.what = what
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.what}: the limit is {self.limit}; wait for some to end, or take results"


class TaskFailedError(SidetaskError):
    """A task that was awaited failed, was cancelled, denied, or timed out."""

    def __init__(self, task_id: str, status: str, error: str) -> None:
        super().__init__(task_id, status, error)
        self.task_id = task_id
        self.status = status
        self.error = error

    def __str__(self) -> str:
        return f"{self.task_id} {self.status}: {self.error}"


class OutcomeUnknownError(SidetaskError):
    """The process ended while a task ran that must not run twice: it may have done its work, in
    part or whole. It has failed; look before it is called again."""

    def __init__(self, task_id: str, name: str) -> None:
        super().__init__(task_id, name)
        self.task_id = task_id
        self.name = name

    def __str__(self) -> str:
        return (
            f"the process ended while {self.name} ran as {self.task_id}: its outcome is unknown. "
            "It may have done all of its work, a part, or nothing: check before you call it again"
        )


class ArgumentsNotStoredError(SidetaskError):
    """The process ended before a task whose arguments were kept out of the store: nobody can
    carry it out any more. Call it again, if it is still wanted."""

    def __init__(self, task_id: str, name: str) -> None:
        super().__init__(task_id, name)
        self.task_id = task_id
        self.name = name

    def __str__(self) -> str:
        return (
            f"the process ended before {self.task_id} ({self.name}), and its arguments were kept "
            "out of the store: its outcome is unknown if it ran; call it again if it is wanted"
        )


class TaskFencedError(SidetaskError):
    """The attempt that asks is over: cancelled, timed out or replaced. It may not write."""

    def __init__(self, task_id: str, attempt: int) -> None:
        super().__init__(task_id, attempt)
        self.task_id = task_id
        self.attempt = attempt

    def __str__(self) -> str:
        return f"{self.task_id}, attempt {self.attempt}, is over: it may write nothing"


class ApprovalDeniedError(SidetaskError):
    """Raised inside a task's body when the approval it waits for is denied."""

    def __init__(self, approval_id: str, note: str | None) -> None:
        super().__init__(approval_id, note)
        self.approval_id = approval_id
        self.note = note

    def __str__(self) -> str:
        return f"approval {self.approval_id} was denied" + (f": {self.note}" if self.note else "")


class ToolError(SidetaskError):
    """For tool authors: raise it to tell the model what went wrong, in your own words."""


class ToolServerError(ToolError):
    """A server that has tools cannot be reached, or was lost in the middle of a call."""

    def __init__(self, server: str, reason: str) -> None:
        super().__init__(server, reason)
        self.server = server
        """The name that the host gave it."""
        self.reason = reason

    def __str__(self) -> str:
        return f"the server {self.server!r}: {self.reason}"


class ToolResultError(SidetaskError):
    """A tool returned what is not JSON. It did run; only its result cannot be told."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(what, instead)
        self.what = what
        self.instead = instead

    def __str__(self) -> str:
        return f"the tool ran, but its result is lost: it returned {self.what}; {self.instead}"
