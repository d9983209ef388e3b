"""What a turn does next, decided without doing it."""

from hypothesis import given
from hypothesis import strategies as st

from sidetask.core.ids import CallId
from sidetask.core.turns import (
    Answered,
    Begun,
    CallModel,
    Command,
    EndTurn,
    GiveUp,
    Replied,
    RunCalls,
    Turn,
    TurnEvent,
    decide,
)

CALLS = (CallId("a"), CallId("b"))


def after(turn: Turn, *events: TurnEvent) -> tuple[Turn, Command]:
    command: Command = EndTurn()
    for event in events:
        turn, command = decide(turn, event)
    return turn, command


def test_a_turn_begins_with_a_model_call_and_ends_with_a_reply_without_calls() -> None:
    assert decide(Turn(5), Begun()) == (Turn(5, 1), CallModel(1))
    assert decide(Turn(5, 1), Replied()) == (Turn(5, 1), EndTurn())


def test_calls_are_run_and_their_answers_go_to_the_model() -> None:
    assert decide(Turn(5, 1), Replied(CALLS)) == (Turn(5, 1), RunCalls(CALLS))
    assert decide(Turn(5, 1), Answered()) == (Turn(5, 2), CallModel(2))


def test_calls_are_run_before_news_is_told() -> None:
    assert after(Turn(5, 1), Replied(CALLS, news=True))[1] == RunCalls(CALLS)


def test_news_keeps_a_turn_going() -> None:
    assert after(Turn(5, 1), Replied(news=True))[1] == CallModel(2)


def test_news_at_the_last_step_is_left_to_the_next_turn() -> None:
    assert after(Turn(2, 2), Replied(news=True))[1] == EndTurn()
    assert after(Turn(2, 2), Answered(final=True, news=True))[1] == EndTurn()


def test_a_turn_that_owes_its_output_goes_on_and_fails_at_the_last_step() -> None:
    assert after(Turn(2, 1), Replied(owed=True))[1] == CallModel(2)
    assert after(Turn(2, 2), Replied(owed=True))[1] == GiveUp(2)


def test_the_output_ends_the_turn_unless_there_is_news() -> None:
    assert after(Turn(5, 1), Answered(final=True))[1] == EndTurn()
    assert after(Turn(5, 1), Answered(final=True, news=True))[1] == CallModel(2)


def test_the_model_is_called_as_often_as_allowed_and_no_more() -> None:
    step = (Replied(CALLS), Answered())
    turn, command = after(Turn(2), Begun(), *step)
    assert (turn, command) == (Turn(2, 2), CallModel(2))
    assert after(turn, *step) == (Turn(2, 2), GiveUp(2))


EVENTS = st.lists(
    st.one_of(
        st.builds(Replied, st.sampled_from([(), CALLS]), st.booleans(), st.booleans()),
        st.builds(Answered, st.booleans(), st.booleans()),
    )
)


@given(st.integers(1, 5), EVENTS)
def test_steps_only_count_up_to_the_limit_and_the_same_is_decided_again(
    max_steps: int, events: list[TurnEvent]
) -> None:
    turn, _ = decide(Turn(max_steps), Begun())
    for event in events:
        following, command = decide(turn, event)
        assert (following, command) == decide(turn, event)
        assert turn.step <= following.step <= min(turn.step + 1, max_steps)
        assert (command == CallModel(following.step)) == (following.step == turn.step + 1)
        turn = following
