"""The spans of turns and of the model calls in them.

    invoke_agent    from `RunStarted` to the run's one end; part of what was current where the
                    turn was asked for. A turn that nobody asked for begins a trace, unless it is
                    a sub-agent's: that is part of the task that waits for it. It links to the
                    tasks that caused it, and to those whose results it takes on its way.
    chat            from `ModelStarted` to `UsageRecorded`, waits at the gate included.

What the turn's own asyncio task begins meanwhile (hooks, the client of a provider, tool calls)
is inside them, because their beginning is told there.
"""

from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import SpanKind

from sidetask.core.events import (
    AssistantMessageCommitted,
    CompactionCircuitOpened,
    DoomLoopDetected,
    HistoryCompacted,
    ModelStarted,
    NotificationsCommitted,
    QuotaHit,
    QuotaResumed,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    ToolMessageCommitted,
    UsageRecorded,
    UserMessageCommitted,
)
from sidetask.core.ids import CallId, ConversationId, RunId, TaskId
from sidetask.core.messages import AssistantMessage, Message, Text
from sidetask.core.usage import Usage
from sidetask.observe.tracing import names
from sidetask.observe.tracing.content import written
from sidetask.observe.tracing.meters import Meters
from sidetask.observe.tracing.spans import ROOT, Attributes, OpenSpan, Pen, link
from sidetask.observe.tracing.tasks import LOST, TaskSpans

Committed = UserMessageCommitted | ToolMessageCommitted | NotificationsCommitted
RunEnded = RunCompleted | RunFailed | RunCancelled
Noted = QuotaHit | QuotaResumed | DoomLoopDetected | HistoryCompacted | CompactionCircuitOpened


class _Turn:
    """A turn that runs."""

    __slots__ = ("chat", "linked", "model", "news", "outer", "run_id", "span")

    def __init__(self, span: OpenSpan, run_id: RunId | None, outer: Context) -> None:
        self.span = span
        self.run_id = run_id
        self.outer = outer
        """What was current before it."""
        self.chat: OpenSpan | None = None
        self.model = ""
        self.linked: set[TaskId] = set()
        self.news: list[Message] = []
        """What the next model call reads that the one before did not; only with content."""


class _Talk:
    """A conversation that is open."""

    __slots__ = ("agent", "arguments", "asked", "parent_id", "turn")

    def __init__(self, agent: str | None, parent_id: TaskId | None) -> None:
        self.agent = agent
        self.parent_id = parent_id
        self.turn: _Turn | None = None
        self.asked: Context | None = None
        self.arguments: dict[CallId, str] = {}
        """Of the calls of the last reply; only with content."""


