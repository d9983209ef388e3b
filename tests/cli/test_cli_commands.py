"""What is said to the chat: each command, without a terminal."""

import asyncio

from sidetask import Agent, Runtime
from sidetask.agents.quota import Quota
from sidetask.cli.commands import complete, is_command, obey
from sidetask.cli.session import Session
from sidetask.core.events import ApprovalRequested, TaskStarted
from sidetask.core.jsons import Json
from sidetask.core.usage import Usage
from sidetask.models.base import Finished
from sidetask.orchestration import as_agent, call, invoke
from sidetask.state import StateView
from sidetask.testing import ScriptedModel, VirtualClock, reply
from tests.cli.kitchen import heard


async def said(line: str, session: Session) -> str:
    return "\n".join(line.plain for line in await obey(line, session))


async def begin(session: Session, line: str) -> None:
    """Say a line whose call asks first, and wait until it does."""
    events = session.chat.events()
    await session.chat.chat(line)
    await heard(events, ApprovalRequested)


async def test_a_line_with_a_slash_is_a_command_unless_a_blank_stands_before_it() -> None:
    assert is_command("/tasks")
    assert not is_command(" /etc/passwd")
    assert not is_command("read_file /etc")


async def test_a_command_that_nobody_knows_gets_a_suggestion(session: Session) -> None:
    assert "no command /tsaks: did you mean /tasks?" in await said("/tsaks", session)
    assert "no command /xyzzy: /help lists them" in await said("/xyzzy", session)


async def test_help_lists_the_commands_and_how_each_tool_is_called(session: Session) -> None:
    text = await said("/help", session)
    assert "/approve ID" in text
    assert "Ctrl-C" in text
    assert "bake what=<string> [seconds=<number>]" in text
    session.driven = False
    assert "bake" not in await said("/help", session)


async def test_a_task_is_listed_while_it_waits_works_and_is_over(session: Session) -> None:
    assert await said("/tasks", session) == "no tasks yet"
    await begin(session, "bake cake")
    assert await said("/tasks", session) == "? task-1 bake  waits for /approve approval-1  cake"
    await said("/approve", session)
    await asyncio.sleep(7)
    assert await said("/tasks", session) == "● task-1 bake  0:07  cake  ━━━━━━━━━━ 50%  in the oven"
    await session.chat.wait_for_idle()
    assert await said("/tasks", session) == "○ task-1 bake cake  succeeded after 20 s"


async def test_the_state_is_listed_with_who_wrote_each_key(session: Session) -> None:
    assert await said("/state", session) == "nothing is kept"

    async def review(input: Json, state: StateView) -> Json:
        state.set("seen", input)
        return {"ok": True}

    await call(
        "review", as_agent(review), session.chat.state, input="a\x1b[2Jb", tasks=session.chat
    )
    session.chat.state.set("mine", "x" * 100)
    lines = (await said("/state", session)).splitlines()
    assert lines[0] == 'review:status  "succeeded"  agent review task-1 version 3'
    assert lines[1] == 'seen  "a\\u001b[2Jb"  agent review task-1 version 1'
    assert lines[2] == 'review:result  {"ok": true}  agent review task-1 version 1'
    assert lines[3].endswith("xx…  host version 1")
    assert await said("/state review:r", session) == lines[2]
    assert await said("/state none", session) == "nothing is kept under none"
    assert ("mine", "") in complete("/state mi", session)
    for number in range(60):
        session.chat.state.set(f"k:{number}", number)
    assert (await said("/state k:", session)).startswith("… 10 more before these")


async def test_a_dispatched_agent_is_listed_under_the_name_of_its_run(session: Session) -> None:
    async def review(input: Json) -> Json:
        await asyncio.sleep(10)
        return input

    run = await invoke(
        "dispatch", "review:a.py", as_agent(review), input="x", conversation=session.chat
    )
    await asyncio.sleep(7)
    assert await said("/tasks", session) == "● task-1 review:a.py  0:07  agent=review input=x"
    await said("/cancel 1", session)
    assert run.status == "cancelled"
    assert "○ task-1 review:a.py agent=review input=x  cancelled" in await said("/tasks", session)


