"""What a person is asked before a tool runs, and who decides whether to ask."""

import asyncio
import re
from operator import itemgetter
from typing import Any, cast

import pytest

from sidetask.agents.tools import AnyTool, Tool, tool
from sidetask.core.ids import CallId, ConversationId, TaskId
from sidetask.core.messages import ToolCall
from sidetask.tasks.context import RunContext, TaskHost
from sidetask.tasks.values import (
    ApprovalNeeded,
    ApprovalRequest,
    Completed,
    Errored,
    Refused,
    ToolOutcome,
)


class Host:
    """As much of a task host as knows of approvals."""

    def __init__(self) -> None:
        self.approved: set[tuple[str, str]] = set()

    def is_approved(self, kind: str, digest: str) -> bool:
        return (kind, digest) in self.approved


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def ctx(host: Host) -> RunContext[None]:
    return RunContext(
        cast(TaskHost, host),
        deps=None,
        conversation_id=ConversationId("c"),
        task_id=TaskId("t"),
        call_id=CallId("call"),
    )


async def run(used: AnyTool, ctx: RunContext[None], **arguments: Any) -> ToolOutcome:
    async with asyncio.timeout(5):
        return await used.execute(ToolCall.make(used.name, arguments), ctx)


def text_of(outcome: ToolOutcome) -> str:
    assert isinstance(outcome, Completed), outcome
    return outcome.content


@pytest.fixture
def ran() -> list[str]:
    return []


@pytest.fixture
def shell(ran: list[str]) -> AnyTool:
    @tool(approval="ask")
    async def shell(command: str) -> str:
        ran.append(command)
        return "done"

    return shell


async def test_a_tool_that_asks_runs_only_when_this_very_call_is_approved(
    shell: AnyTool, ran: list[str], host: Host, ctx: RunContext[None]
) -> None:
    assert await run(shell, ctx, command="rm -rf x") == ApprovalNeeded(
        (ApprovalRequest(reason="shell asks before it runs", summary="shell: rm -rf x"),)
    )
    assert ran == []
    host.approved.add(("tool", ToolCall.make("shell", {"command": "rm -rf x"}).digest()))
    assert isinstance(await run(shell, ctx, command="rm -rf y"), ApprovalNeeded)
    assert text_of(await run(shell, ctx, command="rm -rf x")) == "done"
    assert ran == ["rm -rf x"]


async def test_arguments_that_do_not_fit_are_told_before_anybody_is_asked(
    shell: AnyTool, ctx: RunContext[None]
) -> None:
    outcome = await run(shell, ctx)
    assert isinstance(outcome, Errored)
    assert outcome.error_type == "ToolArgumentsError"


async def test_a_rule_sees_parsed_arguments_and_decides(host: Host, ctx: RunContext[None]) -> None:
    seen: list[dict[str, Any]] = []

    def big(arguments: dict[str, Any]) -> bool:
        seen.append(dict(arguments))
        arguments["amount"] += 1_000  # a rule decides, it does not change the call
        return seen[-1]["amount"] > 100

    @tool(approval=big)
    async def pay(amount: int, to: str = "me") -> str:
        return f"{amount} to {to}"

    assert text_of(await run(pay, ctx, amount="7")) == "7 to me"
    assert isinstance(await run(pay, ctx, amount=101), ApprovalNeeded)
    assert seen == [{"amount": 7, "to": "me"}, {"amount": 101, "to": "me"}]
    host.approved.add(("tool", ToolCall.make("pay", {"amount": 101}).digest()))
    assert text_of(await run(pay, ctx, amount=101)) == "101 to me"


def forgetful(arguments: dict[str, Any]) -> None: ...
def wordy(arguments: dict[str, Any]) -> str:
    return "no"


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        (itemgetter("missing"), "rule of it failed.*KeyError"),
        (forgetful, "rule of it said None.*True asks a person, False lets it run"),
        (wordy, "rule of it said 'no'"),
    ],
)
async def test_a_rule_that_fails_or_says_nothing_denies(
    rule: Any, reason: str, ran: list[str], ctx: RunContext[None]
) -> None:
    @tool(approval=rule)
    async def it() -> None:
        ran.append("it")

    outcome = await run(it, ctx)
    assert isinstance(outcome, Refused)
    assert re.search(reason, outcome.reason)
    assert ran == []


@pytest.mark.parametrize(
    ("arguments", "summary"),
    [
        ({}, "it"),
        ({"a": "rm x"}, "it: rm x"),
        ({"a": "ü"}, "it: ü"),
        ({"a": 1}, "it: a=1"),
        ({"a": "x", "b": ["ü", None]}, 'it: a="x", b=["ü", null]'),
        ({"a": "one\ntwo\x1b[2J"}, 'it: a="one\\ntwo\\u001b[2J"'),
        ({"a": "safe \u202etxt.exe"}, 'it: a="safe \\u202etxt.exe"'),
        ({"\x1b[2J": 1, "b": 2}, 'it: "\\u001b[2J"=1, b=2'),
        ({"a": "x" * 400}, f"it: {'x' * 300} [... 100 more characters]"),
    ],
)
async def test_the_summary_is_one_line_that_shows_the_models_arguments(
    arguments: dict[str, Any], summary: str, ctx: RunContext[None]
) -> None:
    async def body(arguments: dict[str, Any], ctx: RunContext[Any]) -> None: ...

    outcome = await run(
        Tool.from_schema(body, {"type": "object"}, name="it", approval="ask"), ctx, **arguments
    )
    assert isinstance(outcome, ApprovalNeeded)
    assert outcome.requests[0].summary == summary
