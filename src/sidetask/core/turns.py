"""One turn of a conversation, as decisions. The loop in `agents` carries them out.

A turn is a row of steps. A step is one model call and the tool calls it asks for. A reply
without calls ends the turn, unless the turn still owes an output, or something came meanwhile
that the model has to hear: a steering message, or a result that cut its reply. News is worth
another model call as long as there is one left; after that, the next turn hears it.

`decide` has no memory but the `Turn` it is given and returns: same turn and event, same
answer. Replay relies on it.
"""

from typing import Literal, TypeAlias, assert_never

from sidetask.core.budget import Budget
from sidetask.core.ids import RunId, value
from sidetask.core.jsons import JsonObject


@value(kw_only=True)
class RunOrder:
    """What a host says of a run that it asks for by a request."""

    run_id: RunId
    client_request_id: str | None = None
    metadata: JsonObject | None = None
    settings: JsonObject | None = None
    """For the first model call, besides the agent's."""
    budget: Budget | None = None


@value
class Turn:
    """Where a turn stands."""

    max_steps: int
    step: int = 0
    """Model calls so far."""


# -- what happened -----------------------------------------------------------------------


@value
class Begun:
    """The input is part of the history."""


@value
class Replied:
    """The model's reply is part of the history."""

    calls: bool = False
    """It asks for calls, which have no answers yet."""
    news: bool = False
    """Something came that the model has not heard."""
    owed: bool = False
    """The turn cannot end yet: its output is missing."""


@value
class Answered:
    """Every call of the step has its answer."""

    final: bool = False
    """The turn's output is among them: nothing else is asked of the model."""
    news: bool = False


BEGUN = Begun()

TurnEvent: TypeAlias = Begun | Replied | Answered


# -- what to do --------------------------------------------------------------------------

Command: TypeAlias = Literal["call_model", "run_calls", "end_turn", "give_up"]
"""It gives up where the next model call would be one too many."""


def decide(turn: Turn, event: TurnEvent) -> tuple[Turn, Command]:
    """Say what to do next."""
    match event:
        case Begun():
            owed, news = True, False
        case Replied():
            if event.calls:
                return turn, "run_calls"
            owed, news = event.owed, event.news
        case Answered():
            owed, news = not event.final, event.news
        case _:
            assert_never(event)
    has_left = turn.step < turn.max_steps
    if owed and not has_left:
        return turn, "give_up"
    if owed or (news and has_left):
        return Turn(turn.max_steps, turn.step + 1), "call_model"
    return turn, "end_turn"
