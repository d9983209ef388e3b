"""Policies in a conversation: what runs, what is refused, who is asked, and how often."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest
from tests.runtime.harness import Talk, beside, talking

from sidetask import Agent, RunContext, background, tool
from sidetask.agents.policies import (
    AskFirst,
    Change,
    Deny,
    HookContext,
    Hooks,
    Policy,
    ToolUse,
    allow,
    ask,
    deny,
)
from sidetask.core.errors import ConfigurationError
from sidetask.core.ids import CallId
from sidetask.core.jsons import Json
from sidetask.core.messages import ToolCall
from sidetask.models.scripted import call, reply
from sidetask.tasks.values import Approval
from sidetask.testing import ScriptedModel, running_runtime

HOST: dict[str, Any] = {"on_approval": "host"}


class Ran:
    """A tool that notes what it ran with."""

    def __init__(self, **options: Any) -> None:
        self.calls: list[str] = []
        self.tool = tool(**options)(self.write)

    async def write(self, path: str) -> str:
        """Write a file."""
        self.calls.append(path)
        return f"wrote {path}"


def answer(talk: Talk) -> str:
    return talk.answers()[-1].content


async def test_a_denied_call_is_not_run_and_the_model_reads_why() -> None:
    ran = Ran()
    policy = Policy(deny("write", reason="nothing is written on Sundays"))
    async with talking(call("write", path="a"), "ok", tools=[ran.tool], policy=policy) as talk:
        await talk.chat.ask("go")
        assert "nothing is written on Sundays" in answer(talk)
        assert talk.kinds().count("task_denied") == 1
    assert ran.calls == []


async def test_a_rule_sees_the_arguments() -> None:
    ran = Ran()
    policy = Policy(deny("write", when=lambda a: str(a["path"]).startswith("/etc")))
    calls = reply(call("write", path="/etc/passwd"), call("write", path="/tmp/a"))
    async with talking(calls, "ok", tools=[ran.tool], policy=policy) as talk:
        await talk.chat.ask("go")
    assert ran.calls == ["/tmp/a"]


async def test_whoever_is_asked_is_asked_once_and_the_call_runs_once() -> None:
    ran = Ran(approval="ask")  # the tool asks, and so does the policy: that is one question
    script = [call("write", path="a"), "ok"]
    policy = Policy(ask("write", reason="look first"))
    async with talking(*script, tools=[ran.tool], policy=policy, runtime=HOST) as talk:
        asking = await beside(talk.chat.ask("go"))
        [approval] = talk.chat.approvals
        assert (approval.reason, approval.summary) == ("look first", "write: a")
        talk.chat.approvals.approve(approval.id, by="ana")
        await asking
        assert answer(talk) == "wrote a"
        assert talk.kinds().count("approval_requested") == 1
    assert ran.calls == ["a"]


async def test_a_handler_answers_and_others_wait_for_nobody() -> None:
    ran = Ran()
    asked: list[str] = []

    async def decide(approval: Approval) -> bool | Deny:
        asked.append(approval.summary)
        await asyncio.sleep(5)
        return True if approval.summary == "write: a" else Deny("not that one")

    calls = reply(call("write", path="a"), call("write", path="b"))
    runtime = {"on_approval": decide, "policy": Policy(ask("write"))}
    async with talking(calls, "ok", tools=[ran.tool], runtime=runtime) as talk:
        await talk.chat.ask("go")
        assert asyncio.get_running_loop().time() == pytest.approx(5)
        assert [each.content for each in talk.answers()] == [
            "wrote a",
            "The call was denied: not that one.",
        ]
    assert sorted(asked) == ["write: a", "write: b"]
    assert ran.calls == ["a"]


async def test_a_handler_may_change_the_arguments_and_the_rules_see_them_again() -> None:
    ran = Ran()

    async def decide(approval: Approval) -> Change:
        path = approval.call.parsed()["path"]
        return Change({"path": "/etc/x" if path == "a" else "b"})

    policy = Policy(ask("write"), deny("write", when=lambda a: a["path"] == "/etc/x"))
    runtime = {"on_approval": decide, "policy": policy}
    calls = reply(call("write", path="a"), call("write", path="c"))
    async with talking(calls, "ok", tools=[ran.tool], runtime=runtime) as talk:
        await talk.chat.ask("go")
        assert [each.is_error for each in talk.answers()] == [True, False]
    assert ran.calls == ["b"]


@pytest.mark.parametrize("said", [KeyError("boom"), "yes", None])
async def test_a_handler_that_fails_or_talks_nonsense_denies(said: object) -> None:
    ran = Ran()

    async def decide(_: Approval) -> Any:
        if isinstance(said, Exception):
            raise said
        return said

    runtime = {"on_approval": decide, "policy": Policy(ask("write"))}
    async with talking(call("write", path="a"), "ok", tools=[ran.tool], runtime=runtime) as talk:
        await talk.chat.ask("go")
        assert "denied" in answer(talk)
    assert ran.calls == []


async def test_a_person_who_decides_before_the_handler_is_right() -> None:
    ran = Ran()

    async def decide(_: Approval) -> bool:
        await asyncio.sleep(5)
        return True

    runtime = {"on_approval": decide, "policy": Policy(ask("write"))}
    async with talking(call("write", path="a"), "ok", tools=[ran.tool], runtime=runtime) as talk:
        asking = await beside(talk.chat.ask("go"))
        [approval] = talk.chat.approvals
        talk.chat.approvals.deny(approval.id, "no", by="ana")
        await asking
        await asyncio.sleep(10)
    assert ran.calls == []


async def test_a_shutdown_ends_a_handler_that_is_thinking() -> None:
    ended: list[str] = []

    async def decide(_: Approval) -> bool:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("decide")
        return True

    runtime = {"on_approval": decide, "policy": Policy(ask("write"))}
    async with talking(call("write", path="a"), tools=[Ran().tool], runtime=runtime) as talk:
        asking = await beside(talk.chat.ask("go"))
        await talk.chat.shutdown()
        with pytest.raises(Exception, match="shut down"):
            await asking
    assert ended == ["decide"]


async def test_asking_when_nobody_would_answer_is_refused_when_the_agent_is_opened() -> None:
    agent = Agent(ScriptedModel("never"), policy=Policy(ask("write")))
    async with running_runtime() as runtime:
        with pytest.raises(ConfigurationError, match="nobody would answer"):
            await runtime.open(agent)
        assert not runtime.live_agents


@pytest.mark.parametrize("wrong", [{"on_approval": "me"}, {"hooks": [object()]}])
async def test_what_is_neither_handler_nor_hooks_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        async with running_runtime(**wrong):
            raise AssertionError


async def test_a_built_in_tool_is_decided_like_any_other() -> None:
    held = tool(route=background())(Ran().write)
    policy = Policy(deny("list_tasks"))
    script = [call("write", path="a"), call("list_tasks"), "ok"]
    async with talking(*script, tools=[held], policy=policy) as talk:
        await talk.chat.ask("go")
        assert "denies list_tasks" in answer(talk)


async def test_a_child_that_a_tool_starts_is_decided_too() -> None:
    ran = Ran()

    @tool
    async def batch(ctx: RunContext[None]) -> str:
        """Write through another tool."""
        try:
            await ctx.spawn("write", path="a")
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            return type(error).__name__
        return "written"

    policy = Policy(deny("write"))
    async with talking(call("batch"), "ok", tools=[batch, ran.tool], policy=policy) as talk:
        await talk.chat.ask("go")
        assert answer(talk) == "TaskFailedError"
    assert ran.calls == []


async def test_the_policy_of_the_runtime_holds_for_every_agent_and_the_strictest_stands() -> None:
    ran = Ran()
    runtime = {"policy": Policy(deny("write"))}
    lax = Policy(allow("*"))
    async with talking(
        call("write", path="a"), "ok", tools=[ran.tool], policy=lax, runtime=runtime
    ) as talk:
        await talk.chat.ask("go")
    assert ran.calls == []


# -- hooks that decide --------------------------------------------------------------------------


class Into(Hooks):
    """Puts every path into a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.seen: list[Mapping[str, Json]] = []

    async def pre_tool_call(self, ctx: HookContext, call: ToolUse) -> Change:
        self.seen.append(call.arguments)
        return Change({"path": f"{self.folder}/{call.arguments['path']}"})