async def test_only_the_last_tasks_that_are_over_are_listed(session: Session) -> None:
    for _ in range(7):
        await session.chat.ask("stir seconds=0.1")
    text = await said("/tasks", session)
    assert text.startswith("… 2 more that are over\n○ task-3 stir")
    assert len(text.splitlines()) == 6


async def test_the_only_question_needs_no_id_and_the_number_is_enough(session: Session) -> None:
    assert await said("/approve", session) == "✗ there is no approval open"
    events = session.chat.events()
    await begin(session, "bake cake; bake bread")
    await heard(events, ApprovalRequested)
    await heard(events, ApprovalRequested)
    assert await said("/approve", session) == "✗ which one? approval-1, approval-2"
    assert await said("/approve 2", session) == ""
    assert await said("/deny", session) == ""
    assert len(session.chat.approvals) == 0
    assert [task.name for task in session.chat.tasks.running()] == ["bake"]


async def test_a_denied_call_tells_the_model_the_reason(session: Session) -> None:
    await begin(session, "bake cake")
    await said("/deny approval-1 too risky", session)
    await session.chat.wait_for_idle()
    assert "The call was denied: too risky." in str(session.chat.history())


async def test_what_is_decided_already_or_never_asked_is_a_clear_line(session: Session) -> None:
    await begin(session, "bake cake")
    await said("/approve", session)
    assert "approval-1 is already approved by you" in await said("/deny approval-1", session)
    assert await said("/approve nope", session) == "✗ no approval 'nope'"


async def test_detach_gives_the_prompt_back_and_cancel_ends_a_task(session: Session) -> None:
    assert await said("/cancel", session) == "✗ there is no task at work"
    events = session.chat.events()
    turn = await session.chat.chat("stir")
    await heard(events, TaskStarted)
    assert await said("/detach", session) == ""
    reply = await turn
    assert [task.id for task in reply.pending] == ["task-1"]
    assert await said("/detach 1", session) == "task-1 holds up no turn"
    assert await said("/cancel task-1", session) == ""
    assert await said("/cancel task-1", session) == "task-1 was over already"
    assert await said("/cancel task-9", session) == "✗ no task 'task-9'"


async def test_tab_completes_commands_and_the_ids_that_they_may_have(session: Session) -> None:
    assert complete("/de", session) == [
        ("/detach ", "send it to the background: the turn goes on"),
        ("/deny ", "refuse it; the model is told the reason"),
    ]
    assert complete("/ta", session) == [("/tasks", "what is at work, and what was lately")]
    await begin(session, "bake cake")
    assert complete("/approve ", session) == [("approval-1", "")]
    assert complete("/cancel ta", session) == [("task-1", "")]
    assert complete("/tasks ", session) == []
    assert complete("/nope ", session) == []


async def test_usage_tells_tokens_cost_and_the_gate_of_each_key() -> None:
    used = Usage(requests=1, input_tokens=1200, cached_tokens=200, output_tokens=30, usd=0.0021)
    model = ScriptedModel(reply("Hi.", Finished(usage=used)), "Hi.")
    clock, quota = VirtualClock(), Quota()
    async with Runtime(quota=quota) as runtime, runtime.open(Agent(model)) as chat:
        session = Session(chat, runtime, driven=False, approve=None, clock=clock)
        assert (await said("/usage", session)).splitlines() == [
            "last turn    0 model calls: 0 tokens in, 0 out",
            "in all       0 model calls: 0 tokens in, 0 out",
        ]
        await chat.ask("hi")
        quota.record_hit(model.quota_key, 500)
        waiting = asyncio.create_task(chat.chat("again?"))
        await asyncio.sleep(0.1)
        lines = (await said("/usage", session)).splitlines()
        spent = "1 model call: 1,200 tokens in (200 cached), 30 out, $0.0021"
        assert lines[1] == f"in all       {spent}"
        assert lines[2].endswith("closed for 500 s, refused 1 in a row, 1 in line")
        await chat.interrupt()
        await waiting