class TurnSpans:
    """The spans of one runtime's turns."""

    def __init__(self, pen: Pen, meters: Meters, tasks: TaskSpans, *, content: bool) -> None:
        self._pen = pen
        self._meters = meters
        self._tasks = tasks
        self._content = content
        self._talks: dict[ConversationId, _Talk] = {}

    # -- conversations ---------------------------------------------------------------------------

    def opened(
        self, conversation_id: ConversationId, agent: str | None, parent_id: TaskId | None
    ) -> None:
        self._talks[conversation_id] = _Talk(agent, parent_id)

    def admitted(self, conversation_id: ConversationId, asked: object) -> None:
        talk = self._talks.get(conversation_id)
        if talk is not None:
            talk.asked = asked if isinstance(asked, Context) else None

    def closed(self, conversation_id: ConversationId, at: float) -> None:
        talk = self._talks.pop(conversation_id, None)
        if talk is not None:
            self._lose(talk, at)

    def close(self, at: float) -> None:
        for conversation_id in tuple(self._talks):
            self.closed(conversation_id, at)

    def arguments(self, conversation_id: ConversationId, call_id: CallId) -> str | None:
        """The arguments of a call of the last reply."""
        talk = self._talks.get(conversation_id)
        return None if talk is None else talk.arguments.get(call_id)

    # -- a turn ----------------------------------------------------------------------------------

    def started(self, event: RunStarted) -> None:
        talk = self._talks.get(event.conversation_id)
        if talk is None:
            return
        self._lose(talk, event.at)
        asked, talk.asked = talk.asked, None
        if event.cause != "user":
            asked = None  # a trigger's turn is not part of what once started the trigger
        causes = [(task_id, self._tasks.find(task_id)) for task_id in event.task_ids]
        span = self._pen.begin(
            _span_name(talk.agent),
            event.at,
            attributes=_of_run(talk.agent, event) | {names.CAUSE: event.cause},
            within=self._home(talk) if asked is None else asked,
            links=[link(found, "cause") for _, found in causes if found is not None],
        )
        talk.turn = turn = _Turn(span, event.run_id, get_current())
        turn.linked.update([task_id for task_id, found in causes if found is not None])
        span.enter()

    def ended(self, event: RunEnded) -> None:
        talk = self._talks.get(event.conversation_id)
        turn = talk.turn if talk is not None else None
        if event.turn_id is None:
            self._never_began(talk, event)
        if talk is None or turn is None or turn.run_id != event.run_id:
            return
        talk.turn = None
        talk.arguments = {}
        outcome, error_type, why = self._how(event)
        if turn.chat is not None:
            self._hang_up(turn, event.at, outcome, error_type=error_type, why=why)
        if isinstance(event, RunCompleted):
            turn.span.set({names.STEPS: event.steps, **_of_usage(event.usage)})
            if self._content:
                said = AssistantMessage((Text(event.text),))
                turn.span.set({names.OUTPUT_MESSAGES: written([said])})
        turn.span.end(event.at, outcome, error_type=error_type, why=why)
        self._meters.ran(talk.agent, outcome, event.at - turn.span.began)
        attach(turn.outer)

    def _home(self, talk: _Talk) -> Context:
        """What a turn is a part of that nobody asked for."""
        parent = self._tasks.living(talk.parent_id)
        return ROOT if parent is None else parent.context

    def _how(self, event: RunEnded) -> tuple[str, str | None, str | None]:
        """The outcome, and if it failed the type of the error and its text."""
        match event:
            case RunCompleted():
                return "completed", None, None
            case RunFailed():
                return "failed", event.error_type, event.error if self._content else None
            case RunCancelled():
                return "cancelled", None, None

    def _never_began(self, talk: _Talk | None, event: RunEnded) -> None:
        """A run that ended before its turn: it is told, at one moment."""
        agent = None if talk is None else talk.agent
        outcome, error_type, why = self._how(event)
        span = self._pen.begin(_span_name(agent), event.at, attributes=_of_run(agent, event))
        span.end(event.at, outcome, error_type=error_type, why=why)

    def _lose(self, talk: _Talk, at: float) -> None:
        """End a turn whose end was never told: the store refused it."""
        turn, talk.turn = talk.turn, None
        if turn is not None:
            if turn.chat is not None:
                turn.chat.end(at, LOST, error_type=LOST)
            turn.span.end(at, LOST, error_type=LOST)

    # -- its model calls -------------------------------------------------------------------------

    def model_started(self, event: ModelStarted) -> None:
        turn = self._turn(event.conversation_id)
        if turn is None:
            return
        if turn.chat is not None:  # it was too long for the model, and is asked again shortened
            self._hang_up(turn, event.at, "failed", error_type="ContextWindowExceededError")
        provider, model = names.provider_and_model(event.model)
        turn.model = event.model
        attributes: dict[str, str | int] = {
            names.OPERATION: names.CHAT,
            names.PROVIDER: provider,
            names.REQUEST_MODEL: model,
            names.CONVERSATION: event.conversation_id,
            names.STEP: event.step,
        }
        if turn.news:
            attributes[names.INPUT_MESSAGES] = written(turn.news)
            turn.news.clear()
        turn.chat = self._pen.begin(
            f"{names.CHAT} {model}",
            event.at,
            attributes=attributes,
            within=turn.span.context,
            kind=SpanKind.CLIENT,
        )
        turn.chat.enter()

    def used(self, event: UsageRecorded) -> None:
        self._meters.used(event.model, event.usage)
        turn = self._turn(event.conversation_id)
        if turn is None or event.step is None or turn.chat is None:
            return  # a summary's: it is told with the compaction
        turn.chat.set(_of_usage(event.usage))
        if event.finish_reason:
            turn.chat.set({names.FINISH_REASONS: [event.finish_reason]})
        self._hang_up(turn, event.at, "completed" if event.finish_reason else "cut")

    def replied(self, event: AssistantMessageCommitted) -> None:
        talk = self._talks.get(event.conversation_id)
        if not self._content or talk is None or talk.turn is None:
            return
        talk.arguments = {call.id: call.arguments for call in event.message.calls}
        if talk.turn.chat is not None:
            talk.turn.chat.set({names.OUTPUT_MESSAGES: written([event.message])})

    def committed(self, event: Committed) -> None:
        turn = self._turn(event.conversation_id)
        if turn is None:
            return
        if isinstance(event, NotificationsCommitted):
            self._link_results(turn, event)
        if self._content:
            if isinstance(event, UserMessageCommitted) and not turn.news:
                turn.span.set({names.INPUT_MESSAGES: written([event.message])})
            turn.news.append(event.message)

    def _link_results(self, turn: _Turn, event: NotificationsCommitted) -> None:
        for item in event.message.items:
            found = self._tasks.find(item.task_id)
            if found is not None and item.task_id not in turn.linked:
                turn.linked.add(item.task_id)
                turn.span.link(found, "result")

    def _hang_up(
        self,
        turn: _Turn,
        at: float,
        outcome: str,
        *,
        error_type: str | None = None,
        why: str | None = None,
    ) -> None:
        chat, turn.chat = turn.chat, None
        assert chat is not None
        chat.end(at, outcome, error_type=error_type, why=why)
        self._meters.called(turn.model, at - chat.began, error_type)
        turn.span.enter()

    # -- what else happens in it -----------------------------------------------------------------

    def noted(self, event: Noted) -> None:
        """It is told in the model call that goes on, else in the turn."""
        if isinstance(event, QuotaHit):
            self._meters.refused(event.model)
        turn = self._turn(event.conversation_id)
        if turn is not None:
            (turn.chat or turn.span).tell(*_note(event))

    def _turn(self, conversation_id: ConversationId) -> _Turn | None:
        talk = self._talks.get(conversation_id)
        return None if talk is None else talk.turn


