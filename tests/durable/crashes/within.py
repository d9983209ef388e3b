"""What is killed: agents and tasks within others, summaries, state, typed outputs."""

import asyncio
from dataclasses import dataclass

from sidetask import Agent, AgentHandle, RunContext, background, tool
from sidetask.agents.guards.compaction import Compaction
from sidetask.core.budget import Budget
from sidetask.core.routing import TaskPolicy
from sidetask.core.usage import Usage
from sidetask.models.base import Finished
from sidetask.orchestration import batch
from sidetask.testing import call, reply
from tests.durable.crashes.lives import Life, Story, brain, rest
from tests.durable.crashes.stories import SHORT, says
from tests.durable.crashes.world import World

RETRY = TaskPolicy(idempotent=True, on_crash="retry")
USED = Finished(usage=Usage(requests=1, input_tokens=7, usd=1.0))


def families(world: World) -> list[Agent]:
    @tool
    async def note(ctx: RunContext[object]) -> str:
        """Write something down, once."""
        world.act(f"note {ctx.task_id}")
        ctx.state.set("noted", True)
        await asyncio.sleep(SHORT)
        return "noted"

    model = brain({"help": [call("note"), "Helped."]})
    helper = Agent(model, name="helper", instructions="Helps.", tools=[note])
    beside = helper.as_tool(name="beside", route=background())
    plan = {
        "call": [call("helper", input="help"), "It helped."],
        "beside": [call("beside", input="help"), "It will."],
    }
    return [Agent(brain(plan), name="head", tools=[helper.as_tool(), beside]), helper]


def crowds(world: World) -> list[Agent]:
    spender = Agent(brain({"help": [reply("Spent.", USED)]}), name="spender")

    @tool(route=background())
    async def crowd(ctx: RunContext[object]) -> str:
        """Let agents work until their budget is spent, once."""
        world.act(f"crowd {ctx.task_id}")
        async with batch(1, budget=Budget(usd=1.5)) as b:
            for number in range(3):
                b.dispatch(spender, input="help", name=f"n{number}")
            ends = [str(done.status) async for done in b.as_completed()]
        return " ".join(ends)

    return [Agent(brain({"crowd": [call("crowd"), "They will."]}), name="head", tools=[crowd])]


def parents(world: World) -> list[Agent]:
    @tool(route=background(), policy=RETRY)
    async def parent(ctx: RunContext[object]) -> str:
        """Have two children."""
        words: list[str] = []
        for number in range(2):
            words.append(str(await ctx.spawn("child", number=number)))
            world.finish(f"{ctx.task_id} child {number}")
        return " ".join(words)

    @tool
    async def child(ctx: RunContext[object], number: int) -> str:
        """Be somebody's child."""
        world.begin(f"{ctx.task_id.rpartition('.')[0].rpartition('.')[0]} child {number}")
        await asyncio.sleep(SHORT)
        return f"child {number}"

    @tool(route=background(), policy=RETRY)
    async def careful(ctx: RunContext[object]) -> str:
        """Have a child that asks."""
        return str(await ctx.spawn("sign"))

    @tool(approval="ask")
    async def sign(ctx: RunContext[object]) -> str:
        """Sign, when a person agrees."""
        world.begin(f"{ctx.task_id} sign")
        return "signed"

    plan = {
        "parent": [call("parent"), "They will."],
        "careful": [call("careful"), "It will."],
    }
    return [Agent(brain(plan), name="head", tools=[parent, child, careful, sign])]


async def asked(life: Life, chat: AgentHandle) -> None:
    await life.ask(chat, "careful")
    await rest(life, chat)


def notaries(world: World) -> list[Agent]:
    @tool(approval="ask")
    async def sign(ctx: RunContext[object]) -> str:
        """Sign, when a person agrees."""
        world.act(f"sign {ctx.task_id}")
        return "signed"

    @tool(route=background())
    async def search(ctx: RunContext[object]) -> str:
        """Search, once."""
        world.act(f"search {ctx.task_id}")
        await asyncio.sleep(SHORT)
        return "found"

    model = brain({"help": [call("sign"), "Signed."]})
    notary = Agent(model, name="notary", instructions="Signs.", tools=[sign])
    model = brain({"help": [call("search"), call("notary", input="help"), "Filed."]})
    clerk = Agent(model, name="clerk", instructions="Files.", tools=[search, notary.as_tool()])
    plan = {
        "notary": [call("notary", input="help"), "It will."],
        "again": [call("again", input="help"), "It will."],
        "clerk": [call("clerk", input="help"), "It has."],
    }
    tools = [
        notary.as_tool(route=background()),
        notary.as_tool(name="again", route=background(), policy=RETRY),
        clerk.as_tool(),
    ]
    return [Agent(brain(plan), name="head", tools=tools)]


def has_asked(word: str):
    """A first life in which an agent below asks."""

    async def first(life: Life, chat: AgentHandle) -> None:
        response = await chat.chat(word)
        await asyncio.sleep(SHORT)
        await rest(life, chat)
        reply = await response
        if life.world.alive:
            life.world.answers.append(reply.text)

    return first


async def spawned(life: Life, chat: AgentHandle) -> None:
    below = await chat.spawn_subagent(life.agents[1])
    await below.ask("help")
    await life.ask(chat, "hi")


def long_winded(world: World) -> list[Agent]:
    long = "word " * 1000
    plan = {"one": [long], "two": [long], "three": ["Short."]}
    model = brain(plan, context_window=4000)
    return [Agent(model, name="long", compaction=Compaction(keep_turns=1))]


def stateful(world: World) -> list[Agent]:
    @tool
    async def write(ctx: RunContext[object], number: int) -> str:
        """Write to the state."""
        ctx.state.set("own", number)
        ctx.state.set("user:own", number)
        ctx.state.set("app:own", [number])
        ctx.state.set("temp:own", number)
        if number == 2:
            ctx.state.delete("first")
        await asyncio.sleep(SHORT)
        ctx.state.set("later", number)
        return "written"

    plan = {"1": [call("write", number=1), "One."], "2": [call("write", number=2), "Two."]}
    return [Agent(brain(plan), name="stateful", tools=[write])]


async def stated(life: Life, chat: AgentHandle) -> None:
    chat.state.set("first", True)
    await life.ask(chat, "1")
    await life.ask(chat, "2")


@dataclass
class Sum:
    total: int


def typed(world: World) -> list[Agent]:
    model = brain({"add": ["three"]}, otherwise='{"total": 3}')
    return [Agent(model, name="typed", output_type=Sum)]


def paid(world: World) -> list[Agent]:
    plan = {"one": [reply("One.", USED)], "two": [reply("Two.", USED)]}
    return [Agent(brain(plan), name="paid")]


STORIES = (
    Story(name="sub-agent", agents=families, first=says("call")),
    Story(name="sub-agent-beside", agents=families, first=says("beside")),
    Story(name="spawned", agents=families, first=spawned),
    Story(name="sub-agent-asks", agents=notaries, first=has_asked("notary")),
    Story(name="sub-agent-asks-again", agents=notaries, first=has_asked("again")),
    Story(name="agents-below", agents=notaries, first=has_asked("clerk")),
    Story(name="crowd", busy=True, agents=crowds, first=says("crowd")),
    Story(name="children", agents=parents, first=says("parent")),
    Story(name="child-asks", agents=parents, first=asked),
    Story(name="compacted", agents=long_winded, first=says("one", "two", "three")),
    Story(name="state", agents=stateful, first=stated),
    Story(name="typed", agents=typed, first=says("add")),
    Story(name="paid", busy=True, agents=paid, first=says("one", "two")),
)
