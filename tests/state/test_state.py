"""Reading and writing the blackboard of one conversation."""

import asyncio
from threading import Thread
from typing import cast

import pytest
from pydantic import BaseModel

from sidetask.core.errors import InvalidInputError, StateConflictError, StateValueError
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TaskStatus
from sidetask.state.provenance import Entry, Origin, provenance
from sidetask.state.spaces import SharedSpaces
from sidetask.state.state import State
from sidetask.state.values import ABSENT


class Point(BaseModel):
    x: int
    y: int = 0


def increment(value: Json) -> int:
    assert isinstance(value, int)
    return value + 1


# -- reads and writes --------------------------------------------------------------------------


def test_what_was_set_is_there_until_it_is_deleted() -> None:
    state = State()
    state.set("a", {"n": [1, None]})
    state.set("b", "text")
    assert (state["a"], state.get("b"), "a" in state) == ({"n": [1, None]}, "text", True)
    assert (state.delete("a"), state.delete("a")) == (True, False)
    assert (state.get("a"), state.get("a", 3), "a" in state) == (None, 3, False)
    assert 1 not in state
    with pytest.raises(KeyError):
        state["a"]


def test_null_is_a_value() -> None:
    state = State()
    state.set("a", None)
    assert ("a" in state, state.get("a", 3), state.keys()) == (True, None, ["a"])


def test_keys_can_be_listed_by_prefix_oldest_first() -> None:
    state = State()
    for key in ("b:2", "a", "b:1"):
        state.set(key, 0)
    assert state.keys("b:") == ["b:2", "b:1"]
    assert state.keys() == ["b:2", "a", "b:1"]
    assert state.snapshot() == {"b:2": 0, "a": 0, "b:1": 0}


def test_a_value_can_be_read_as_a_type() -> None:
    state = State()
    state.set("p", {"x": "1"})
    assert state.get("p", as_type=Point) == Point(x=1)
    assert state.get("q", as_type=Point) is None
    assert state.get("q", 0, as_type=Point) == 0
    with pytest.raises(StateValueError, match="'p' holds dict: it is no int") as caught:
        state.get("p", as_type=int)
    assert caught.value.key == "p"


def test_a_pydantic_model_is_kept_as_json() -> None:
    state = State()
    state.set("p", {"points": (Point(x=1), Point(x=2))})
    assert state["p"] == {"points": [{"x": 1, "y": 0}, {"x": 2, "y": 0}]}


@pytest.mark.parametrize("key", ["", "app:", "turn:", "a:", "derived:a"])
def test_a_key_that_cannot_be_written_is_refused(key: str) -> None:
    state = State()
    for write in (
        lambda: state.set(key, 1),
        lambda: state.update({"a": 1, key: 2}),
        lambda: state.delete(key),
        lambda: state.modify(key, lambda _: 1),
    ):
        with pytest.raises(InvalidInputError):
            write()
    assert state.snapshot() == {}


@pytest.mark.parametrize("key", ["k" * 1_001, "user:" + "k" * 996, "a\0b", "caf\udce9"])
def test_a_key_that_no_store_could_keep_is_refused_where_it_is_written(key: str) -> None:
    state = State()
    for view in (state, state.fork()):
        with pytest.raises(InvalidInputError, match="is a text of 1 to 1,000 letters"):
            view.update({"a": 1, key: 2})
    assert state.snapshot() == {}


def test_a_key_may_be_long_and_hold_dots_blanks_and_letters_of_all_languages() -> None:
    state = State()
    for key in ("k" * 1_000, "größe.☕ 1", "a:b:c", " "):
        state.set(key, 1)
        assert state[key] == 1


# -- many keys at once -------------------------------------------------------------------------


def test_an_update_writes_and_deletes_in_one_step_and_tells_the_versions() -> None:
    state = State()
    state.set("old", 1)
    assert state.update({"a": 1, "b": 2}, delete=["old", "none"]) == {
        "a": 1,
        "b": 1,
        "old": 2,
        "none": 0,
    }
    assert state.snapshot() == {"a": 1, "b": 2}