def _span_name(agent: str | None) -> str:
    return names.INVOKE_AGENT if agent is None else f"{names.INVOKE_AGENT} {agent}"


def _of_run(agent: str | None, event: RunStarted | RunEnded) -> dict[str, str]:
    told: dict[str, str] = {
        names.OPERATION: names.INVOKE_AGENT,
        names.CONVERSATION: event.conversation_id,
    }
    if agent is not None:
        told[names.AGENT] = agent
    if event.run_id is not None:
        told[names.RUN] = event.run_id
    if event.turn_id is not None:
        told[names.TURN] = event.turn_id
    return told


def _note(event: Noted) -> tuple[str, float, Attributes]:
    """The event of a span: its name, its time, what it says."""
    match event:
        case QuotaHit():
            return "rate limited", event.at, {names.WAIT: event.wait}
        case QuotaResumed():
            return "rate limit over", event.at, {names.WAIT: event.waited}
        case DoomLoopDetected():
            return "doom loop", event.at, {names.REPEATED: event.names}
        case HistoryCompacted():
            sizes = {
                names.TOKENS_BEFORE: event.tokens_before,
                names.TOKENS_AFTER: event.tokens_after,
            }
            return "compacted", event.at, sizes
        case CompactionCircuitOpened():
            return "compaction given up", event.at, {names.FAILURES: event.failures}


def _of_usage(usage: Usage) -> Attributes:
    told: dict[str, int | float] = {
        names.INPUT_TOKENS: usage.input_tokens,
        names.OUTPUT_TOKENS: usage.output_tokens,
    }
    if usage.cached_tokens:
        told[names.CACHED_TOKENS] = usage.cached_tokens
    if usage.usd:
        told[names.COST] = usage.usd
    return told
