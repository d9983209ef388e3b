"""How much may be spent, and what was: tokens, money, model calls, tool calls, seconds.

A budget is a value; a meter counts against it. A meter has a parent: what a sub-agent spends,
its parent spends too, so one budget holds for a whole family.
"""

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import fields

from sidetask.core.errors.checks import check_positive
from sidetask.core.ids import value
from sidetask.core.usage import Usage


@value(kw_only=True, frozen=True)
class Budget:
    """Limits of a run, a conversation or a batch. None: no limit.

    Raises:
        ConfigurationError: A limit is not a number above zero.
    """

    steps: int | None = None
    """Model calls."""
    tokens: int | None = None
    """Input and output together, cached ones too."""
    usd: float | None = None
    """Of what models cost whose price is known; a model without one is told in the log."""
    tool_calls: int | None = None
    seconds: float | None = None
    """From the start of what the budget is for."""

    def __post_init__(self) -> None:
        for each in fields(self):
            limit = getattr(self, each.name)
            if limit is not None:
                check_positive(f"a budget's {each.name}", limit)


@value(kw_only=True, frozen=True)
class Spent:
    """What a meter has counted."""

    usage: Usage
    steps: int
    tool_calls: int


class Meter:
    """Counts what is spent against a budget, and hands it on to its parent."""

    __slots__ = ("_is_short", "_now", "_since", "budget", "parent", "steps", "tool_calls", "usage")

    def __init__(
        self,
        budget: Budget | None = None,
        *,
        parent: "Meter | None" = None,
        now: Callable[[], float] | None = None,
    ) -> None:
        """`now` tells seconds; without it the budget's `seconds` are not watched here."""
        self.budget = budget
        self.parent = parent
        self.steps = 0
        self.tool_calls = 0
        self.usage = Usage()
        self._is_short = False
        """Less money was counted than spent."""
        self._now = now
        self._since = now() if now is not None else 0.0

    @property
    def spent(self) -> Spent:
        return Spent(usage=self.usage, steps=self.steps, tool_calls=self.tool_calls)

    def go_on(self, spent: Spent) -> None:
        """Count on from what an earlier life of the same has spent."""
        self.usage, self.steps, self.tool_calls = spent.usage, spent.steps, spent.tool_calls

    def spend(self, usage: Usage | None = None, *, steps: int = 0, tool_calls: int = 0) -> None:
        """Note what was consumed, here and in every parent."""
        meter: Meter | None = self
        while meter is not None:
            meter.steps += steps
            meter.tool_calls += tool_calls
            if usage is not None:
                meter.usage = meter.usage + usage
            meter = meter.parent

    def lacks_price(self) -> bool:
        """What was spent has no price. True if that concerns a limit in USD, here or in a parent,
        for the first time."""
        is_news = self.parent is not None and self.parent.lacks_price()
        if self.budget is None or self.budget.usd is None or self._is_short:
            return is_news
        self._is_short = True
        return True

    def spent_out(self) -> str | None:
        """Which limit is reached, here or in a parent, in words: `5 of 5 steps`; None: none."""
        return self.over(steps=1, tool_calls=1)

    def over(self, *, steps: int = 0, tool_calls: int = 0) -> str | None:
        """Which limit forbids to spend so many more steps and tool calls, here or in a parent.

        Tokens, money and seconds are not known beforehand: they forbid once they are reached.
        """
        told = self._own_limit(steps, tool_calls)
        if told is None and self.parent is not None:
            return self.parent.over(steps=steps, tool_calls=tool_calls)
        return told

    def seconds_left(self) -> float | None:
        """Until the first `seconds` here or in a parent are over; None: none are watched."""
        left = self.parent.seconds_left() if self.parent is not None else None
        limit = self.budget.seconds if self.budget is not None else None
        if limit is None or self._now is None:
            return left
        own = max(0.0, self._since + limit - self._now())
        return own if left is None else min(left, own)

    def _own_limit(self, steps: int, tool_calls: int) -> str | None:
        budget = self.budget
        if budget is None:
            return None
        if budget.steps is not None and steps and self.steps + steps > budget.steps:
            return f"{self.steps} of {budget.steps} steps"
        calls = budget.tool_calls
        if calls is not None and tool_calls and self.tool_calls + tool_calls > calls:
            return f"{self.tool_calls} of {calls} tool calls"
        tokens = self.usage.input_tokens + self.usage.output_tokens
        seconds = self._now() - self._since if self._now is not None else 0.0
        for spent, limit, unit in (
            (tokens, budget.tokens, "tokens"),
            (self.usage.usd, budget.usd, "USD"),
            (seconds, budget.seconds, "seconds"),
        ):
            if limit is not None and spent >= limit:
                return f"{_told(spent)} of {_told(limit)} {unit}"
        return None


def _told(amount: float) -> str:
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:.4g}"


ambient_meter: ContextVar[Meter | None] = ContextVar("ambient_meter", default=None)
"""The meter of whatever invoked the code that runs: a batch, a dispatch, a parent's turn. What
an agent spends while this is set is spent there too."""
