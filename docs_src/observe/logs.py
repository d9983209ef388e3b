"""Log records of a tool, with the ids of the work that they are of."""

import asyncio
import logging
import sys

from sidetask import Agent, tool
from sidetask.observe.logs import WorkFilter
from sidetask.testing import ScriptedModel, call

# region tool
log = logging.getLogger("myapp")


@tool
async def crawl(site: str) -> str:
    """Read all pages of a site."""
    log.warning("%s is slow", site)
    return "12 pages"


# endregion tool


# region handler
def attach() -> logging.Handler:
    handler = logging.StreamHandler(sys.stdout)
    handler.addFilter(WorkFilter())
    handler.setFormatter(
        logging.Formatter("[%(conversation_id)s %(turn_id)s %(task_id)s] %(message)s")
    )
    log.addHandler(handler)
    return handler


# endregion handler


async def main() -> None:
    handler = attach()
    model = ScriptedModel(call("crawl", site="a.com"), "It has 12.")
    await Agent(model, tools=[crawl]).run("How big is a.com?")
    log.removeHandler(handler)


if __name__ == "__main__":
    asyncio.run(main())
