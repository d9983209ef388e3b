"""Invoking an agent: waited for, beside everything, or so that a conversation's model hears of it.

All three are tasks, with the same keys in the state and the same provenance. They differ only in
who is told of the end: whoever calls, nobody, or a model.
"""

import asyncio
from typing import Literal, TypedDict, Unpack, overload

from sidetask.core.errors import ConfigurationError, InvalidInputError, TaskFailedError
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TaskStatus
from sidetask.core.routing import DEFAULT_POLICY, OnComplete, OnCompleteLike, TaskPolicy, background
from sidetask.orchestration.base import Invocable, Mode, ModeLike
from sidetask.orchestration.dispatcher import BackgroundAgentDispatcher
from sidetask.orchestration.invoker import Launching, Run, Talk, Tasks, place
from sidetask.state.state import StateView
from sidetask.tasks.aio.spawn import run_to_end
from sidetask.tasks.handle import TaskHandle
from sidetask.tasks.values import Resolution


async def call(  # noqa: PLR0913 - each is one choice of the caller
    name: str,
    agent: Invocable | str,
    state: StateView,
    *,
    input: Json = None,
    tasks: Tasks = None,
    timeout: float | None = None,
    keep_stale: bool = False,
) -> Json:
    """Invoke an agent, wait for its end, and return its value.

    In the code of a task this is a child of that task: it runs on its permits and ends with it.
    Cancelling the call stops the agent and waits until it has stopped. `timeout` is in seconds,
    `keep_stale` leaves the last result of the name there until there is a new one.

    Raises:
        Exception: The agent's own error.
        TaskFailedError: It was cancelled by somebody else, denied, or took too long.
        InvalidInputError: The name cannot be a run's, or the input is no JSON.
        ManagerClosedError, TooManyTasksError: It was not started.
    """
    invoker, parent = place(tasks)
    policy = DEFAULT_POLICY if timeout is None else TaskPolicy(timeout=timeout)
    run = Run(name, invoker.find(agent), state, input=input, keep_stale=keep_stale)
    handle = invoker.start(run, Launching(policy=policy, parent=parent))
    try:
        resolution = await handle.wait()
    except asyncio.CancelledError:
        handle.cancel("whoever called was cancelled")
        await run_to_end(handle.wait(), within=policy.grace + 1)
        raise
    return value_of(run, resolution)


def value_of(run: Run, resolution: Resolution) -> Json:
    """What a run came to; raises as `call` does."""
    if resolution.status is TaskStatus.FAILED and run.error is not None:
        raise run.error
    if resolution.is_error:
        raise TaskFailedError(run.task_id, resolution.status, resolution.content)
    return resolution.value


class InvokeOptions(TypedDict, total=False):
    """What `invoke` takes by keyword."""

    input: Json
    tasks: Tasks
    """Whose task it becomes: a dispatcher, under its cap; a runtime or a live agent; a manager."""
    conversation: Talk | None
    """The live agent that it belongs to, whose state it gets; in the background, whose model
    hears of it."""
    on_complete: OnCompleteLike
    """In the background: what the end does to the conversation; `notify` unless it is said."""
    timeout: float | None
    """Seconds of running."""
    keep_stale: bool
    """The last result of the name stays until there is a new one."""


@overload
async def invoke(
    mode: Literal[Mode.CALL, "call"],
    name: str,
    agent: Invocable | str,
    state: StateView | None = None,
    **options: Unpack[InvokeOptions],
) -> Json: ...
@overload
async def invoke(
    mode: Literal[Mode.DISPATCH, Mode.BACKGROUND, "dispatch", "background"],
    name: str,
    agent: Invocable | str,
    state: StateView | None = None,
    **options: Unpack[InvokeOptions],
) -> TaskHandle: ...
@overload
async def invoke(
    mode: ModeLike,
    name: str,
    agent: Invocable | str,
    state: StateView | None = None,
    **options: Unpack[InvokeOptions],
) -> "Json | TaskHandle": ...
async def invoke(
    mode: ModeLike,
    name: str,
    agent: Invocable | str,
    state: StateView | None = None,
    **options: Unpack[InvokeOptions],
) -> "Json | TaskHandle":
    """Invoke an agent in a mode: the value for a call, else a handle on its task.

    Raises:
        ConfigurationError: No such mode, `on_complete` or option.
        InvalidInputError: `background` without a conversation, or no state to write to.
        Exception: As for `call`, or for what starts a task.
    """
    mode = _mode(mode)
    unknown = options.keys() - InvokeOptions.__annotations__.keys()
    if unknown:
        known = ", ".join(InvokeOptions.__annotations__)
        raise ConfigurationError(f"no option {', '.join(sorted(unknown))}; there are: {known}")
    conversation, tasks = options.get("conversation"), options.get("tasks")
    if mode is Mode.BACKGROUND and conversation is None:
        raise InvalidInputError(
            "in the background a model hears of the end: say whose, conversation=chat"
        )
    whose = conversation if tasks is None or mode is Mode.BACKGROUND else tasks
    home = state if state is not None else _state_of(conversation, tasks)
    given, stale = options.get("input"), options.get("keep_stale", False)
    timeout = options.get("timeout")
    if mode is Mode.CALL:
        return await call(
            name, agent, home, input=given, tasks=whose, timeout=timeout, keep_stale=stale
        )
    if mode is Mode.DISPATCH and isinstance(whose, BackgroundAgentDispatcher):
        return whose.dispatch(name, agent, home, input=given, timeout=timeout, keep_stale=stale)
    invoker, _ = place(whose)
    run = Run(name, invoker.find(agent), home, input=given, keep_stale=stale)
    return invoker.start(run, _launching(mode, conversation, options))


def _launching(mode: Mode, conversation: Talk | None, options: InvokeOptions) -> Launching:
    timeout = options.get("timeout")
    if mode is Mode.DISPATCH or conversation is None:
        return Launching(policy=TaskPolicy(timeout=timeout))
    on_complete = options.get("on_complete", OnComplete.NOTIFY)
    return Launching(
        route=background(),
        policy=TaskPolicy(on_complete=on_complete, timeout=timeout),
        conversation_id=conversation.conversation_id,
    )


def _mode(word: ModeLike) -> Mode:
    try:
        return Mode(word)
    except ValueError:
        words = ", ".join(repr(each.value) for each in Mode)
        raise ConfigurationError(f"a mode is one of {words}, not {word!r}") from None


def _state_of(conversation: Talk | None, tasks: Tasks) -> StateView:
    if conversation is not None:
        return conversation.state
    if isinstance(tasks, BackgroundAgentDispatcher):
        return tasks.state
    raise InvalidInputError("an invocation writes its result to a state: give it one")
