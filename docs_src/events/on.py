"""Events by handler: in order, or several at once within a limit."""

import asyncio

from sidetask import Agent, Event, Runtime, tool
from sidetask.core.events import ToolExecutionFinished
from sidetask.runtime.invocation import ConversationContext, EmitRequest, ListenerControl
from sidetask.testing import ScriptedModel, call

model = ScriptedModel([call("fetch", page=1), call("fetch", page=2)], "Both are there.")


@tool
async def fetch(page: int) -> str:
    """Fetch a page."""
    await asyncio.sleep(page)
    return f"page {page}"


async def main() -> None:
    async with Runtime() as runtime:
        # region on
        async def show(event: Event, context: ConversationContext) -> None:
            if isinstance(event, ToolExecutionFinished):
                print(context.conversation_id, event.name, event.outcome)

        async def save(
            event: Event, context: ConversationContext, control: ListenerControl
        ) -> None:
            await asyncio.sleep(0.1)  # a slow disk
            if event.terminal and event.run_id == run.run_id and control.missed:
                print("gaps in the log:", control.missed)

        shown = runtime.on("tool_execution_finished", show)
        saved = runtime.on("any", save, order="concurrent", concurrency_limit=4, timeout=5)

        run = runtime.emit(EmitRequest(agent=Agent(model, tools=[fetch]), input="Fetch both."))
        print(await run)
        await saved.drain()  # all that was told so far is handled
        shown.control.cancel()
        print(shown.is_finished)
        # endregion on


if __name__ == "__main__":
    asyncio.run(main())