@pytest.mark.parametrize("bad", [object(), float("nan"), "x" * 2000])
def test_an_update_with_one_bad_value_writes_nothing(bad: object) -> None:
    state = State(max_value=1000)
    state.set("a", 0)
    with pytest.raises(StateValueError, match="'b' holds"):
        state.update({"a": 1, "b": bad}, delete=["a"])
    assert (state.snapshot(), state.version("a"), len(state.journal)) == ({"a": 0}, 1, 1)


# -- versions ----------------------------------------------------------------------------------


def test_every_write_bumps_the_version_of_its_key_and_of_no_other() -> None:
    state = State()
    assert [state.set("a", 0), state.set("b", 0), state.set("a", 0)] == [1, 1, 2]
    assert (state.version("a"), state.version("b"), state.version("c")) == (2, 1, 0)


def test_a_version_never_comes_again_after_a_delete() -> None:
    state = State()
    seen = {state.set("a", 1)}
    for _ in range(3):
        state.delete("a")
        version = state.set("a", 1)
        assert version not in seen
        seen.add(version)


def test_what_is_put_back_undoes_nothing_newer_and_brings_no_version_back() -> None:
    state = State()
    state.set("a", "mine")
    state.set("a", "newer")
    for version, value in ((1, "newer"), (2, "newer"), (5, "kept")):
        state.own.restore("a", Entry("kept", version, 0.0, Origin()))
        assert state["a"] == value
    state.own.restore("gone", Entry(ABSENT, 7, 0.0, Origin()))
    assert ("gone" in state, state.set("gone", 1)) == (False, 8)


def test_a_deletion_from_elsewhere_brings_no_version_back() -> None:
    state = State()
    state.take({"a": Entry(ABSENT, 7, 0.0, Origin())}, [])
    assert ("a" in state, state.set("a", 1)) == (False, 8)


def test_a_write_that_expects_another_version_fails_and_says_which_there_is() -> None:
    state = State()
    state.set("a", 1, expect_version=0)
    state.set("a", 2, expect_version=1)
    with pytest.raises(StateConflictError, match="'a' is at version 2, not 1") as caught:
        state.set("a", 3, expect_version=1)
    assert (caught.value.version, state["a"]) == (2, 2)
    with pytest.raises(StateConflictError):
        state.update({"b": 1}, expect={"a": 1})
    with pytest.raises(StateConflictError):
        state.delete("a", expect_version=1)
    assert state.snapshot() == {"a": 2}


async def test_a_thousand_concurrent_writers_lose_no_update_in_modify() -> None:
    state = State()

    async def write() -> None:
        await asyncio.sleep(0)
        state.modify("n", increment, 0)
        await asyncio.sleep(1)
        state.modify("n", increment)

    async with asyncio.TaskGroup() as group:
        for _ in range(1000):
            group.create_task(write())
    assert (state["n"], state.version("n")) == (2000, 2000)


async def test_writers_in_threads_lose_no_update_in_modify() -> None:
    state = State()

    def write() -> None:
        for _ in range(250):
            state.modify("n", increment, 0)

    async with asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(asyncio.to_thread(write))
    assert (state["n"], state.version("n")) == (1000, 1000)


def test_nobody_writes_while_a_modify_computes() -> None:
    state = State()
    state.set("n", 1)
    other = Thread(target=state.set, args=("n", 10))

    def add(value: Json) -> Json:
        other.start()
        other.join(0.01)  # it has to wait until this is over
        return increment(value)

    assert state.modify("n", add) == 2
    other.join()
    assert (state["n"], state.version("n")) == (10, 3)


def test_a_modify_gives_what_was_written_and_not_what_it_was_made_of() -> None:
    state = State()
    assert state.modify("p", lambda _: Point(x=1)) == {"x": 1, "y": 0}
    mine: list[Json] = [1]
    with pytest.raises(TypeError):
        cast("list[Json]", state.modify("l", lambda _: mine)).append(2)


