"""A conversation that goes from step to step, whatever its model would like better."""

import asyncio

import sidetask
from sidetask import Agent, RunContext, tool
from sidetask.core.errors import FlowError
from sidetask.core.jsons import Json
from sidetask.core.messages import ToolMessage
from sidetask.orchestration import (
    Flow,
    OnEnter,
    Step,
    always,
    ambient,
    as_agent,
    called,
    eq,
    is_set,
    is_true,
    never_until,
    once,
    resolved,
)
from sidetask.state import StateView
from sidetask.testing import ScriptedModel, call, reply


@tool
async def note_customer(ctx: RunContext[None], name: str) -> str:
    """Note who the customer is."""
    ctx.state.set("customer", name)
    return "noted"


@tool
async def place_order(item: str) -> str:
    """Order it, for money."""
    return f"{item} is ordered"


@tool
async def search(text: str) -> str:
    """Search the catalogue."""
    return f"3 items for {text!r}"


# region flow
async def credit(name: Json, state: StateView) -> Json:
    await asyncio.sleep(2)  # a slow service
    return {"limit": 500}


def customer(state: StateView) -> Json:
    return state["customer"]


flow = Flow(
    "shop",
    steps=[
        Step(
            "identify",
            posture="Find out who is talking, and note it.",
            allow=["note_customer"],
            done=is_set("customer"),
        ),
        Step(
            "check",
            after=["identify"],
            posture="The credit of {customer} is being checked. Chat meanwhile.",
            on_enter=[OnEnter(as_agent(credit), input=customer)],
            done=resolved("credit"),
        ),
        Step(
            "order",
            after=["check"],
            posture="Take one order, within {credit:result.limit} euros.",
            allow=["place_order"],
            done=called("place_order"),
            terminal=True,
        ),
    ],
    constraints=[
        once("place_order"),
        never_until("place_order", is_true("confirmed")),
        ambient("search"),
    ],
)
# endregion flow


async def talk() -> None:
    model = ScriptedModel(
        reply("Right away!", call("place_order", item="a lamp")),
        call("search", text="lamps"),
        call("note_customer", name="Ann"),
        "Hello Ann, one moment.",
        "You are good for 500. A lamp then?",
        call("place_order", item="a lamp"),
        "It is on its way.",
    )
    # region talk
    agent = Agent(model, tools=[note_customer, place_order, search], flow=flow)
    async with sidetask.open(agent) as chat:
        print(await chat.ask("A lamp, please. I am Ann."))
        await chat.wait_for_idle()  # the credit comes, no turn runs, and the flow goes on
        print(await chat.ask("So, am I good for it?"))
        chat.state.set("confirmed", True)  # a button of the host's
        print(await chat.ask("Yes."))
        # endregion talk
        for message in chat.history():
            if isinstance(message, ToolMessage):
                print("-", message.results[0].content)
    print(model.requests[4].tail)


def mistakes() -> None:
    # region mistakes
    wrong = Flow(
        "wrong",
        steps=[
            Step("a", after=["b"], done=always),
            Step("b", after=["a"], done=eq("kind", "x") & eq("kind", "y")),
        ],
        constraints=[once("fly")],
    )
    try:
        wrong.compile(["place_order"])
    except FlowError as error:
        print(error)
    # endregion mistakes


async def main() -> None:
    await talk()
    mistakes()


if __name__ == "__main__":
    asyncio.run(main())
