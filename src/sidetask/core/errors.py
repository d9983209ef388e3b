"""Every error a caller may catch, under one root: one class for each reaction."""

from collections.abc import Iterable
from typing import ClassVar


class SidetaskError(Exception):
    """Root of all errors that this package raises on purpose."""


# -- what the caller wrote is wrong: change the code or the configuration ------------------


class ConfigurationError(SidetaskError, ValueError):
    """A tool, agent, runtime or policy is described in a way that cannot work."""


class MissingKeyError(ConfigurationError):
    """A provider wants an API key and there is none."""

    def __init__(self, model: str, variable: str) -> None:
        super().__init__(model, variable)
        self.model = model
        self.variable = variable
        """The environment variable that would hold it."""

    def __str__(self) -> str:
        return f"{self.model} needs an API key: set {self.variable}"


class MissingExtraError(ConfigurationError):
    """An optional part of the package is needed and not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(feature, extra)
        self.feature = feature
        self.extra = extra

    def __str__(self) -> str:
        return f"{self.feature} needs an extra: pip install 'sidetask[{self.extra}]'"


class FlowError(ConfigurationError):
    """A flow cannot work as it is written down. All that is wrong with it is told at once."""

    def __init__(self, flow: str, problems: Iterable[str]) -> None:
        self.flow = flow
        self.problems = tuple(problems)
        super().__init__(flow, self.problems)

    def __str__(self) -> str:
        told = "".join([f"\n- {problem}" for problem in self.problems])
        return f"the flow {self.flow!r} cannot work:{told}"


class InvalidInputError(SidetaskError, ValueError):
    """A message, id or argument from the caller was refused; nothing was changed."""


class IllegalTransitionError(SidetaskError):
    """A bug: an event arrived in a status that does not accept it."""


# -- the thing asked for is not there, or is there already ------------------------------


class NotFoundError(SidetaskError, LookupError):
    """Nothing has this id or name."""

    kind = "thing"

    def __init__(self, name: str, known: Iterable[str] = ()) -> None:
        super().__init__(name)
        self.name = name
        self.known = tuple(known)

    def __str__(self) -> str:
        known = f"; there are: {', '.join(self.known)}" if self.known else ""
        return f"no {self.kind} {self.name!r}{known}"


class TaskNotFoundError(NotFoundError):
    """No task with this id is known: never started, or finished and evicted."""

    kind = "task"


class ApprovalNotFoundError(NotFoundError):
    """No approval with this id is known."""

    kind = "approval"


class UnknownToolError(NotFoundError):
    """No tool of this name is registered."""

    kind = "tool"


class UnknownAgentError(NotFoundError):
    """No agent of this name is registered with the runtime."""

    kind = "agent"


class UnknownModelError(NotFoundError):
    """No model of this name can be opened."""

    kind = "model"


class UnknownRouteError(NotFoundError):
    """A pipeline's choice names none of its routes."""

    kind = "route"


class TemplateError(SidetaskError, ValueError):
    """A template is malformed, or names what the state does not have."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(what, why)
        self.what = what
        """The name between the braces, or the piece of text that cannot be read."""
        self.why = why

    def __str__(self) -> str:
        return f"{self.what!r}: {self.why}"


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
        return f"approval {self.approval_id} is already {self.decision} by {self.by} at {self.at}"


# -- not now -------------------------------------------------------------------------


class ManagerClosedError(SidetaskError):
    """The task manager is closed and takes no new work."""

    def __str__(self) -> str:
        return "the task manager is closed: open a new one to start tasks"


class AgentNotStartedError(SidetaskError):
    """The live agent is shut down, or was never opened."""

    def __str__(self) -> str:
        return "this agent is not running: open it with sidetask.open(...) and use it inside"


class ConversationBusyError(SidetaskError):
    """A turn is running and the caller asked not to queue behind it."""

    def __init__(self, conversation_id: str) -> None:
        super().__init__(conversation_id)
        self.conversation_id = conversation_id

    def __str__(self) -> str:
        return f"conversation {self.conversation_id} is busy: wait, or use on_busy='queue'"


class TooManyTasksError(SidetaskError):
    """A bounded queue is full: of tasks to start, or of results that nobody took."""

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(what, limit)
        self.what = what
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.what}: the limit is {self.limit}; wait for some to end, or take results"


# -- a task ended otherwise than well -----------------------------------------------------


class TaskFailedError(SidetaskError):
    """A task that was awaited failed, was cancelled, denied, or timed out."""

    def __init__(self, task_id: str, status: str, error: str) -> None:
        super().__init__(task_id, status, error)
        self.task_id = task_id
        self.status = status
        self.error = error

    def __str__(self) -> str:
        return f"{self.task_id} {self.status}: {self.error}"


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


class ToolResultError(SidetaskError):
    """A tool returned what is not JSON. It did run; only its result cannot be told."""

    def __init__(self, what: str, instead: str) -> None:
        super().__init__(what, instead)
        self.what = what
        self.instead = instead

    def __str__(self) -> str:
        return f"the tool ran, but its result is lost: it returned {self.what}; {self.instead}"


# -- a pipeline ended otherwise than well ---------------------------------------------------


class AllFailedError(SidetaskError):
    """Every branch of a race, or every try of a fallback, failed."""

    def __init__(self, name: str, failures: Iterable[tuple[str, BaseException]]) -> None:
        failures = tuple(failures)
        super().__init__(name, failures)
        self.name = name
        """Of the pipeline."""
        self.failures = failures
        """Each agent's name and its error, in the order in which they failed."""

    def __str__(self) -> str:
        told = [f"{name}: {type(error).__name__}: {error}" for name, error in self.failures]
        return "\n  ".join([f"{self.name}: all {len(told)} failed", *told])


