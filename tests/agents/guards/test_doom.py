"""Calls that repeat: what is a loop, and what is left alone."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidetask import TaskPolicy, Tool
from sidetask.agents.guards.doom import LONGEST, REPEATS, DoomWatch
from sidetask.core.errors import DoomLoopError
from sidetask.core.ids import CallId
from sidetask.core.messages import ToolCall


async def _nothing(arguments: object, ctx: object) -> None:
    """Do nothing."""


POLL = Tool.from_schema(
    _nothing, {"type": "object"}, name="poll", policy=TaskPolicy(repeatable=True)
)


class Turn:
    """A watch, and the replies that it has seen."""

    def __init__(self) -> None:
        self._watch = DoomWatch({"poll": POLL})
        self._calls = 0

    def reply(self, *calls: str) -> list[Sequence[str]]:
        """The rows that were detected in a reply: `a` or `a {"n": 1}` are its calls."""
        made: list[ToolCall] = []
        for call in calls:
            name, _, arguments = call.partition(" ")
            self._calls += 1
            made.append(ToolCall(CallId(f"call-{self._calls}"), name, arguments or "{}"))
        return [loop.names for loop in self._watch.look(made).values()]

    def replies(self, *calls: str) -> list[list[Sequence[str]]]:
        """Each call a reply of its own."""
        return [self.reply(call) for call in calls]


NO: list[Sequence[str]] = []


def test_the_same_call_may_come_twice_and_not_a_third_time() -> None:
    assert Turn().replies("a", "a", "a") == [NO, NO, [("a",)]]


def test_the_order_of_keys_and_blanks_do_not_matter() -> None:
    same = ['a {"x": 1, "y": {"p": 1, "q": 2}}', 'a {"y":{"q":2,"p":1},"x":1}']
    assert Turn().replies(*same, same[0]) == [NO, NO, [("a",)]]


def test_another_argument_is_another_call() -> None:
    assert Turn().replies(*[f'a {{"page": {n}}}' for n in range(20)]) == [NO] * 20


def test_another_call_in_between_begins_anew() -> None:
    assert Turn().replies("a", "a", "b", "a", "a", "c") == [NO] * 6


@pytest.mark.parametrize("row", ["ab", "aab", "abc", "abcd", "aabb"])
def test_a_row_of_calls_may_come_twice_and_not_a_third_time(row: str) -> None:
    *quiet, last = Turn().replies(*(row * REPEATS))
    assert quiet == [NO] * (len(row) * REPEATS - 1)
    assert last == [tuple(row)]


def test_a_row_of_five_is_left_alone() -> None:
    assert Turn().replies(*("abcde" * 4)) == [NO] * 20


def test_what_one_reply_asks_for_several_times_counts_once() -> None:
    turn = Turn()
    assert turn.reply(*["a"] * 800) == NO
    assert turn.reply("b", "a", "b", "a") == NO


def test_a_row_may_be_spread_over_replies_in_any_way() -> None:
    turn = Turn()
    assert [turn.reply("a", "b"), turn.reply("a", "b")] == [NO, NO]
    assert turn.reply("a", "b") == [("a", "b")]


def test_a_call_that_closes_a_loop_is_refused_each_time_its_reply_asks_for_it() -> None:
    turn = Turn()
    assert turn.replies("a", "a") == [NO, NO]
    assert turn.reply("a", "a", "b") == [("a",), ("a",)]


def test_who_goes_on_after_the_warning_ends_the_turn() -> None:
    turn = Turn()
    turn.replies("a", "a", "a")
    with pytest.raises(DoomLoopError, match="calling a with"):
        turn.reply("a")


def test_who_does_something_else_after_the_warning_goes_on() -> None:
    turn = Turn()
    turn.replies("a", "a", "a")
    assert turn.replies("b", "a", "a", "b") == [NO] * 4
    with pytest.raises(DoomLoopError):
        turn.replies("c", "c", "c")


def test_a_tool_that_may_repeat_is_no_loop_and_interrupts_one() -> None:
    assert Turn().replies(*["poll"] * 10) == [NO] * 10
    assert Turn().replies(*["look", "poll"] * 10) == [NO] * 20


def test_arguments_that_are_no_json_are_the_same_if_they_are_the_same_text() -> None:
    assert Turn().replies("a {", "a {", "a {") == [NO, NO, [("a",)]]
    assert Turn().replies("a {", "a [", "a {") == [NO] * 3


def _first_loop(letters: Sequence[str]) -> tuple[int, int] | None:
    """Where, and how long the row is: looked for the slow way."""
    for end in range(1, len(letters) + 1):
        for length in range(1, LONGEST + 1):
            tail = letters[max(0, end - length * REPEATS) : end]
            rows = [tail[at : at + length] for at in range(0, len(tail), length)]
            if len(tail) == length * REPEATS and rows.count(rows[0]) == REPEATS:
                return end - 1, length
    return None


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_the_counters_find_what_a_search_finds(letters: list[str]) -> None:
    turn, found = Turn(), None
    for at, letter in enumerate(letters):
        spaced = json.dumps({"of": letter}, indent=at % 3)
        rows = turn.reply(f"{letter} {spaced}")
        if rows:
            found = at, len(rows[0])
            break
    assert found == _first_loop(letters)
