"""A dispatcher: the cap, the queue, the same name again."""

import asyncio

from sidetask.core.errors import TooManyTasksError
from sidetask.core.jsons import Json
from sidetask.orchestration import BackgroundAgentDispatcher, as_agent
from sidetask.state import StateView


async def work(seconds: int, state: StateView) -> Json:
    state.set("latest", seconds)
    await asyncio.sleep(seconds)
    return f"worked {seconds} s"


worker = as_agent(work)


async def main() -> None:
    # region cap
    async with BackgroundAgentDispatcher(2, max_queue=3) as agents:
        for seconds in range(1, 6):
            agents.dispatch(f"job-{seconds}", worker, input=seconds)
        print(agents.available_permits, "free,", agents.active_count, "alive")
        try:
            agents.dispatch("one-more", worker, input=1)
        except TooManyTasksError as error:
            print(error)
        agents.cancel("job-4", "not needed")
        later = await agents.submit("one-more", worker, input=1)  # waits for room
        print(await later, "|", agents.status("job-4"), "|", agents.state["latest"])
    print(agents.state["job-5:result"])
    # endregion cap

    # region again
    async with BackgroundAgentDispatcher(2) as agents:
        agents.dispatch("summary", worker, input=60)
        await asyncio.sleep(1)
        newer = agents.dispatch("summary", worker, input=3)  # the older one is stopped
        print(await newer, "|", agents.state["summary:result"])
    # endregion again


if __name__ == "__main__":
    asyncio.run(main())
