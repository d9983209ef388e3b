"""Private views over one base."""

import asyncio
import logging
from threading import Thread

import pytest

from sidetask.core.errors import StateClosedError, StateConflictError, TaskFencedError
from sidetask.core.jsons import Json
from sidetask.state.provenance import Origin
from sidetask.state.state import State
from sidetask.state.watch import changed
from tests.state.test_derived import total


def test_what_a_fork_writes_is_its_own_until_it_commits() -> None:
    state = State()
    state.update({"a": 1, "b": 2, "app:c": 3})
    fork = state.fork()
    fork.update({"a": 10, "new": 4, "app:c": 30}, delete=["b"])
    assert fork.snapshot() == {"a": 10, "app:c": 30, "new": 4}
    assert ("b" in fork, fork.get("b", 0), fork.keys()) == (False, 0, ["a", "app:c", "new"])
    assert state.snapshot() == {"a": 1, "b": 2, "app:c": 3}
    fork.commit()
    assert state.snapshot() == {"a": 10, "new": 4, "app:c": 30}


def test_a_commit_leaves_out_what_was_only_for_the_fork() -> None:
    state = State()
    state.set("input", "mine")
    fork = state.fork()
    fork.update({"input": "a draft", "kept": 1})
    fork.commit(without=("input", "never written"))
    assert state.snapshot() == {"input": "mine", "kept": 1}
    assert state.version("input") == 1


def test_a_discarded_fork_leaves_nothing() -> None:
    state = State()
    state.set("a", 1)
    fork = state.fork()
    fork.set("a", 2)
    fork.delete("a")
    fork.discard()
    fork.discard()
    assert (state.snapshot(), fork["a"]) == ({"a": 1}, 1)


def test_an_ended_fork_refuses_writes_and_commits() -> None:
    state = State()
    fork = state.fork()
    fork.commit()
    for use in (lambda: fork.set("a", 1), fork.commit, fork.watch):
        with pytest.raises(StateClosedError, match="fork again"):
            use()
    assert state.snapshot() == {}


def test_a_fork_sees_the_base_as_it_is_now_where_it_has_not_written() -> None:
    state = State()
    fork = state.fork()
    state.set("a", 1)
    assert fork["a"] == 1
    fork.set("a", 2)
    state.set("a", 3)
    assert fork["a"] == 2
    fork.delete("a")
    state.set("a", 4)
    assert "a" not in fork
    fork.set("a", 5)
    assert (fork["a"], state["a"]) == (5, 4)


def test_a_block_commits_when_it_ends_and_discards_when_it_fails() -> None:
    state = State()
    with state.fork() as fork:
        fork.set("a", 1)
    with pytest.raises(ZeroDivisionError), state.fork() as fork:
        fork.modify("a", lambda value: [value, fork.set("b", 1) / 0])
    assert state.snapshot() == {"a": 1}


def test_a_block_whose_commit_is_refused_leaves_nothing_behind() -> None:
    state = State()

    def refuse() -> None:
        raise TaskFencedError("task-1", 1)

    fork = state.as_writer(state.origin, refuse).fork()
    fork.set("a", 1)
    watch = fork.watch("a")
    with pytest.raises(TaskFencedError), fork:
        pass
    assert state.snapshot() == {}
    with pytest.raises(StateClosedError):
        fork.check()
    with pytest.raises(StateClosedError):
        fork.watch("a")
    assert watch.ready() is None


def test_what_a_fork_has_deleted_stays_deleted_even_if_it_comes_to_the_base_later() -> None:
    state = State()
    fork = state.fork()
    assert (fork.delete("a"), fork.delete("a")) == (False, False)
    state.set("a", 1)
    assert ("a" in fork, fork.keys(), fork.version("a")) == (False, [], 0)
    fork.commit()
    assert "a" not in state


def test_forks_can_be_forked() -> None:
    state = State()
    state.set("a", 1)
    outer = state.fork()
    outer.set("b", 2)
    inner = outer.fork()
    inner.update({"c": 3}, delete=["a", "b"])
    assert (inner.snapshot(), outer.snapshot()) == ({"c": 3}, {"a": 1, "b": 2})
    inner.commit()
    assert (outer.snapshot(), state.snapshot()) == ({"c": 3}, {"a": 1})
    outer.commit()
    assert state.snapshot() == {"c": 3}


async def test_two_pipelines_on_one_state_each_see_their_own_input() -> None:
    state, seen = State(), list[tuple[str, Json]]()

    async def pipeline(name: str) -> None:
        with state.fork() as fork:
            fork.set("input", name)
            await asyncio.sleep(1)
            seen.append((name, fork["input"]))
            fork.set(f"{name}:result", fork["input"])

    async with asyncio.TaskGroup() as group:
        group.create_task(pipeline("one"))
        group.create_task(pipeline("two"))
    assert sorted(seen) == [("one", "one"), ("two", "two")]
    assert (state["one:result"], state["two:result"]) == ("one", "two")


