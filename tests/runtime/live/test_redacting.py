"""Contents that are kept out of a store, whichever way they go; and what that costs."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidetask import Agent, AgentHandle, RunContext, Runtime, TaskPolicy, background, tool
from sidetask.agents.guards.compaction import Compaction
from sidetask.client import Client
from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.jsons import Json
from sidetask.core.messages import (
    AssistantMessage,
    File,
    Image,
    NotificationMessage,
    Text,
    Thinking,
    ToolMessage,
    UserMessage,
)
from sidetask.stores.opening import open_store
from sidetask.tasks.durable.cleaning import REMOVED, Cleaner, Redact, remove
from sidetask.tasks.durable.redacted import RedactedStore
from sidetask.testing import ScriptedModel, call, running_runtime
from tests.runtime.harness import assert_valid

pytestmark = pytest.mark.slow

SECRET = "4711-hush"
RETRY = TaskPolicy(idempotent=True, on_crash="retry")


def hush(value: Json, where: str) -> Json:
    """What a host might give: the secret becomes stars, wherever it stands."""
    match value:
        case str():
            return value.replace(SECRET, "***")
        case Mapping():
            return {hush(key, where): hush(item, where) for key, item in value.items()}  # type: ignore[misc]
        case list() | tuple():
            return [hush(item, where) for item in value]
        case _:
            return value


SETTINGS: list[dict[str, Any]] = [{"store_content": False}, {"redact": hush}]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test.db"


async def step() -> str:
    return f"step {SECRET}"


@tool(route=background(), policy=RETRY)
async def work(ctx: RunContext[None], what: str) -> str:
    """Work in the background."""
    await ctx.progress(0.5, f"half of {what}")
    ctx.state.set("mine", what)
    ctx.state.set("user:theirs", {"deep": [what]})
    ctx.state.set("app:all", what)
    await ctx.request_approval(f"may I {what}?", detail=what)
    done = await ctx.step("one", step)
    assert SECRET in done, "the running process has what it has"
    return f"did {what}" + " and more" * 3_000


@tool
async def fail(what: str) -> str:
    """Fail."""
    raise ValueError(f"no luck with {what}")


@tool(route=background(), policy=RETRY)
async def wait(what: str) -> str:
    """Wait for ever."""
    await asyncio.sleep(1_000_000)
    return what


@asynccontextmanager
async def runtime_on(path: Path, agent: Agent, **settings: Any) -> AsyncGenerator[Runtime]:
    store = f"sqlite:///{path}"
    async with running_runtime(
        store=store, agents=[agent], on_approval="host", **settings
    ) as runtime:
        yield runtime
        for chat in runtime.live_agents:
            await chat.disconnect()


def clerk(*script: Any) -> Agent:
    model = ScriptedModel(*script, context_window=6_000)
    tools = [work, fail, wait]
    return Agent(model, name="clerk", tools=tools, compaction=Compaction(keep_turns=1))


def raw(path: Path) -> bytes:
    """All that the database's files hold."""
    return b"".join(each.read_bytes() for each in sorted(path.parent.glob("test.db*")))


async def all_paths(chat: AgentHandle) -> None:
    """Let the secret go everywhere."""
    await chat.ask(f"The secret is {SECRET}.")
    asked = await approval_of(chat)
    decided = chat.approvals.approve(asked, by="ana", note=f"ok {SECRET}")
    await chat.tasks.wait(decided.task_id)
    await chat.wait_for_idle()
    assert SECRET in str(chat.state.snapshot())
    for number in range(3):
        await chat.ask(f"{number} " + f"{SECRET} " * 1_500)
    assert chat.compaction_indices


async def approval_of(chat: AgentHandle) -> str:
    async with asyncio.timeout(10):
        while not chat.approvals:  # noqa: ASYNC110 - it is asked in another asyncio task
            await asyncio.sleep(0.01)
    [asked] = chat.approvals
    return asked.id


