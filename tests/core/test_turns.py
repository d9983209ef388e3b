"""What a turn does next, decided without doing it."""

from hypothesis import given
from hypothesis import strategies as st

from sidetask.core.turns import Answered, Begun, Command, Replied, Turn, TurnEvent, decide

CALLS = Replied(calls=True)


def after(turn: Turn, *events: TurnEvent) -> tuple[Turn, Command]:
    command: Command = "end_turn"
    for event in events:
        turn, command = decide(turn, event)
    return turn, command


def test_a_turn_begins_with_a_model_call_and_ends_with_a_reply_without_calls() -> None:
    assert decide(Turn(5), Begun()) == (Turn(5, 1), "call_model")
    assert decide(Turn(5, 1), Replied()) == (Turn(5, 1), "end_turn")


def test_calls_are_run_and_their_answers_go_to_the_model() -> None:
    assert decide(Turn(5, 1), CALLS) == (Turn(5, 1), "run_calls")
    assert decide(Turn(5, 1), Answered()) == (Turn(5, 2), "call_model")


def test_calls_are_run_before_news_is_told() -> None:
    assert after(Turn(5, 1), Replied(calls=True, news=True))[1] == "run_calls"


def test_news_keeps_a_turn_going() -> None:
    assert after(Turn(5, 1), Replied(news=True))[1] == "call_model"


def test_news_at_the_last_step_is_left_to_the_next_turn() -> None:
    assert after(Turn(2, 2), Replied(news=True))[1] == "end_turn"
    assert after(Turn(2, 2), Answered(final=True, news=True))[1] == "end_turn"


def test_a_turn_that_owes_its_output_goes_on_and_fails_at_the_last_step() -> None:
    assert after(Turn(2, 1), Replied(owed=True))[1] == "call_model"
    assert after(Turn(2, 2), Replied(owed=True))[1] == "give_up"


def test_the_output_ends_the_turn_unless_there_is_news() -> None:
    assert after(Turn(5, 1), Answered(final=True))[1] == "end_turn"
    assert after(Turn(5, 1), Answered(final=True, news=True))[1] == "call_model"


def test_the_model_is_called_as_often_as_allowed_and_no_more() -> None:
    step = (CALLS, Answered())
    turn, command = after(Turn(2), Begun(), *step)
    assert (turn, command) == (Turn(2, 2), "call_model")
    assert after(turn, *step) == (Turn(2, 2), "give_up")


EVENTS = st.lists(
    st.one_of(
        st.builds(Replied, st.booleans(), st.booleans(), st.booleans()),
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
        assert (command == "call_model") == (following.step == turn.step + 1)
        turn = following
