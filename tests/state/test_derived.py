"""Values that are computed from others."""

import gc
import logging
from typing import Any, cast
from weakref import ref

import pytest

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.jsons import Json
from sidetask.state.provenance import Origin
from sidetask.state.spaces import SharedSpaces
from sidetask.state.state import State
from sidetask.state.watch import changed, crossed_above


def total(*values: Json) -> float:
    return sum(value for value in values if isinstance(value, int | float))


def test_a_derived_value_is_there_while_all_it_depends_on_is() -> None:
    state = State()
    state.derive("sum", ["a", "b"], total)
    assert "sum" not in state
    state.update({"a": 1, "b": 2})
    assert (state["sum"], state["derived:sum"]) == (3, 3)
    state.set("a", 5)
    assert state["sum"] == 7
    state.delete("b")
    assert ("sum" in state, "derived:sum" in state, state.get("sum", 9)) == (False, False, 9)


def test_a_key_of_that_very_name_wins_and_all_reads_agree() -> None:
    state = State()
    state.set("a", 1)
    state.derive("sum", "a", total)
    state.set("sum", None)
    assert ("sum" in state, state.get("sum", 3), state["derived:sum"]) == (True, None, 1)
    state.delete("sum")
    assert ("sum" in state, state.get("sum"), state["sum"]) == (True, 1, 1)
    assert state.provenance("sum") == state.provenance("derived:sum")


async def test_every_read_means_the_key_that_wins() -> None:
    state = State()
    state.set("a", 1)
    state.derive("sum", "a", total)
    state.set("sum", 5, source="agent")
    for wanted, source in ((5, "agent"), (1, "host")):
        for view in (state, state.fork(), state.as_writer(Origin(source="tool"))):
            told = view.provenance("sum")
            assert (view["sum"], view.get("sum"), await view.wait_for("sum")) == (wanted,) * 3
            assert view.modify("seen", lambda _, view=view: view["sum"]) == wanted
            assert told is not None
            assert told.source == source
        if source == "agent":
            state.delete("sum")


def test_only_a_read_that_names_no_prefix_falls_back_to_what_is_derived() -> None:
    state = State()
    state.set("a", 1)
    for name in ("user:sum", "app:sum", "turn:sum", "temp:sum"):
        state.derive(name, "a", total)
        for view in (state, state.fork()):
            assert (name in view, view.get(name)) == (False, None)
            assert view[f"derived:{name}"] == 1


def test_what_is_derived_is_read_only_also_when_it_is_there() -> None:
    state = State()
    state.set("a", 1)
    state.derive("sum", "a", total)
    for view in (state, state.fork()):
        for write in (
            lambda view=view: view.set("derived:sum", 2),
            lambda view=view: view.update({"b": 1}, delete=["derived:sum"]),
            lambda view=view: view.modify("derived:sum", lambda _: 3),
        ):
            with pytest.raises(InvalidInputError, match="is computed: write what it depends on"):
                write()
        assert (view["sum"], "b" in view) == (1, False)


def test_derived_values_of_derived_values_are_computed_after_them_and_once() -> None:
    state, computed = State(), list[str]()

    def noting(name: str, *values: Json) -> float:
        computed.append(name)
        return total(*values)

    state.set("a", 1)
    state.derive("top", ["left", "derived:right"], lambda *v: noting("top", *v))
    state.derive("left", ["a"], lambda *v: noting("left", *v))
    state.derive("right", ["a"], lambda *v: noting("right", *v))
    computed.clear()
    state.set("a", 2)
    assert (state["top"], sorted(computed), computed[-1]) == (4, ["left", "right", "top"], "top")
    computed.clear()
    state.set("b", 2)
    assert computed == []


def test_values_may_be_declared_before_what_they_are_made_of() -> None:
    state = State()
    state.set("a", 1)
    state.derive("top", ["left"], total)
    assert "top" not in state
    state.derive("left", ["a"], total)
    assert state["top"] == 1


def test_what_is_shared_keeps_no_conversation_alive() -> None:
    spaces = SharedSpaces()
    state = State(spaces)
    state.derive("sum", "app:n", total)
    dropped = ref(state._hub)  # pyright: ignore[reportPrivateUsage]
    del state
    gc.collect()
    assert dropped() is None
    State(spaces).set("app:n", 1)