async def test_hooks_are_chained_and_the_gate_sees_what_will_run() -> None:
    ran = Ran()
    inner, outer = Into("in"), Into("out")
    policy = Policy(ask("write", when=lambda a: a["path"] == "out/in/a"), default="deny")
    async with talking(
        call("write", path="a"),
        "ok",
        tools=[ran.tool],
        policy=policy,
        hooks=[inner, outer],
        runtime=HOST,
    ) as talk:
        asking = await beside(talk.chat.ask("go"))
        [approval] = talk.chat.approvals
        assert approval.call.parsed() == {"path": "out/in/a"}
        talk.chat.approvals.approve(approval.id, by="ana")
        await asking
    assert ran.calls == ["out/in/a"]
    assert (inner.seen, outer.seen) == ([{"path": "a"}], [{"path": "in/a"}])


async def test_what_a_hook_has_changed_is_what_a_tool_asks_about_and_what_runs() -> None:
    wrote: list[str] = []

    @tool(approval="ask")
    async def write(path: str) -> None:
        """Write a file."""
        wrote.append(path)

    script = call("write", path="a"), "ok"
    async with talking(*script, tools=[write], hooks=[Into("in")], runtime=HOST) as talk:
        asking = await beside(talk.chat.ask("go"))
        [approval] = talk.chat.approvals
        assert approval.call.parsed() == {"path": "in/a"}
        talk.chat.approvals.approve(approval.id, by="ana")
        await asking
    assert wrote == ["in/a"]


