"""The gate in front of every tool of a conversation: hooks, then policies, then the tool.

The order of a call: hooks may deny it, change its arguments or ask a person, one after another;
the policies see the arguments as they will run; a person is asked at most once, about exactly
those. After an approval the call runs as a new attempt. Its arguments are final then, so no hook
changes them again; the policies look once more, because a person may have changed them.

An attempt that no such approval precedes is judged as the first was. A restart begins the call anew
as the model wrote it: what hooks had said of it, or were about to say, went with the process.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, assert_never

from sidetask.agents.policies.hooks import (
    AskFirst,
    Change,
    Decision,
    Deny,
    HookContext,
    Hooks,
    ToolUse,
    overrides,
)
from sidetask.agents.policies.rules import Action, Policy, Verdict, decide
from sidetask.agents.tools.asking import KIND, Context, summary_of
from sidetask.core.errors import InvalidInputError
from sidetask.core.jsons import Json
from sidetask.core.messages import ToolCall
from sidetask.tasks.aio.spawn import hosted
from sidetask.tasks.elsewhere import ToolExecutor
from sidetask.tasks.parts.runner import Executor
from sidetask.tasks.values import (
    ApprovalNeeded,
    ApprovalRequest,
    Completed,
    Errored,
    Refused,
    ToolOutcome,
)

Held: TypeAlias = ApprovalNeeded | Refused | Errored
"""What keeps a call from running."""

_log = logging.getLogger(__name__)


class ToolGate:
    """What each call of one conversation passes."""

    def __init__(
        self, policies: Sequence[Policy], hooks: Sequence[Hooks], ctx: HookContext
    ) -> None:
        self._policies = tuple(policies)
        self._ctx = ctx
        self._deciders = _with(hooks, "pre_tool_call")
        self._after = _with(hooks, "post_tool_call")
        self._on_error = _with(hooks, "on_tool_error")

    @property
    def is_open(self) -> bool:
        """Nothing stands in the way of any call: tools need no gate."""
        return not (self._policies or self._deciders or self._after or self._on_error)

    def before(self, executors: Mapping[str, ToolExecutor]) -> Mapping[str, Executor]:
        """The same executors, each behind this gate."""
        if self.is_open:
            return executors
        return {name: _Gated(self, executor).execute for name, executor in executors.items()}

    # -- before the call -----------------------------------------------------------------------

    async def admit(self, call: ToolCall, ctx: Context) -> ToolCall | Held:
        """The call as it may run, or what keeps it from running."""
        try:
            is_final = ctx.is_approved(KIND, call.digest())
        except InvalidInputError as error:  # a tool may read what no rule could: it does not run
            return Errored(str(error), "ToolArgumentsError")
        asked: str | None = None
        if not is_final:
            for hooks in self._deciders:
                decision = await self._ask_hook(hooks, call, ctx)
                match decision:
                    case None:
                        continue
                    case Deny(reason):
                        return Refused(reason)
                    case AskFirst(reason):
                        asked = asked or reason
                    case Change(arguments):
                        changed = _changed(call, arguments)
                        if isinstance(changed, Refused):
                            return changed
                        call = changed
                    case _:
                        assert_never(decision)
        verdict = decide(self._policies, call.name, call.parsed())
        if verdict.action is Action.ALLOW and asked is not None:
            verdict = Verdict(Action.ASK, asked)
        return self._carry_out(verdict, call, ctx)

    async def _ask_hook(self, hooks: Hooks, call: ToolCall, ctx: Context) -> Decision:
        try:
            decision = await hosted(hooks.pre_tool_call(self._ctx, _use_of(call, ctx)))
        except Exception as error:  # noqa: BLE001 - the one boundary: a decider fails closed
            _log.warning("a hook before %s failed", call.name, exc_info=error)
            return Deny(f"a hook failed, so {call.name} was not run: {error!r}")
        if decision is None or isinstance(decision, Deny | AskFirst | Change):  # pyright: ignore[reportUnnecessaryIsInstance] - a host's code may not be typed
            return decision
        return Deny(f"a hook said {decision!r}, so {call.name} was not run")

    def _carry_out(self, verdict: Verdict, call: ToolCall, ctx: Context) -> ToolCall | Held:
        match verdict.action:
            case Action.ALLOW:
                return call
            case Action.DENY:
                return Refused(verdict.reason)
            case Action.ASK:
                if ctx.is_approved(KIND, call.digest()):
                    return call
                request = ApprovalRequest(
                    kind=KIND, reason=verdict.reason, summary=summary_of(call)
                )
                return ApprovalNeeded((request,), call)
            case _:
                assert_never(verdict.action)

    # -- after it ------------------------------------------------------------------------------

    async def told(self, call: ToolCall, ctx: Context, outcome: ToolOutcome) -> ToolOutcome:
        """The outcome, as hooks leave it."""
        match outcome:
            case Completed(content=content):
                for hooks in self._after:
                    try:
                        use = _use_of(call, ctx)
                        await hosted(hooks.post_tool_call(self._ctx, use, content))
                    except Exception as error:  # noqa: BLE001 - the one boundary: an observer
                        _log.warning("a hook after %s failed", call.name, exc_info=error)
            case Errored():
                return await self._on_failure(call, ctx, outcome)
            case _:
                pass
        return outcome

    async def _on_failure(self, call: ToolCall, ctx: Context, outcome: Errored) -> Errored:
        for hooks in self._on_error:
            try:
                use = _use_of(call, ctx)
                text = await hosted(hooks.on_tool_error(self._ctx, use, outcome.error))
            except InvalidInputError:
                return outcome
            except Exception as error:  # noqa: BLE001 - the one boundary: an observer
                _log.warning("a hook on an error of %s failed", call.name, exc_info=error)
                continue
            if text is not None:
                outcome = replace(outcome, error=str(text))
        return outcome


class _Gated:
    """One executor behind the gate."""

    __slots__ = ("_executor", "_gate")

    def __init__(self, gate: ToolGate, executor: ToolExecutor) -> None:
        self._gate = gate
        self._executor = executor

    async def execute(self, call: ToolCall, ctx: Context) -> ToolOutcome:
        """Carry out a call, if it is admitted."""
        admitted = ctx.admitted or await self._gate.admit(call, ctx)
        if not isinstance(admitted, ToolCall):
            return admitted
        outcome = await self._executor(admitted, ctx, exactly=True)
        if isinstance(outcome, ApprovalNeeded):
            return replace(outcome, call=admitted)
        return await self._gate.told(admitted, ctx, outcome)


def _with(hooks: Sequence[Hooks], method: str) -> tuple[Hooks, ...]:
    return tuple([each for each in hooks if overrides(each, method)])


def _use_of(call: ToolCall, ctx: Context) -> ToolUse:
    return ToolUse(
        name=call.name,
        arguments=call.parsed(),
        call_id=call.id,
        task_id=ctx.task_id,
        turn_id=ctx.turn_id,
    )


def _changed(call: ToolCall, arguments: Mapping[str, Json]) -> ToolCall | Refused:
    """The call with other arguments; what is no JSON is refused."""
    try:
        changed = replace(call, arguments=ToolCall.make(call.name, dict(arguments)).arguments)
        changed.digest()
        return changed
    except (TypeError, ValueError, InvalidInputError) as error:
        return Refused(f"a hook changed the arguments of {call.name} to what is no JSON: {error}")