class RoundLimitError(SidetaskError):
    """A loop used its rounds, and what it waits for was not reached."""

    def __init__(self, name: str, rounds: int, output: object) -> None:
        super().__init__(name, rounds, output)
        self.name = name
        self.rounds = rounds
        self.output = output
        """Of the last round, a JSON value."""

    def __str__(self) -> str:
        return (
            f"{self.name} did not get there in {self.rounds} rounds: raise max_rounds, or take "
            'the last output with on_limit="return"'
        )


class InvocationTimeoutError(SidetaskError, TimeoutError):
    """An agent did not end in time. It was cancelled, and has ended."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(name, seconds)
        self.name = name
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.name} took longer than {self.seconds:g} s: give it more, or ask for less"


# -- a turn ended otherwise than well -------------------------------------------------------


class TurnError(SidetaskError):
    """A turn did not reach its end. Its history is valid and the next turn may start."""


class TurnCancelledError(TurnError):
    """The turn was interrupted or cancelled."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the turn was cancelled: {self.reason}"


class StepLimitError(TurnError):
    """The turn asked the model more often than `max_steps` allows."""

    def __init__(self, max_steps: int) -> None:
        super().__init__(max_steps)
        self.max_steps = max_steps

    def __str__(self) -> str:
        return f"the turn used its {self.max_steps} model calls: raise max_steps, or split the work"


class BudgetExceededError(TurnError):
    """A budget of the turn, of its conversation, or of what invoked it is spent."""

    def __init__(self, spent: str) -> None:
        super().__init__(spent)
        self.spent = spent
        """The limit that was reached, in words: `5 of 5 steps`."""

    def __str__(self) -> str:
        return f"the budget is spent ({self.spent}): raise it, or start anew"


class DoomLoopError(TurnError):
    """The model repeated itself, was told, and went on."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.names = names
        """The tools of the row that repeats; one name: the same call."""

    def __str__(self) -> str:
        row = ", ".join(self.names)
        return (
            f"the model went on calling {row} with the same arguments: see what it is missing, or"
            " give a tool that may repeat TaskPolicy(repeatable=True)"
        )


class OutputError(TurnError):
    """The model did not produce the structured output that `output_type` asks for."""


class ModelError(TurnError):
    """The model could not answer. Subclasses say whether trying again makes sense."""

    retryable: ClassVar[bool] = False
    """The same request may succeed: later, or with another model."""


class RateLimitedError(ModelError):
    """The provider asks to come back later: a rate limit of the API key was reached."""

    retryable = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message, retry_after)
        self.message = message
        self.retry_after = retry_after
        """Seconds the provider asked to wait; None: it did not say."""

    def __str__(self) -> str:
        wait = "" if self.retry_after is None else f"; try again in {self.retry_after:g} s"
        return f"{self.message}{wait}"


class QuotaExceededError(ModelError):
    """The gate of the API key stays closed for longer than a call may wait; nothing was sent."""

    retryable = True

    def __init__(self, key: str, retry_after: float) -> None:
        super().__init__(key, retry_after)
        self.key = key
        """A digest of the API key."""
        self.retry_after = retry_after
        """Seconds until the gate opens."""

    def __str__(self) -> str:
        return (
            f"the rate limit of this API key opens in {self.retry_after:g} s: try again then, "
            "use another key, or raise the quota's max_wait"
        )


class ModelUnavailableError(ModelError):
    """The provider failed or could not be reached. A retry may help."""

    retryable = True


class AuthenticationError(ModelError):
    """The provider refused the API key, or the key may not use this model."""


class ContextWindowExceededError(ModelError):
    """The conversation is longer than the model can read: shorten it, or use another model."""


class ModelStalledError(ModelError):
    """Nothing came from the model within the timeout. A retry may help."""

    retryable = True

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"nothing came from the model for {self.seconds:g} s: try again, or raise model_timeout"
        )


class IncompleteResponseError(ModelError):
    """The model's stream ended in the middle. Half a tool call is never run."""

    retryable = True


class SafetyError(ModelError):
    """The provider refused to answer for safety reasons."""


class StateValueError(SidetaskError, ValueError):
    """A value cannot be kept in the shared state, or is not of the type that was asked for."""

    def __init__(self, key: str, value_type: str, why: str) -> None:
        super().__init__(key, value_type, why)
        self.key = key
        self.value_type = value_type
        """The name of the value's Python type."""
        self.why = why

    def __str__(self) -> str:
        return f"{self.key!r} holds {self.value_type}: {self.why}"


class StateConflictError(SidetaskError):
    """The key changed since it was read."""

    def __init__(self, key: str, expected: int, version: int) -> None:
        super().__init__(key, expected, version)
        self.key = key
        self.expected = expected
        self.version = version
        """The version it has; 0: there is no such key."""

    def __str__(self) -> str:
        return (
            f"{self.key!r} is at version {self.version}, not {self.expected}: "
            "read it again and decide anew, or use modify()"
        )


class StateTimeoutError(SidetaskError, TimeoutError):
    """What was waited for in the state did not come in time."""

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(what, seconds)
        self.what = what
        self.seconds = seconds

    def __str__(self) -> str:
        return f"{self.what} did not come within {self.seconds:g} s"


class StateClosedError(SidetaskError):
    """The state is closed, or the fork was committed or discarded."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.what}: fork again, or open the conversation anew"


class CodecError(SidetaskError, ValueError):
    """Stored bytes cannot be read: corrupt, of a newer version, or of an unknown type."""