SCRIPT = (
    (call("work", what=SECRET), call("fail", what=SECRET)),
    f"I began with {SECRET}.",
    f"Done with {SECRET}.",
    *[f"{SECRET} is what I say."] * 12,
)


@pytest.mark.parametrize("settings", SETTINGS)
async def test_a_secret_that_went_every_way_is_nowhere_in_the_files(
    path: Path, settings: dict[str, Any]
) -> None:
    async with (
        runtime_on(path, clerk(*SCRIPT), **settings) as runtime,
        runtime.open("clerk", conversation_id="mine", user="ana") as chat,
    ):
        await all_paths(chat)
        assert SECRET in str(chat.history()), "in memory nothing is changed"
        assert SECRET.encode() not in raw(path)
        said, turns = [type(each) for each in chat.history()], chat.turn_count
        await chat.disconnect()
    assert SECRET.encode() not in raw(path)
    async with Client(f"sqlite:///{path}") as client:
        [kept] = await client.conversations(user="ana")
        assert (kept.id, kept.agent, kept.turns) == ("mine", "clerk", turns)
        [task] = [each for each in await client.tasks(status=None) if each.name == "work"]
        assert (task.status, task.policy.on_crash) == ("succeeded", "retry")
        [asked] = await client.approvals(status=None)
        assert (asked.value.decided_by, str(asked.value.decision)) == ("ana", "approved")
        history = await client.history("mine")
        assert [type(each) for each in history] == said
        assert_valid(history)


async def test_without_the_wrapper_it_is_there(path: Path) -> None:
    """What the test before is worth."""
    async with (
        runtime_on(path, clerk(*SCRIPT)) as runtime,
        runtime.open("clerk", conversation_id="mine", user="ana") as chat,
    ):
        await all_paths(chat)
        await chat.disconnect()
    assert raw(path).count(SECRET.encode()) > 30


async def test_a_conversation_goes_on_without_its_content(path: Path) -> None:
    async with runtime_on(path, clerk("Hello."), store_content=False) as runtime:
        chat = await runtime.open("clerk", conversation_id="mine")
        chat.state.set("budget", 5)
        await chat.ask("I am Ana.")
        usage = chat.total_usage
    async with (
        runtime_on(path, clerk("Hello again."), store_content=False) as runtime,
        runtime.resume("mine") as chat,
    ):
        assert [getattr(each, "text", "") for each in chat.history()] == [REMOVED, REMOVED]
        assert "budget" not in chat.state
        assert (chat.turn_count, chat.total_usage) == (1, usage)
        assert str(await chat.ask("Who am I?")) == "Hello again."


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("name", ["wait", "work"])
async def test_a_task_whose_arguments_are_gone_is_told_as_such_and_not_run_again(
    path: Path, name: str, settings: dict[str, Any]
) -> None:
    """The one runs, the other waits for a person; their policy would run them again."""
    async with runtime_on(path, clerk(call(name, what=SECRET), "Begun."), **settings) as runtime:
        chat = await runtime.open("clerk", conversation_id="mine")
        await chat.ask("Begin.")
        if name == "work":
            await approval_of(chat)
    for life in range(2):  # whoever takes it up, with or without the settings
        async with (
            runtime_on(path, clerk("Oh."), **(settings if life else {})) as runtime,
            runtime.resume("mine") as chat,
        ):
            await chat.wait_for_idle()
            [told] = [
                item
                for message in chat.history()
                if isinstance(message, NotificationMessage)
                for item in message.items
            ]
            assert told.status == "failed"
            if not life:
                assert "arguments were kept out of the store" in told.content
            assert len(chat.approvals) == 0


async def test_what_has_no_secret_is_run_again_where_only_secrets_are_redacted(path: Path) -> None:
    async with runtime_on(path, clerk(call("wait", what="it"), "Begun."), redact=hush) as runtime:
        chat = await runtime.open("clerk", conversation_id="mine")
        await chat.ask("Begin.")
    async with (
        runtime_on(path, clerk("Oh."), redact=hush) as runtime,
        runtime.resume("mine") as chat,
    ):
        [again] = runtime.tasks.list()
        assert (again.attempt, again.arguments) == (2, '{"what": "it"}')


