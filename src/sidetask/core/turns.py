"""One turn of a conversation, as decisions. The loop in `agents` carries them out.

A turn is a row of steps. A step is one model call and the tool calls it asks for. A reply
without calls ends the turn, unless the turn still owes an output, or something came meanwhile
that the model has to hear: a steering message, or a result that cut its reply. News is worth
another model call as long as there is one left; after that, the next turn hears it.

`decide` has no memory but the `Turn` it is given and returns: same turn and event, same
answer. Replay relies on it.
"""

from typing import TypeAlias, assert_never

from sidetask.core.budget import Budget
from sidetask.core.ids import CallId, RunId, value
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

    calls: tuple[CallId, ...] = ()
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


TurnEvent: TypeAlias = Begun | Replied | Answered


# -- what to do --------------------------------------------------------------------------


@value
class CallModel:
    step: int


@value
class RunCalls:
    calls: tuple[CallId, ...]


@value
class EndTurn:
    pass


@value
class GiveUp:
    """The next model call would be one too many."""

    max_steps: int


BEGUN = Begun()
END_TURN = EndTurn()

Command: TypeAlias = CallModel | RunCalls | EndTurn | GiveUp


def decide(turn: Turn, event: TurnEvent) -> tuple[Turn, Command]:
    """Say what to do next."""
    match event:
        case Replied(calls=calls) if calls:
            return turn, RunCalls(calls)
        case Begun() | Replied(owed=True) | Answered(final=False):
            return _call_model(turn)
        case Replied(news=news) | Answered(news=news):
            may_go_on = news and turn.step < turn.max_steps
            return _call_model(turn) if may_go_on else (turn, END_TURN)
        case _:
            assert_never(event)


def _call_model(turn: Turn) -> tuple[Turn, Command]:
    if turn.step >= turn.max_steps:
        return turn, GiveUp(turn.max_steps)
    step = turn.step + 1
    return Turn(turn.max_steps, step), CallModel(step)
