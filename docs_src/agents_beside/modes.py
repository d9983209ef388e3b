"""One agent, invoked in three modes: who is told of the end."""

import asyncio

from sidetask import Agent, Runtime
from sidetask.orchestration import as_agent, call, invoke
from sidetask.state import provenance
from sidetask.testing import ScriptedModel


# region agent
async def count_words(text: str) -> dict[str, int]:
    await asyncio.sleep(2)
    return {"words": len(text.split())}


counter = as_agent(count_words)
# endregion agent

host = Agent(ScriptedModel("Your notes have six words."))


async def main() -> None:
    async with Runtime() as runtime, runtime.open(host) as chat:
        # region call
        counted = await call("notes", counter, chat.state, input="to be or not", tasks=chat)
        print("call:", counted)
        # endregion call

        # region dispatch
        async with runtime.dispatcher(5, conversation=chat) as agents:
            task = agents.dispatch("letter", counter, input="dear Ann")
            print("dispatch:", task.status, agents.status("letter"))
            print("dispatch:", await chat.state.wait_for("letter:result"))
        # endregion dispatch

        # region background
        task = await invoke(
            "background",
            "essay",
            counter,
            input="all that glitters is not gold",
            conversation=chat,
            on_complete="continue",
        )
        async for turn in chat.turns(until="idle"):
            print("background:", turn.cause, await turn)
        # endregion background

        # region keys
        print({key: chat.state[key] for key in chat.state.keys("essay:")})
        told = provenance(chat.state, "essay:result")
        assert told is not None
        print(told.source, told.resolver, told.task_id == task.id)
        # endregion keys


if __name__ == "__main__":
    asyncio.run(main())