async def test_hooks_of_the_runtime_come_before_those_of_the_agent() -> None:
    ran = Ran()
    house = {"hooks": [Into("house")]}
    async with talking(
        call("write", path="a"), "ok", tools=[ran.tool], hooks=[Into("agent")], runtime=house
    ) as talk:
        await talk.chat.ask("go")
    assert ran.calls == ["agent/house/a"]


class Says(Hooks):
    """Says always the same."""

    def __init__(self, decision: object) -> None:
        self.decision = decision

    async def pre_tool_call(self, ctx: HookContext, call: ToolUse) -> Any:
        if isinstance(self.decision, Exception):
            raise self.decision
        return self.decision


@pytest.mark.parametrize(
    "decision",
    [Deny("no"), KeyError("boom"), "allow", Change({"path": cast(Json, object())})],
    ids=["denies", "fails", "talks nonsense", "changes to no JSON"],
)
async def test_a_decider_fails_closed(decision: object) -> None:
    ran = Ran()
    script = [call("write", path="a"), "ok"]
    async with talking(*script, tools=[ran.tool], hooks=[Says(decision)]) as talk:
        await talk.chat.ask("go")
        assert answer(talk).startswith("The call was denied")
    assert ran.calls == []


async def test_a_hook_may_ask_a_person() -> None:
    ran = Ran()
    hooks = [Says(AskFirst("are you sure?"))]
    script = [call("write", path="a"), "ok"]
    async with talking(*script, tools=[ran.tool], hooks=hooks, runtime=HOST) as talk:
        asking = await beside(talk.chat.ask("go"))
        [approval] = talk.chat.approvals
        assert approval.reason == "are you sure?"
        talk.chat.approvals.approve(approval.id, by="ana")
        await asking
    assert ran.calls == ["a"]


@pytest.mark.parametrize("arguments", ['{"path": ', '{"path": "a", "n": %s}' % ("1" * 5000)])
async def test_what_no_rule_can_read_does_not_run_even_if_the_tool_could(arguments: str) -> None:
    ran = Ran()
    strange = ToolCall(CallId("x"), "write", arguments)
    async with talking(strange, "ok", tools=[ran.tool], policy=Policy(allow("*"))) as talk:
        await talk.chat.ask("go")
        assert "not JSON" in answer(talk)
    assert ran.calls == []