def test_what_is_committed_keeps_its_writer_and_is_one_step() -> None:
    state, seen = State(now=lambda: 1.0), list[Json]()
    fork = state.as_writer(Origin(source="agent", task_id="t")).fork()
    fork.set("a", 1, resolver="who")
    fork.set("b", 2)
    state.when(changed("a"), lambda _: seen.append(state["b"]))
    fork.commit()
    told = state.provenance("a")
    assert told is not None
    assert (told.source, told.resolver, told.task_id, told.version) == ("agent", "who", "t", 1)
    assert (seen, [change.key for change in state.journal]) == ([2], ["a", "b"])


def test_versions_in_a_fork_go_on_from_the_bases() -> None:
    state = State()
    state.set("a", 1)
    fork = state.fork()
    assert fork.set("a", 2, expect_version=1) == 2
    assert fork.delete("a")
    assert (fork.version("a"), fork.delete("a"), fork.set("a", 3)) == (0, False, 4)
    with pytest.raises(StateConflictError):
        fork.set("a", 4, expect_version=1)
    assert fork.modify("a", lambda value: [value]) == [3]


def test_a_fork_hears_of_its_own_writes_and_of_the_bases_where_it_has_not_written() -> None:
    state, fired = State(), list[Json]()
    fork = state.fork()
    watch = fork.watch()
    fork.when(changed("a"), lambda change: fired.append(change.new))
    state.set("a", 1)
    fork.set("a", 2)
    state.set("a", 3)
    state.set("b", 4)
    told = [(change.key, change.old, change.new) for change in iter(watch.ready, None)]
    assert told == [("a", None, 1), ("a", 1, 2), ("b", None, 4)]
    assert fired == [1, 2]
    fork.discard()
    state.set("b", 5)
    assert watch.ready() is None


def test_the_watches_of_a_fork_end_with_its_base() -> None:
    state = State()
    fork = state.fork()
    with fork.watch("a") as watch:
        state.close()
        fork.set("a", 1)
        state.set("b", 1)
        assert watch.ready() is not None
    fork.commit()
    assert state["a"] == 1


async def test_waiting_in_a_fork_ends_with_what_it_writes_or_with_the_fork() -> None:
    state = State()
    fork = state.fork()
    async with asyncio.TaskGroup() as group:
        first = group.create_task(fork.wait_for("a"))
        second = group.create_task(fork.wait_for("b"))
        await asyncio.sleep(0)
        fork.set("a", 1)
        state.set("b", 2)
    assert (first.result(), second.result()) == (1, 2)
    waiting = asyncio.create_task(fork.wait_for("c"))
    await asyncio.sleep(0)
    fork.discard()
    with pytest.raises(StateClosedError):
        await waiting


def test_derived_values_in_a_fork_are_those_of_its_own_values() -> None:
    state = State()
    state.derive("sum", ["a", "b"], total)
    state.derive("next", "sum", lambda value: value + 1)
    state.update({"a": 1, "b": 2})
    fork = state.fork()
    assert fork.provenance("sum") == state.provenance("sum")
    watch = fork.watch("next")
    fork.set("a", 10)
    assert (fork["sum"], fork["next"], state["next"]) == (12, 13, 4)
    state.set("b", 3)
    assert (fork["sum"], fork["next"], state["next"]) == (13, 14, 5)
    assert [change.new for change in iter(watch.ready, None)] == [13, 14]
    fork.delete("b")
    assert ("sum" in fork, "derived:next" in fork.keys()) == (False, False)  # noqa: SIM118
    deleted = watch.ready()
    assert deleted is not None
    assert deleted.deleted
    fork.set("sum", 0)
    assert (fork["sum"], fork["next"]) == (0, 1)
    fork.commit()
    assert (state["sum"], state["next"], "derived:sum" in state) == (0, 1, False)


def test_a_derived_value_that_only_a_fork_can_compute_is_among_its_keys() -> None:
    state = State()
    state.derive("sum", ["a"], total)
    fork = state.fork()
    fork.set("a", 1)
    assert fork.keys() == ["a", "derived:sum"]
    assert fork.snapshot() == {"a": 1, "derived:sum": 1}


def test_a_thread_may_write_to_a_fork_while_its_keys_are_listed() -> None:
    class Key(str):
        """Looking at it takes so long that somebody else writes meanwhile."""

        __slots__ = ()

        def removeprefix(self, prefix: str, /) -> str:
            if listing:
                listing.pop().start()
                other.join()
            return super().removeprefix(prefix)

    state = State()
    state.derive("sum", "a", total)
    fork, listing = state.fork(), list[Thread]()
    fork.update({Key("a"): 1, "b": 2})
    other = Thread(target=fork.set, args=("c", 3))
    listing.append(other)
    assert {"a", "b", "derived:sum"} <= set(fork.keys())
    assert fork["c"] == 3


def test_a_derived_value_that_fails_in_a_fork_is_not_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = State()
    state.derive("inverse", "a", lambda value: 1 / value)
    state.set("a", 1)
    fork = state.fork()
    with caplog.at_level(logging.CRITICAL, "sidetask.state"):
        fork.set("a", 0)
        assert "inverse" not in fork
    assert state["inverse"] == 1