def test_an_action_on_a_shared_key_sees_what_is_derived_from_it() -> None:
    spaces, seen = SharedSpaces(), list[Json]()
    state, other = State(spaces), State(spaces)
    state.when(changed("app:n"), lambda change: seen.append(state["sum"]))
    state.derive("sum", "app:n", total)
    other.set("app:n", 1)
    state.set("app:n", 2)
    assert seen == [1, 2]


def test_a_circle_is_refused_when_it_is_declared() -> None:
    state = State()
    state.set("x", 1)
    state.derive("a", ["x", "b"], total)
    with pytest.raises(ConfigurationError, match=r"depend on each other: . -> . -> ."):
        state.derive("b", ["derived:a"], total)
    with pytest.raises(ConfigurationError):
        state.derive("c", ["c"], total)
    state.set("b", 2)
    assert state["a"] == 3
    state.derive("d", ["a"], total)  # what was refused is nowhere in the way
    assert (state["d"], state.fork().get("derived:b")) == (3, None)


def test_declaring_a_key_again_replaces_its_function() -> None:
    state = State()
    state.set("a", 1)
    state.derive("b", "a", total)
    state.derive("derived:b", "a", lambda value: [value])
    assert state["b"] == [1]


def test_a_derived_key_needs_a_name() -> None:
    for key in ("", "derived:", "app:"):
        with pytest.raises(InvalidInputError):
            State().derive(key, "a", total)


def test_what_makes_a_derived_value_is_an_ordinary_function() -> None:
    async def fetch(value: Json) -> Json:
        raise AssertionError

    state = State()
    state.set("a", 1)
    for none in (fetch, "total"):
        with pytest.raises(ConfigurationError, match="what makes 'b' is an ordinary function"):
            state.derive("b", "a", cast(Any, none))
    assert state.keys() == ["a"]


def test_a_function_that_fails_is_reported_and_leaves_no_stale_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[tuple[str, Exception]] = []
    state = State(on_error=lambda what, error: told.append((what, error)))
    state.derive("inverse", "a", lambda value: 1 / value)
    state.set("a", 2)
    with caplog.at_level(logging.CRITICAL, "sidetask.state"):
        state.set("a", 0)
    assert ("inverse" in state, state["a"]) == (False, 0)
    [(what, error)] = told
    assert (what, type(error)) == ("the function of 'derived:inverse'", ZeroDivisionError)
    state.set("a", 4)
    assert state["inverse"] == 0.25


def test_a_change_of_a_derived_value_is_told_like_any_other() -> None:
    state, fired = State(), list[Json]()
    state.set("a", 1)
    state.derive("sum", ["a"], total)
    watch = state.watch("sum")
    state.when(crossed_above("sum", 10), lambda change: fired.append(change.new))
    state.set("a", 2, source="tool", resolver="who")
    state.set("a", 2)  # the sum is what it was
    state.set("a", 11)
    first, second = watch.ready(), watch.ready()
    assert first is not None
    assert second is not None
    assert (first.key, first.old, first.new, first.version) == ("derived:sum", 1, 2, 2)
    assert (first.provenance.source, first.provenance.resolver) == ("tool", "who")
    assert (second.new, watch.ready(), fired) == (11, None, [11])


def test_a_derived_value_follows_shared_keys_whoever_writes_them() -> None:
    spaces = SharedSpaces()
    mine, other, gone = State(spaces), State(spaces), State(spaces)
    gone.derive("sum", ["app:b"], total)
    del gone
    mine.derive("sum", ["a", "app:b"], total)
    mine.derive("twice", ["app:b", "app:b"], total)
    mine.set("a", 1)
    seen: list[Json] = []
    mine.when(changed("app:b"), lambda change: seen.append(mine.get("sum")))
    other.set("app:b", 2)
    assert (mine["sum"], mine["twice"], "sum" in other) == (3, 4, False)
    mine.update({"app:b": 10, "a": 10})
    assert (mine["sum"], seen) == (20, [3, 20])


def test_an_action_on_one_key_of_a_step_sees_the_whole_step() -> None:
    state, seen = State(), list[Json]()
    state.derive("sum", ["a", "b"], total)
    state.when(changed("a"), lambda _: seen.append((state["a"], state["b"], state["sum"])))
    state.update({"a": 1, "b": 2})
    assert seen == [(1, 2, 3)]
