"""The demo's story: what the user says, what the model answers, and what really runs.

Scripted is what the models say. Real are the tools, the fifty sub-agents with their own
conversations, the process, the tasks and their caps, the Stop, the approval, and every event.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from sidetask.agents.tools import AnyTool, tool
from sidetask.cli.demo.actor import Actor, Line
from sidetask.core.events import Event, Lagged
from sidetask.core.messages import (
    AssistantMessage,
    Notification,
    NotificationMessage,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from sidetask.core.routing import TaskPolicy, background, detach_after
from sidetask.models.base import ModelRequest
from sidetask.runtime.agent import Agent
from sidetask.runtime.handle import AgentHandle
from sidetask.runtime.runtime import Runtime
from sidetask.tasks.context import RunContext

SUB_AGENTS = 50
CAP = 8
"""Sub-agents at work at once."""

REVIEW = "Review the files here, one sub-agent each."
CHECK = "Meanwhile: run the checks."
ASK = "How far are you?"
TELL = "Tell me a long story while we wait."
PUBLISH = "Publish the report when you can."

_ids = count(1)


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the demo plays."""

    files: list[Path]
    shell: AnyTool
    command: str
    """What the model runs as "the checks"."""
    say: Callable[[str], None]
    """Tells whoever watches."""


def files_below(root: Path) -> list[Path]:
    """Up to fifty readable files, smaller ones first; repeated if there are fewer."""
    found = [
        path
        for path in sorted(root.rglob("*"))
        if path.is_file()
        and not path.is_symlink()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    ][:2_000]
    found.sort(key=lambda path: (path.stat().st_size, str(path)))
    useful = [path for path in found if path.stat().st_size][:SUB_AGENTS]
    return [useful[index % len(useful)] for index in range(SUB_AGENTS)] if useful else []


async def play(stage: Stage) -> list[Event]:
    """Play the story and return the event log of its conversation."""
    async with Runtime(max_auto_turns=SUB_AGENTS) as runtime:
        agent = Agent(Actor(_Part(stage).next), name="assistant", tools=_tools(runtime, stage))
        async with runtime.open(agent) as chat:
            await _talk(chat, stage)
            facts = chat.events(after=0, follow=False)
            return [fact async for fact in facts if not isinstance(fact, Lagged)]


async def _talk(chat: AgentHandle, stage: Stage) -> None:
    for line in (REVIEW, CHECK, ASK, PUBLISH):
        stage.say(f"you        {line}")
        stage.say(f"assistant  {await chat.ask(line)}")
    stage.say(f"you        {TELL}")
    response = await chat.chat(TELL)
    async for _ in response.text_stream():
        if len(response.text.split()) >= 12:
            stage.say("you        (Stop)")
            await chat.interrupt()
            break
    running = len(chat.tasks.running())
    stage.say(f"assistant  {response.text.strip()} …")
    stage.say(f"           the turn is cut, and {running} tasks are alive")
    stage.say("you        Go on.")
    stage.say(f"assistant  {await chat.ask('Go on.')}")
    async for turn in chat.turns(until="idle"):
        stage.say(f"assistant  {await turn}  (by itself)")
    idle = await chat.wait_for_idle()
    stage.say(f"           idle: {idle.approvals} approval is still open, and held up nobody")


def _tools(runtime: Runtime, stage: Stage) -> list[AnyTool]:
    @tool(route=background(), policy=TaskPolicy(cap=CAP))
    async def review(ctx: RunContext[None], path: str) -> str:
        """Let a sub-agent read one file and report on it."""
        await ctx.progress(None, path)
        sub_agent = Agent(
            Actor(_reviewer, thinks=_thinking(path)), name="reviewer", tools=[measure]
        )
        async with runtime.open(sub_agent) as chat:
            return str(await chat.ask(path))

    @tool
    def measure(path: str) -> str:
        """Count the lines and bytes of a file."""
        content = Path(path).read_bytes()
        lines = content.count(b"\n")
        return f"{Path(path).name}: {lines} lines, {len(content)} bytes"

    @tool(route=background(), approval="ask")
    async def publish(title: str) -> str:
        """Publish the report for everybody to see."""
        return f"published {title}"

    shell = replace(stage.shell, route=detach_after(1.0), approval=None)
    return [review, publish, shell]


def _thinking(path: str) -> float:
    """Seconds: some sub-agents are slower than others, the same ones each time."""
    return 0.25 + (sum(path.encode()) % 17) / 20


def _reviewer(request: ModelRequest) -> Line:
    last = request.messages[-1]
    if isinstance(last, UserMessage):
        return [_call("measure", path=last.text)]
    assert isinstance(last, ToolMessage)
    return last.results[0].content


class _Part:
    """What the assistant says."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def next(self, request: ModelRequest) -> Line:
        """Answer what was said last, and mention the results that came since."""
        news: list[Notification] = []
        for message in reversed(request.messages):
            match message:
                case NotificationMessage(items):
                    news += items
                case ToolMessage():
                    return self._answered(message) + self._told(request, news)
                case UserMessage():
                    line = self._asked(message.text)
                    return line + self._told(request, news) if isinstance(line, str) else line
                case AssistantMessage():
                    break
        return self._told(request, news).strip()

    def _asked(self, text: str) -> Line:
        match text:
            case line if line == REVIEW:
                return [_call("review", path=str(path)) for path in self._stage.files]
            case line if line == CHECK:
                return [_call(self._stage.shell.name, command=self._stage.command)]
            case line if line == ASK:
                return [_call("list_tasks")]
            case line if line == PUBLISH:
                return [_call("publish", title="the review")]
            case line if line == TELL:
                return "Once upon a time there was a model that " + "talked and " * 200
            case _:
                return "I was cut short, and my sub-agents never noticed."

    def _answered(self, message: ToolMessage) -> str:
        names = {result.name for result in message.results}
        if names == {"review"}:
            return f"{len(message.results)} sub-agents are at work. What else?"
        if names == {"list_tasks"}:
            return f"{message.results[0].content.count('task_id')} tasks are still at work."
        if names == {"publish"}:
            return "Somebody has to approve that first. It holds up nobody."
        return "The checks run beside us."

    def _told(self, request: ModelRequest, news: list[Notification]) -> str:
        if not news:
            return ""
        told = [each for each in request.messages if isinstance(each, NotificationMessage)]
        reviewed = sum(item.name == "review" for each in told for item in each.items)
        others = [item.name for item in news if item.name != "review"]
        text = f" Reports so far: {reviewed} of {SUB_AGENTS}."
        return f"{text} Done: {', '.join(others)}." if others else text


def _call(name: str, /, **arguments: str) -> ToolCall:
    return ToolCall.make(name, arguments, id=f"demo-{next(_ids)}")