async def test_the_running_process_has_its_state_however_it_was_stored(path: Path) -> None:
    async with runtime_on(path, clerk("Hello."), redact=hush) as runtime:
        chat = await runtime.open("clerk", conversation_id="mine")
        chat.state.set("app:all", SECRET)
        chat.state.set("own", SECRET)
        other = await runtime.open("clerk", conversation_id="other")
        assert other.state["app:all"] == SECRET
        await chat.ask("hi")
        await chat.disconnect()
        again = await runtime.resume("mine")
        assert (again.state["own"], again.state["app:all"]) == (SECRET, SECRET)
        async with Client(f"sqlite:///{path}") as client:
            assert await client.state("mine") == {"app:all": "***", "own": "***"}


async def test_what_is_sent_by_another_process_is_refused_where_it_would_be_lost(
    path: Path,
) -> None:
    async with runtime_on(path, clerk("Hello.", "Yes.")) as runtime:
        chat = await runtime.open("clerk", conversation_id="mine")
        await chat.ask("hi")
        store = RedactedStore(open_store(f"sqlite:///{path}"), remove)
        async with Client(store) as client:
            with pytest.raises(InvalidInputError, match="nobody would get it"):
                await client.send("mine", "hello")
        await store.close()


async def test_a_yes_to_other_arguments_that_were_not_stored_runs_nothing(path: Path) -> None:
    @tool(route=background(), approval="ask")
    async def pay(card: str) -> str:
        """Pay."""
        return f"paid by {card}"

    agent = Agent(ScriptedModel(call("pay", card="mine"), "Asked.", "Oh."), name="c", tools=[pay])
    async with (
        runtime_on(path, agent) as runtime,
        runtime.open("c", conversation_id="mine") as chat,
    ):
        await chat.ask("Pay.")
        store = RedactedStore(open_store(f"sqlite:///{path}"), hush)
        async with Client(store) as client:
            asked = await approval_of(chat)
            decided = await client.approve(asked, by="ana", arguments={"card": SECRET})
        await store.close()
        result = await chat.tasks.wait(decided.task_id)
        assert str(result.status) == "denied"
        assert "not stored" in result.content


def cleaned(value: Any, redact: Redact = remove) -> Any:
    return Cleaner(redact).clean(value)


def test_pictures_files_and_thoughts_are_left_out() -> None:
    message = UserMessage((Text("look"), Image(data=b"\x89PNG"), File(media_type="x/y", url="u")))
    assert cleaned(message).parts == (Text(REMOVED),) * 3
    assert cleaned(AssistantMessage((Thinking("hm", "signed"),))).parts == (Thinking(REMOVED),)
    assert cleaned(message, lambda value, where: value) is message


def test_a_function_is_told_where_a_value_stands() -> None:
    seen: list[str] = []

    def note(value: Json, where: str) -> Json:
        seen.append(where)
        return value

    cleaned(AssistantMessage((Text("a"), call("pay", amount=5))), note)
    assert seen == ["Text.text", "ToolCall.arguments"]


@pytest.mark.parametrize("told", [None, 5, [], "text", {"a": 1}])
def test_whatever_a_function_returns_is_stored_as_what_can_be_read(told: Json) -> None:
    from sidetask.core.codec import message_from_json, message_to_json  # noqa: PLC0415

    for message in (
        UserMessage((Text("hi"),)),
        AssistantMessage((call("pay", amount=5),)),
        ToolMessage(()),
    ):
        after = cleaned(message, lambda value, where: told)
        assert message_from_json(message_to_json(after)) == after
        for each in getattr(after, "calls", ()):
            each.parsed()


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="say one of them"):
        Runtime(store_content=False, redact=hush)
    with pytest.raises(ConfigurationError, match="tables of its own"):
        Runtime(store="sqlite:///x.db", store_content=False, engine="dbos")