# -- what the rules see is what runs ---------------------------------------------------------------


@tool
async def remove(path: str, force: bool = False, times: int = 1) -> str:
    """Remove."""
    return f"removed {path} {force} {times}"


BY_VALUE = Policy(
    deny("remove", when=lambda a: a.get("force") is True),
    deny("remove", when=lambda a: a.get("times") == 7),
)


@pytest.mark.parametrize(
    "arguments",
    [
        '{"path": "a", "force": true}',
        '{"path": "a", "force": "true"}',
        '{"path": "a", "force": "yes"}',
        '{"path": "a", "force": 1}',
        '{"path": "a", "times": "7"}',
        '{"path": "a", "times": " 7"}',
        '{"path": "a", "times": 7.0}',
        '{"path": "a", "times": 7e0}',
        '{"path": "a", "force": false, "force": true}',
        '{"path": "a", "f\\u006frce": true}',
    ],
)
async def test_no_spelling_of_an_argument_slips_past_a_rule(arguments: str) -> None:
    said = ToolCall(CallId("c"), "remove", arguments)
    async with talking(reply(said), "ok", tools=[remove], policy=BY_VALUE) as talk:
        await talk.chat.ask("go")
        assert "removed" not in answer(talk)


class Touches(Hooks):
    """Writes into what it was given to look at."""

    async def pre_tool_call(self, ctx: HookContext, call: ToolUse) -> None:
        cast(Any, call.arguments)["force"] = True


async def test_what_a_hook_changes_is_what_runs_also_if_it_equals_what_was() -> None:
    @tool
    async def raw(value: Any) -> str:
        """Tell."""
        return repr(value)

    seen: list[Json] = []
    policy = Policy(allow("raw", when=lambda a: not seen.append(a["value"])))  # type: ignore[func-returns-value]
    hooks = [Says(Change({"value": True}))]
    async with talking(call("raw", value=1), "ok", tools=[raw], policy=policy, hooks=hooks) as talk:
        await talk.chat.ask("go")
        assert seen == [True]
        assert seen[0] is True
        assert answer(talk) == "True"


async def test_a_hook_that_touches_what_it_was_given_changes_nothing() -> None:
    hooks = [Touches()]
    async with talking(call("remove", path="a"), "ok", tools=[remove], hooks=hooks) as talk:
        await talk.chat.ask("go")
        assert answer(talk) == "removed a False 1"


@pytest.mark.parametrize(
    "changed", [None, 7, {"path": {1}}, {"path": float("nan")}, {"path": object()}]
)
async def test_a_change_to_what_is_no_json_denies(changed: Any) -> None:
    hooks = [Says(Change(changed))]
    async with talking(call("remove", path="a"), "ok", tools=[remove], hooks=hooks) as talk:
        await talk.chat.ask("go")
        assert "removed" not in answer(talk)
        assert "is no JSON" in answer(talk)
        assert talk.kinds().count("task_denied") == 1


async def test_a_number_that_is_none_is_an_argument_error_and_no_fault_of_ours() -> None:
    said = ToolCall(CallId("c"), "remove", '{"path": "a", "times": NaN}')
    policy = Policy(ask("remove"))
    async with talking(
        reply(said), "ok", tools=[remove], policy=policy, hooks=[Says(None)], runtime=HOST
    ) as talk:
        await talk.chat.ask("go")
        assert answer(talk).startswith("the arguments are not JSON")


async def test_without_rules_and_hooks_arguments_are_read_as_kindly_as_before() -> None:
    said = ToolCall(CallId("c"), "remove", '{"path": "a", "force": "yes", "times": "7"}')
    async with talking(reply(said), "ok", tools=[remove]) as talk:
        await talk.chat.ask("go")
        assert answer(talk) == "removed a True 7"
