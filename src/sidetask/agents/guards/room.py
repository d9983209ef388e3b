"""Keeping one conversation's context within its window: when, and whether it is worth a try.

A compaction that fails changes nothing, and the turn goes on. After several failures in a row
the circuit opens: it is not tried again until the cooldown is over, and then once; if that
fails too, not until the next. The first success closes it.
"""

from collections.abc import Callable, Sequence

from sidetask.agents.guards.compaction import Ask, Compaction
from sidetask.agents.guards.context import Context, text_tokens
from sidetask.core.ids import value
from sidetask.core.jsons import canonical
from sidetask.core.messages import UserMessage
from sidetask.core.usage import Usage
from sidetask.models.base import Model, ToolSchema


@value(kw_only=True)
class Compacted:
    """What a compaction did."""

    index: int
    """The first message of the history that the model still gets as it is."""
    tokens_before: int
    tokens_after: int
    summary: str
    """What stands for the messages before `index`, if that is one message."""


class Circuit:
    """Stops trying what keeps failing."""

    __slots__ = ("_cooldown", "_limit", "_until", "failures")

    def __init__(self, limit: int, cooldown: float) -> None:
        self._limit = limit
        self._cooldown = cooldown
        self._until: float | None = None
        self.failures = 0
        """In a row."""

    def allows(self, now: float) -> bool:
        """It is closed, or half open: one try is due."""
        return self._until is None or now >= self._until

    def succeeded(self) -> None:
        self.failures = 0
        self._until = None

    def failed(self, now: float) -> bool:
        """Note a failure; returns whether that opened the circuit."""
        self.failures += 1
        was_open = self._until is not None
        if was_open or self.failures >= self._limit:
            self._until = now + self._cooldown
        return not was_open and self._until is not None


class Room:
    """One conversation's."""

    __slots__ = (
        "_circuit",
        "_config",
        "_context",
        "_instructions",
        "_limit",
        "_prompt",
        "_schemas",
        "_starts",
    )

    def __init__(
        self,
        config: Compaction,
        context: Context,
        model: Model,
        instructions: str,
        schemas: Sequence[ToolSchema],
    ) -> None:
        self._config = config
        self._context = context
        self._limit = config.limit(model.context_window)
        self._instructions = instructions
        self._schemas = schemas
        self._prompt: int | None = None
        self._starts: tuple[int, ...] = ()
        """Where the last turns began in the history: those that are kept."""
        self._circuit: Circuit | None = None

    @property
    def circuit(self) -> Circuit:
        """Made when it is first asked for: most conversations end before they are too long."""
        if self._circuit is None:
            self._circuit = Circuit(self._config.failures, self._config.cooldown)
        return self._circuit

    def begin_turn(self, index: int) -> None:
        """A turn begins with this message of the history."""
        self._starts = (*self._starts, index)[-self._config.keep_turns :]

    def begin_anew(self) -> None:
        """The conversation has no messages any more."""
        self._starts = ()

    def measured(self, usage: Usage) -> None:
        """A model call told how long the context is."""
        if self._limit is not None:
            self._context.measured(usage, prompt=self._prompt_tokens())

    def is_full(self, now: Callable[[], float]) -> bool:
        """The context is too long for its model, and something may be done about it."""
        if self._limit is None or self._context.tokens() + self._prompt_tokens() <= self._limit:
            return False
        return self.circuit.allows(now())

    async def make(self, ask: Ask) -> Compacted | None:
        """Compact what is old; None: there is nothing old that was not compacted before.

        Raises:
            InvalidInputError: The compactor returned what no model can be given, or what is no
                shorter. The context is as it was, also after whatever the compactor raises.
        """
        context, prompt = self._context, self._prompt_tokens()
        before = context.tokens() + prompt
        room = min(self._limit or before, before) // 2 - prompt
        starts = self._starts
        first = starts[0] if len(starts) == self._config.keep_turns else 0
        cut = context.cut_for(context.place_of(first), room)
        if cut <= context.head:
            return None
        messages = context.messages
        head = await self._config.compactor.compact(
            messages[: context.head], messages[context.head : cut], ask
        )
        context.replace(cut, head)
        self.circuit.succeeded()
        only = head[0] if len(head) == 1 else None
        return Compacted(
            index=context.covered,
            tokens_before=before,
            tokens_after=context.tokens() + prompt,
            summary=only.text if isinstance(only, UserMessage) else "",
        )

    def _prompt_tokens(self) -> int:
        """What instructions and tools take of the window."""
        if self._prompt is None:
            told = [
                f"{each.name}{each.description}{canonical(each.parameters)}"
                for each in self._schemas
            ]
            self._prompt = sum(map(text_tokens, (self._instructions, *told)))
        return self._prompt
