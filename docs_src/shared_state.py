"""A board that tools write to, and a host that reads, waits, acts, forks and looks back."""

import asyncio

import sidetask
from sidetask import Agent, RunContext, background, tool
from sidetask.core.jsons import Json
from sidetask.core.lifecycle import TaskStatus
from sidetask.state import (
    Change,
    Origin,
    State,
    StateView,
    changed,
    crossed_above,
    resolved,
    start_result,
)
from sidetask.testing import ScriptedModel, call


# region tool
@tool(route=background())
async def buy(ctx: RunContext[None], item: str, price: int) -> str:
    """Put an item into the cart."""
    await asyncio.sleep(1)
    ctx.state.modify("cart", lambda cart: {**as_dict(cart), item: price}, default={})
    return "it is in the cart"


# endregion tool


def as_dict(value: Json) -> dict[str, Json]:
    return dict(value) if isinstance(value, dict) else {}


model = ScriptedModel(call("buy", item="lamp", price=30), "On its way.", "The lamp is in the cart.")


async def from_a_tool() -> None:
    async with sidetask.open(Agent(model, tools=[buy])) as chat:
        # region wait
        await chat.ask("A lamp, please.")
        cart = await chat.state.wait_for("cart", timeout=10)
        told = chat.state.provenance("cart")
        assert told is not None
        print(cart, "by", told.source, told.task_id, "version", told.version)
        # endregion wait


async def reacting() -> None:
    # region react
    state = State()
    state.derive("total", "cart", lambda cart: sum(cart.values()))

    def warn(change: Change) -> None:
        print("over the limit:", change.old, "->", change.new)

    state.when(crossed_above("total", 100), warn)
    with state.watch("cart") as watch:
        state.set("cart", {"lamp": 30})
        state.set("cart", {"lamp": 30, "desk": 90})  # `warn` runs in here
        async for change in watch:
            print(change.version, change.new, "missed:", change.missed)
            if change.version == 2:
                break
    print("total:", state["total"], "total" in state)
    # endregion react


def forking() -> None:
    # region fork
    state = State()
    state.set("input", "mine")

    def attempt(fork: StateView, text: str) -> None:
        fork.set("input", text)
        fork.set("output", text.upper())

    with state.fork() as fork:
        attempt(fork, "a draft")
        print(state["input"], "|", fork["input"])
    print(state.snapshot())
    failed_try = state.fork()
    attempt(failed_try, "not good")
    failed_try.discard()
    print(state["output"])
    # endregion fork


def results() -> None:
    # region results
    state = State()
    origin = Origin(source="agent", resolver="review", task_id="task-7")
    old = start_result(state, "review", origin=origin)
    new = start_result(state, "review", origin=origin)  # the same name again
    print(new.settle(TaskStatus.SUCCEEDED, value=""), resolved(state, "review"))
    print(old.settle(TaskStatus.FAILED, error="late"), state.snapshot())
    # endregion results


def looking_back() -> None:
    # region journal
    state = State(redact=lambda key, value: "***" if key == "password" else value)
    state.when(changed(), lambda change: print("written:", change.key))
    state.update({"user": "ann", "password": "secret"})
    page = state.journal.since(0)
    print([(change.key, change.new) for change in page.changes], "missed:", page.missed)
    state.set("user", "bob")
    print([change.new for change in state.journal.since(page.position).changes])
    # endregion journal


async def main() -> None:
    await from_a_tool()
    await reacting()
    forking()
    results()
    looking_back()


if __name__ == "__main__":
    asyncio.run(main())
