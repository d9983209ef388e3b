"""What one turn spends, against its own budget and those above it.

Tokens, money and seconds are looked at before each model call and each tool call; what they
will be is not known before, so a limit is passed by what is under way, and by no more. Steps
and tool calls are counted before they begin, and so are exact, in parallel too.

A tool call beyond the limit is answered with an error, and the turn may answer with what it
has; if it asks for another one, it ends. Seconds end a turn also while it waits: they cancel
its token.
"""

import asyncio
import logging

from sidetask.core.budget import Budget, Meter
from sidetask.core.errors import BudgetExceededError
from sidetask.core.usage import Usage
from sidetask.models.base import Model
from sidetask.tasks.aio.tokens import CancelToken

_log = logging.getLogger(__name__)


def metered(budget: Budget | None, parent: Meter | None) -> Meter | None:
    """Where to count what is spent under a budget, and under a parent's; None: nowhere."""
    if budget is None:
        return parent
    return Meter(budget, parent=parent, now=asyncio.get_running_loop().time)


class Spending:
    """One turn's meter, and its deadline."""

    __slots__ = ("_meter", "_refused_in", "_step", "_timer", "_token", "exceeded")

    def __init__(self, meter: Meter, token: CancelToken) -> None:
        self._meter = meter
        self._token = token
        self._timer: asyncio.TimerHandle | None = None
        self._step = 0
        self._refused_in: int | None = None
        """The step whose calls were too many."""
        self.exceeded: BudgetExceededError | None = None
        """Set when the seconds are over and the token was cancelled for that."""

    def start(self) -> None:
        """The turn begins: watch its seconds."""
        left = self._meter.seconds_left()
        if left is not None:
            self._timer = asyncio.get_running_loop().call_later(left, self._time_is_up)

    def stop(self) -> None:
        """The turn ends."""
        if self._timer is not None:
            self._timer.cancel()

    def begin_step(self) -> None:
        """Spend a model call.

        Raises:
            BudgetExceededError: It would be beyond the budget; nothing was spent.
        """
        spent = self._meter.over(steps=1)
        if spent is not None:
            raise BudgetExceededError(spent)
        self._meter.spend(steps=1)
        self._step += 1

    def begin_call(self) -> str | None:
        """Spend a tool call; returns what the model reads instead if it is one too many.

        Raises:
            BudgetExceededError: The budget is spent, or the model was told before.
        """
        spent = self._meter.over(tool_calls=1)
        if spent is None:
            self._meter.spend(tool_calls=1)
            return None
        told_before = self._refused_in is not None and self._refused_in < self._step
        if told_before or self._meter.over() is not None:
            raise BudgetExceededError(self._meter.over() or spent)
        self._refused_in = self._step
        return (
            f"Not run: the budget is spent ({spent}). Answer with what you have: if you call"
            " another tool, the turn ends."
        )

    def spend(self, usage: Usage, model: Model) -> None:
        """Note what a call of a model consumed."""
        self._meter.spend(usage)
        is_used = usage.input_tokens or usage.output_tokens
        if is_used and not usage.usd and model.price is None and self._meter.lacks_price():
            _log.warning(
                "what %s costs is not known, so the budget's usd does not limit it: limit tokens",
                model.name,
            )

    def _time_is_up(self) -> None:
        if not self._token.is_cancelled:
            # A timer may fire a hair before its time.
            self.exceeded = BudgetExceededError(self._meter.over() or "no seconds left")
            self._token.cancel(str(self.exceeded))
