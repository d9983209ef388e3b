"""What the runtime makes of state: whose it is, who wrote it, and when it is cleared."""

from sidetask import Agent, RunContext, Runtime, tool
from sidetask.testing import ScriptedModel, call


@tool
async def note(ctx: RunContext[None], key: str, value: str) -> str:
    """Write a value."""
    ctx.state.set(key, value)
    return "noted"


def writer(*keys: str) -> Agent:
    script = [reply for key in keys for reply in (call("note", key=key, value="v"), "done")]
    return Agent(ScriptedModel(*script), tools=[note])


async def test_app_is_shared_by_all_and_user_by_the_conversations_of_a_user() -> None:
    async with Runtime() as runtime:
        first = await runtime.open(writer("app:a", "user:u", "own"), user="ana")
        second = await runtime.open(writer(), user="ana")
        other = await runtime.open(writer(), user="bob")
        for _ in range(3):
            await first.ask("go")
        seen = [
            ["app:a" in chat.state, "user:u" in chat.state, "own" in chat.state]
            for chat in (first, second, other)
        ]
    assert seen == [[True, True, True], [True, True, False], [True, False, False]]


async def test_a_tools_write_says_which_task_wrote_it() -> None:
    async with Runtime() as runtime:
        chat = await runtime.open(writer("k"))
        await chat.ask("go")
        written = chat.state.provenance("k")
    assert written is not None
    assert (written.source, written.task_id, written.run_id) == ("tool", "task-1", "run:turn-1")


async def test_what_belongs_to_a_turn_is_gone_when_the_next_one_starts() -> None:
    async with Runtime() as runtime:
        chat = await runtime.open(writer("turn:t", "own"))
        await chat.ask("go")
        before = "turn:t" in chat.state
        await chat.ask("go")
        assert (before, "turn:t" in chat.state, "own" in chat.state) == (True, False, True)
