"""Pipelines of small agents, prompts filled from the state, and values asked for by name."""

import asyncio

from sidetask.core.errors import AllFailedError, TemplateError
from sidetask.core.jsons import Json
from sidetask.orchestration import (
    BackgroundAgentDispatcher,
    Resolver,
    Template,
    as_agent,
    call,
    fallback,
    loop,
    map_over,
    parallel,
    race,
    sequence,
)
from sidetask.state import State, StateView


def templates() -> None:
    # region template
    state = State()
    state.update({"file": "main.py", "user": {"name": "Ann", "langs": ["en", "de"]}})
    prompt = Template("Review {file} for {user.name} in {user.langs.1}. Answer {{json}}.")
    print(prompt.render(state))
    try:
        Template("Review {path}.").render(state)
    except TemplateError as error:
        print(error)
    # endregion template


async def a_pipeline() -> None:
    # region pipeline
    async def find(folder: str) -> Json:
        return [f"{folder}/{name}.py" for name in ("app", "db")]

    async def style(file: str) -> Json:
        return f"{file}: long lines"

    async def bugs(file: str, state: StateView) -> Json:
        state.set(f"seen:{file}", True)
        return f"{file}: no bugs"

    async def sum_up(notes: list[list[str]]) -> Json:
        return "; ".join(note for both in notes for note in both)

    review = sequence(
        as_agent(find),
        map_over(parallel(as_agent(style), as_agent(bugs)), cap=4),
        as_agent(sum_up),
        name="review",
    )
    state = State()
    print(await call("review", review, state, input="src"))
    print(state.keys())
    # endregion pipeline


async def failing() -> None:
    # region failing
    async def broken(question: str, state: StateView) -> Json:
        state.set("scratch", "half done")
        raise ConnectionError("no route to host")

    async def slow(question: str) -> Json:
        await asyncio.sleep(2)
        return f"{question}: 42"

    state = State()
    print(await race(as_agent(broken), as_agent(slow)).invoke("six by seven", state))
    print(await fallback(as_agent(broken), as_agent(slow)).invoke("six by seven", state))
    try:
        await fallback(as_agent(broken), name="answer").invoke("six by seven", state)
    except AllFailedError as error:
        print(error)
    print("written:", state.keys())
    # endregion failing


async def rounds() -> None:
    # region loop
    async def shorten(text: str) -> Json:
        return text[: len(text) // 2]

    def short_enough(state: StateView) -> bool:
        return len(str(state["output"])) < 10

    brief = loop(as_agent(shorten), until=short_enough, max_rounds=5)
    print(await brief.invoke("twenty-four characters..", State()))
    # endregion loop


async def resolving() -> None:
    # region resolver
    async def rates(state: StateView) -> Json:
        await asyncio.sleep(1)
        return {"EUR": 1.1, "GBP": 1.3}

    async def advise(prompt: str) -> Json:
        return f"asked: {prompt}"

    exchange = Resolver.fetch("rates", rates, ttl=60, retries=3, timeout=10, dedupe=True)
    advice = Resolver.agent("advice", as_agent(advise), input="Sell {item} for {rates:result.EUR}?")

    state = State()
    state.set("item", "a lamp")
    await exchange(state)
    print(await advice(state))
    told = state.provenance("rates:result")
    assert told is not None
    print(told.source, told.resolver, state["rates:status"])
    # endregion resolver
    # region dispatch
    async with BackgroundAgentDispatcher(2) as dispatcher:
        handle = advice.dispatch(state, dispatcher)
        print(state["advice:status"], exchange.dispatch(state, dispatcher))
        if handle is not None:
            print(await handle)
    # endregion dispatch


async def main() -> None:
    templates()
    await a_pipeline()
    await failing()
    await rounds()
    await resolving()


if __name__ == "__main__":
    asyncio.run(main())
