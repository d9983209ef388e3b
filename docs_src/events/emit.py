"""Runs by request: by their ids, once for each client request, and stopped."""

import asyncio

from sidetask import Agent, Runtime
from sidetask.core.errors import TurnCancelledError
from sidetask.core.events import RunCompleted
from sidetask.runtime.invocation import Control, ConversationContext, EmitRequest
from sidetask.testing import ScriptedModel, stall

model = ScriptedModel("Four.", stall("Let me think"))


async def main() -> None:
    async with Runtime(agents=[Agent(model, name="sums")]) as runtime:
        # region emit
        request = EmitRequest(agent="sums", input="2 + 2?", conversation_id="c")
        run = runtime.emit(request.with_client_request_id("r1"))  # nothing is waited for
        async for event in run:
            if isinstance(event, RunCompleted):
                print(event.kind.value, event.run_id == run.run_id)
        output = await run
        print(output.text, output.finish_reason, output.steps)

        again = runtime.emit(request.with_client_request_id("r1"))  # the client has tried twice
        print(again is run)

        slow = runtime.emit(request.with_input("And the square root of 2?"))
        async for _ in slow.text_stream():
            slow.cancel("the user has left")
        try:
            await slow
        except TurnCancelledError as error:
            print(error)
        # endregion emit

        # region builder
        async def build(context: ConversationContext, control: Control) -> EmitRequest:
            if len(runtime.live_agents) > 100:
                control.cancel("too busy")
            return request.with_input("Is anybody there?")

        built = runtime.emit(build)
        # endregion builder
        built.cancel()


if __name__ == "__main__":
    asyncio.run(main())
