"""A task whose end was asked for keeps its conversation busy until its work has stopped."""

import asyncio

from sidetask.core.errors import ApprovalDeniedError
from sidetask.core.ids import ConversationId
from sidetask.core.messages import ToolCall
from sidetask.core.routing import background
from sidetask.tasks.context import RunContext
from sidetask.tasks.manager import AsyncTaskManager
from sidetask.tasks.values import Completed, TaskLaunch, ToolOutcome

CHAT = ConversationId("chat")


async def test_a_denied_body_that_cleans_up_is_not_idle_until_its_end_was_told() -> None:
    cleaned = asyncio.Event()

    async def pay(call: ToolCall, ctx: RunContext[None]) -> ToolOutcome:
        try:
            await ctx.request_approval("more than 1,000")
        except ApprovalDeniedError:
            await asyncio.sleep(1)
            cleaned.set()
            raise
        return Completed(None, "paid")

    manager = AsyncTaskManager({"pay": pay})
    handle = manager.handle()
    call = ToolCall.make("pay")
    manager.start_nowait(TaskLaunch(call=call, conversation_id=CHAT, route=background()))
    async with asyncio.timeout(60):
        assert (await handle.wait_for_idle()).approvals == 1
        handle.deny(handle.approvals()[0].id, "no", by="ana")
        idle = await handle.wait_for_idle()
    assert cleaned.is_set()
    assert idle.undelivered == 1
    assert [item.status for item in manager.take_pending_loop_updates(CHAT).items] == ["denied"]
    await handle.close()
