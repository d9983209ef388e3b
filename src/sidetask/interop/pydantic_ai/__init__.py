"""Agents of Pydantic AI: run by us as values, or moved in as live agents.

    reviewer = from_pydantic_ai(agent, deps=Shop())  # to call, dispatch, batch, combine
    async with sidetask.open(agent, deps=Shop()) as chat: ...  # to talk with
    sidetask.open(move_in(agent, routes={"crawl": detach_after(5)}))  # with routes for its tools

The first leaves the agent to Pydantic AI's own loop. The other two take its instructions, tools,
model and output type, and run them with our loop, so that each of its tool calls is a task.
"""

from sidetask.interop.pydantic_ai.dispatch import DispatchedAgent as DispatchedAgent
from sidetask.interop.pydantic_ai.dispatch import from_pydantic_ai as from_pydantic_ai
from sidetask.interop.pydantic_ai.opening import MovingAgent as MovingAgent
from sidetask.interop.pydantic_ai.opening import move_in as move_in

__all__ = ["DispatchedAgent", "MovingAgent", "from_pydantic_ai", "move_in"]
