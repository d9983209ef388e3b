"""An agent of Pydantic AI, before and after it moved in: five lines differ."""

import asyncio
from dataclasses import dataclass

from pydantic_ai import Agent, ModelRetry, RunContext
from pydantic_ai.models.test import TestModel


@dataclass
class Shop:
    site: str


model = TestModel(call_tools=["crawl"], custom_output_text="About your shop: ...")
agent = Agent(model, deps_type=Shop, instructions="You look after a shop.")


@agent.instructions
async def name_the_site(ctx: RunContext[Shop]) -> str:
    return f"Its site is {ctx.deps.site}."


@agent.tool(retries=3)
async def crawl(ctx: RunContext[Shop], depth: int = 2) -> str:
    """Read the pages of the shop's site, down to a depth."""
    if depth > 5:
        raise ModelRetry("Not deeper than 5.")
    await asyncio.sleep(3)
    print(f"(the pages of {ctx.deps.site} are read)")
    return "12 pages, all of them about lamps"


async def main() -> None:
    # region changes
    result = await agent.run("What do we sell?", deps=Shop("a.com"))
    print(result.output)
    # endregion changes


if __name__ == "__main__":
    asyncio.run(main())
