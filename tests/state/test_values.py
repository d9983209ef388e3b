"""What may be kept, and how it is handed out."""

import copy
import json
from collections import OrderedDict, deque
from collections.abc import Callable
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from sidetask.core.errors import StateValueError
from sidetask.state.state import State
from sidetask.state.values import MAX_DEPTH, MAX_VALUE, freeze, sized

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


class Opaque(BaseModel, arbitrary_types_allowed=True):
    thing: object


class Number(IntEnum):
    ONE = 1


class Word(StrEnum):
    ONE = "one"


class Real(float):
    """A float of somebody else's."""


@given(JSON)
def test_what_is_json_comes_back_as_it_was(value: object) -> None:
    kept = freeze("a", value)
    assert kept == value
    assert json.dumps(kept) == json.dumps(value)
    assert freeze("b", kept) is kept or not isinstance(kept, list | dict)


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1},
        b"x",
        deque([1]),
        float("nan"),
        float("inf"),
        [-float("inf")],
        {"a": object()},
        {1: "a"},
        "\ud800",
        {"\udfff": 1},
        [10**5000],
        Opaque(thing=object()),
    ],
)
def test_what_is_not_json_is_refused_by_key_and_type(value: object) -> None:
    state = State()
    state.set("a", 1)
    with pytest.raises(StateValueError, match=f"'a' holds {type(value).__name__}: ") as caught:
        state.set("a", value)
    assert (caught.value.value_type, state["a"]) == (type(value).__name__, 1)


def test_json_in_another_dress_is_kept_as_plain_json() -> None:
    given = OrderedDict(
        {
            "m": MappingProxyType({"a": (1, 2)}),
            Word.ONE: [Number.ONE, Word.ONE, Real(1.5), True, None, 2**80],
        }
    )
    assert json.dumps(freeze("a", given)) == json.dumps(
        {
            "m": {"a": [1, 2]},
            "one": [1, "one", 1.5, True, None, 2**80],
        }
    )


def test_a_value_that_holds_itself_or_is_too_deep_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    for depth, value in ((100_000, []), (0, loop), (MAX_DEPTH, [])):
        deep: list[object] = value
        for _ in range(depth):
            deep = [deep]
        with pytest.raises(StateValueError, match="nested deeper than 100, or holds itself"):
            freeze("a", deep)


@pytest.mark.parametrize("value", ["x" * MAX_VALUE, "ä" * (MAX_VALUE // 2), ["x" * 1000] * 1100])
def test_a_value_over_the_limit_is_refused(value: object) -> None:
    with pytest.raises(StateValueError, match="bigger than 1,048,576 bytes"):
        State().set("a", value)


def test_a_value_may_be_as_big_as_the_limit_and_no_bigger() -> None:
    state = State(max_value=10)
    for fits, too_big in (("x" * 8, "x" * 9), (["x" * 5], ["x" * 6]), ("é" * 4, "é" * 4 + "x")):
        state.set("a", fits)
        with pytest.raises(StateValueError):
            state.set("a", too_big)
        assert state["a"] == fits


@given(JSON)
def test_the_size_that_counts_is_about_that_of_the_text(value: object) -> None:
    text = len(json.dumps(value, ensure_ascii=False).encode())
    assert sized(freeze("a", value)) <= 10 + text * 8


def test_a_value_made_of_kept_parts_counts_them_all() -> None:
    state = State(max_value=1000)
    state.set("a", ["x" * 600])
    with pytest.raises(StateValueError):
        state.set("b", [state["a"], state["a"]])


def test_what_is_handed_in_is_a_copy() -> None:
    state, given = State(), [1]
    state.set("a", given)
    given.append(2)
    assert state["a"] == [1]


def change_list(items: list[Any]) -> list[Callable[[], object]]:
    return [
        lambda: items.append(3),
        lambda: items.extend([3]),
        lambda: items.insert(0, 3),
        items.pop,
        lambda: items.remove(2),
        items.clear,
        items.sort,
        items.reverse,
        lambda: items.__setitem__(0, 3),
        lambda: items.__delitem__(0),
        lambda: items.__iadd__([3]),
        lambda: items.__imul__(2),
    ]


def change_dict(items: dict[str, Any]) -> list[Callable[[], object]]:
    return [
        lambda: items.update(a=3),
        lambda: items.setdefault("c", 3),
        lambda: items.pop("a"),
        items.popitem,
        items.clear,
        lambda: items.__setitem__("a", 3),
        lambda: items.__delitem__("a"),
        lambda: items.__ior__({"a": 3}),
    ]


def test_what_is_handed_out_cannot_change_what_is_kept() -> None:
    state = State()
    state.update({"l": [2, 1], "d": {"a": 1, "b": {"c": 2}}})
    before = state.snapshot()
    items: Any = state["l"]
    named: Any = state["d"]
    for change in (*change_list(items), *change_dict(named), *change_dict(named["b"])):
        with pytest.raises(TypeError, match="change a copy"):
            change()
    assert state.snapshot() == before == {"l": [2, 1], "d": {"a": 1, "b": {"c": 2}}}


def test_copies_of_what_is_handed_out_are_plain_and_free() -> None:
    kept = freeze("a", {"l": [1, {"b": 2}]})
    assert isinstance(kept, dict)
    assert type(copy.copy(kept)) is type(dict(kept)) is dict
    make, arguments = cast(Any, kept).__reduce_ex__(4)  # how it is sent to another process
    copies: list[Any] = [copy.deepcopy(kept), make(*arguments)]
    for changed in copies:
        changed["l"].append(3)
        changed["l"][1]["b"] = 4
        assert changed == {"l": [1, {"b": 4}, 3]}
    inner: Any = kept["l"]
    assert type(copy.copy(inner)) is type(inner[:1]) is list
    assert kept == {"l": [1, {"b": 2}]}


def test_a_value_matches_patterns_like_any_other() -> None:
    match freeze("a", {"l": [1, 2]}):
        case {"l": [1, second]}:
            assert second == 2
        case _:
            pytest.fail("it did not match")