def test_a_modify_whose_function_fails_writes_nothing() -> None:
    state = State()
    state.set("a", 1)

    def interfere(_: Json) -> int:
        return state.set("a", 5)

    with pytest.raises(ZeroDivisionError):
        state.modify("a", lambda _: 1 / 0)
    with pytest.raises(StateValueError):
        state.modify("a", lambda _: object())
    assert (state["a"], state.version("a")) == (1, 1)
    with pytest.raises(StateConflictError):
        state.modify("a", interfere)
    assert state["a"] == 5


# -- spaces ------------------------------------------------------------------------------------


def test_app_keys_are_shared_by_all_and_user_keys_by_the_conversations_of_a_user() -> None:
    spaces = SharedSpaces()
    first, second = State(spaces, user="ann"), State(spaces, user="ann")
    other, nobody = State(spaces, user="bob"), State(spaces)
    first.update({"app:a": 1, "user:u": 2, "own": 3})
    assert second.snapshot() == {"user:u": 2, "app:a": 1}
    assert other.snapshot() == nobody.snapshot() == {"app:a": 1}
    assert second.version("app:a") == 1
    nobody.set("user:u", 4)
    assert (first["user:u"], State(spaces).get("user:u")) == (2, None)


def test_a_new_turn_forgets_what_the_last_one_kept_for_itself() -> None:
    state = State()
    state.update({"turn:a": 1, "turn:b": 2, "temp:c": 3, "d": 4})
    state.clear_turn()
    assert state.snapshot() == {"temp:c": 3, "d": 4}


# -- provenance --------------------------------------------------------------------------------


def test_provenance_belongs_to_the_write() -> None:
    state = State(now=lambda: 5.0)
    origin = Origin(source="agent", run_id="r", task_id="t", attempt=2, input_digest="d")
    state.as_writer(origin).set("a", 1, resolver="who")
    told = provenance(state, "a")
    assert told is not None
    assert (told.source, told.resolver, told.run_id, told.task_id) == ("agent", "who", "r", "t")
    assert (told.attempt, told.input_digest, told.version, told.at) == (2, "d", 1, 5.0)

    state.set("a", 1)
    told = state.provenance("a")
    assert told is not None
    assert (told.source, told.resolver, told.task_id, told.version) == ("host", None, None, 2)
    assert state.provenance("b") is None

    writer = state.as_writer(origin)
    for word in ("one", "two"):
        writer.set(word, 1, source="llm", resolver=word)
    found = [state.provenance(word) for word in ("one", "two")]
    assert [each.resolver for each in found if each] == ["one", "two"]


def test_a_writer_within_a_writer_keeps_the_ids_of_the_work_it_is_part_of() -> None:
    state, refused = State(), [False]

    def check() -> None:
        if refused[0]:
            raise PermissionError

    outer = state.as_writer(Origin(source="tool", run_id="r", task_id="t", attempt=1), check)
    inner = outer.as_writer(Origin(source="llm", resolver="x"), lambda: None)
    inner.set("a", 1)
    told = state.provenance("a")
    assert told is not None
    assert (told.source, told.resolver, told.task_id) == ("llm", "x", "t")
    refused[0] = True
    for write in (
        lambda: inner.set("a", 2),
        lambda: inner.delete("a"),
        lambda: inner.update({"b": 1}),
        lambda: inner.modify("a", lambda _: 2),
        lambda: inner.fork().commit(),
    ):
        with pytest.raises(PermissionError):
            write()
    assert state.snapshot() == {"a": 1}


def test_a_source_is_one_of_the_known_words() -> None:
    with pytest.raises(InvalidInputError, match="no source 'me'"):
        State().set("a", 1, source="me")  # pyright: ignore[reportArgumentType]


def test_words_of_ours_are_kept_as_plain_texts() -> None:
    state = State()
    state.set("a", TaskStatus.RUNNING)
    assert type(state["a"]) is str


def test_clearing_the_turn_drops_its_keys_and_nothing_else() -> None:
    state = State()
    state.set("turn:a", 1)
    state.delete("turn:a")
    state.set("turn:b", 2)
    with state.fork() as fork:
        fork.set("turn:c", 3)
    state.set("kept", 4)
    state.clear_turn()
    state.clear_turn()
    assert state.snapshot() == {"kept": 4}
