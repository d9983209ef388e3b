"""One turn of a conversation, as decisions. The loop in `agents` carries them out.

A turn is a row of steps. A step is one model call and the tool calls it asks for. A reply
without calls ends the turn, unless something came meanwhile that the model has to hear: a
steering message, or a result that cut its reply. `decide` has no memory but the `Turn` it is
given and returns: same turn and event, same answer. Replay relies on it.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias, assert_never

from sidetask.core.ids import CallId


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a turn stands."""

    max_steps: int
    step: int = 0
    """Model calls so far."""
    unanswered: frozenset[CallId] = frozenset()


# -- what happened -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begun:
    """The input is part of the history."""


@dataclass(frozen=True, slots=True)
class Replied:
    """The model's reply is part of the history."""

    calls: tuple[CallId, ...]
    news: bool = False
    """Something came that the model has not heard: it gets another word."""


@dataclass(frozen=True, slots=True)
class Answered:
    """These calls have their answers."""

    calls: tuple[CallId, ...]


TurnEvent: TypeAlias = Begun | Replied | Answered


# -- what to do --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class CallModel:
    """Ask the model for its next reply."""

    step: int


@dataclass(frozen=True, slots=True)
class StartCalls:
    """Start these calls of the reply, then wait for answers."""

    calls: tuple[CallId, ...]


@dataclass(frozen=True, slots=True)
class AwaitAnswers:
    """Some calls of the step are unanswered."""


@dataclass(frozen=True, slots=True)
class EndTurn:
    """The turn is complete."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The next model call would be one too many."""

    max_steps: int


Command: TypeAlias = CallModel | StartCalls | AwaitAnswers | EndTurn | GiveUp


def decide(turn: Turn, event: TurnEvent) -> tuple[Turn, Command]:
    """Say what to do next."""
    match event:
        case Begun():
            return _call_model(turn)
        case Replied(calls=(), news=news):
            return _call_model(turn) if news else (turn, EndTurn())
        case Replied(calls=calls):
            return replace(turn, unanswered=frozenset(calls)), StartCalls(calls)
        case Answered(calls):
            turn = replace(turn, unanswered=turn.unanswered.difference(calls))
            return (turn, AwaitAnswers()) if turn.unanswered else _call_model(turn)
        case _:
            assert_never(event)


def _call_model(turn: Turn) -> tuple[Turn, Command]:
    if turn.step >= turn.max_steps:
        return turn, GiveUp(turn.max_steps)
    return replace(turn, step=turn.step + 1), CallModel(turn.step + 1)
