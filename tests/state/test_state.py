"""The blackboard of one conversation."""

import pytest

from sidetask.core.errors import InvalidInputError, StateValueError
from sidetask.state.state import State


def test_what_was_set_is_there_until_it_is_deleted() -> None:
    state = State()
    state.set("a", {"n": [1, None]})
    state.set("b", "text")
    assert (state["a"], state.get("b"), "a" in state) == ({"n": [1, None]}, "text", True)
    state.delete("a")
    state.delete("a")
    assert (state.get("a"), state.get("a", 3), "a" in state) == (None, 3, False)
    with pytest.raises(KeyError):
        state["a"]


def test_what_is_handed_in_and_out_is_a_copy() -> None:
    state, given = State(), [1]
    state.set("a", given)
    given.append(2)
    read = state["a"]
    assert isinstance(read, list)
    read.append(3)  # pyright: ignore[reportUnknownMemberType]
    assert state["a"] == [1]
    assert state.snapshot() == {"a": [1]}


def test_keys_can_be_listed_by_prefix_oldest_first() -> None:
    state = State()
    for key in ("b:2", "a", "b:1"):
        state.set(key, 0)
    assert list(state.keys("b:")) == ["b:2", "b:1"]
    assert list(state.keys()) == ["b:2", "a", "b:1"]


@pytest.mark.parametrize("value", [object(), {1}, float("nan"), b"x", {"a": object()}])
def test_what_is_not_json_is_refused_and_nothing_is_written(value: object) -> None:
    state = State()
    state.set("a", 1)
    with pytest.raises(StateValueError, match="'a' holds"):
        state.set("a", value)
    assert state["a"] == 1


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (loop, deep):
        with pytest.raises(StateValueError):
            State().set("a", value)


def test_a_key_has_a_name() -> None:
    with pytest.raises(InvalidInputError):
        State().set("", 1)
