"""What is kept of the steps of a job, under which key, and when it is read."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import cast

import pytest

from sidetask.core.errors import InvalidInputError
from sidetask.core.ids import TaskId
from sidetask.core.jsons import Json
from sidetask.engines.base import Capabilities, Context, JobSpec, JournalingEngine, StepJournal

SPEC = JobSpec("task-1:1", TaskId("task-1"), 1, "tool", "{}")
Work = Callable[[Context], Awaitable[object]]


class Notebook(StepJournal):
    """A journal, and how often it was looked into."""

    def __init__(self, **kept: Json) -> None:
        self.kept: dict[str, Json] = dict(kept)
        self.looks: list[str] = []

    async def read(self, spec: JobSpec, key: str) -> tuple[Json] | None:
        assert spec.task_id == SPEC.task_id
        self.looks.append(key)
        return (self.kept[key],) if key in self.kept else None

    async def write(self, spec: JobSpec, key: str, value: object) -> Json:
        assert spec.task_id == SPEC.task_id
        self.kept[key] = cast("Json", value)
        return ["as JSON has it", cast("Json", value)]


class Journaling(JournalingEngine):
    capabilities = Capabilities(durable=True, distributed=False)


async def carry_out(journal: StepJournal, work: Work, spec: JobSpec = SPEC) -> object:
    """What the body of a job returns, or raises."""
    engine, ended = Journaling(journal), list[str]()
    came: asyncio.Future[object] = asyncio.get_running_loop().create_future()

    async def body(_: JobSpec, ctx: Context) -> None:
        try:
            came.set_result(await work(ctx))
        except InvalidInputError as error:
            came.set_exception(error)

    engine.start(body, ended.append)
    engine.submit(spec)
    result = await came
    await engine.result(spec.id)
    assert ended == [spec.id]
    return result


async def doubled(number: int) -> int:
    return 2 * number


async def broken() -> int:
    raise ValueError("not today")


async def two_and_one(ctx: Context) -> object:
    return [
        await ctx.step("a", doubled, 1),
        await ctx.step("a", doubled, 2),
        await ctx.step("b", doubled, 3),
    ]


async def test_each_step_is_kept_by_its_key_and_how_often_that_came_before() -> None:
    journal = Notebook()
    found = await carry_out(journal, two_and_one)
    assert journal.kept == {"a#0": 2, "a#1": 4, "b#0": 6}
    assert found == [["as JSON has it", each] for each in (2, 4, 6)]
    assert journal.looks == [], "nobody was there before"


async def test_what_an_earlier_attempt_has_finished_is_not_done_again() -> None:
    journal = Notebook(**{"a#1": "second", "b#0": None})
    found = await carry_out(journal, two_and_one, replace(SPEC, replays=True))
    assert journal.looks == ["a#0", "a#1", "b#0"]
    assert found == [["as JSON has it", 2], "second", None]
    assert journal.kept == {"a#0": 2, "a#1": "second", "b#0": None}


async def test_one_that_learns_that_another_process_began_it_reads_from_then_on() -> None:
    journal = Notebook(**{"a#0": "first", "a#1": "second"})

    async def work(ctx: Context) -> object:
        before = await ctx.step("a", doubled, 1)
        ctx.replay()
        return [before, await ctx.step("a", doubled, 1)]

    assert await carry_out(journal, work) == [["as JSON has it", 2], "second"]
    assert journal.looks == ["a#1"]


async def test_a_step_that_raises_is_not_kept_and_the_next_one_is() -> None:
    journal = Notebook()

    async def work(ctx: Context) -> object:
        with pytest.raises(ValueError, match="not today"):
            await ctx.step("a", broken)
        return await ctx.step("a", doubled, 1)

    await carry_out(journal, work)
    assert journal.kept == {"a#1": 2}


async def test_a_job_whose_steps_are_not_worth_it_keeps_none() -> None:
    journal = Notebook()
    spec = replace(SPEC, journal=False, replays=True)
    assert await carry_out(journal, two_and_one, spec) == [2, 4, 6]
    assert (journal.kept, journal.looks) == ({}, [])


@pytest.mark.parametrize("journals", [True, False])
async def test_a_branch_of_a_job_has_no_steps(journals: bool) -> None:
    journal = Notebook()

    async def work(ctx: Context) -> object:
        async def branch() -> int:
            return await ctx.step("a", doubled, 1)

        return await asyncio.get_running_loop().create_task(branch())

    with pytest.raises(InvalidInputError, match="make parallel branches child tasks"):
        await carry_out(journal, work, replace(SPEC, journal=journals))
    assert journal.kept == {}
