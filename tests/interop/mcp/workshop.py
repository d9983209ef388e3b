"""A server with one tool for each thing that can happen, run as a process of its own.

    python workshop.py            over its standard input and output
    python workshop.py 8123       over streamable HTTP, at http://127.0.0.1:8123/mcp

It writes what it does to the file that `WORKSHOP_LOG` names: a test looks there whether a call
was begun, how often, and whether it was told to stop.
"""

import asyncio
import base64
import os
import sys
from pathlib import Path
from typing import Literal

from mcp.server import MCPServer
from mcp.server.mcpserver import Context, Image
from mcp_types import (
    CallToolResult,
    EmbeddedResource,
    ResourceLink,
    TextContent,
    TextResourceContents,
    ToolAnnotations,
)
from pydantic import BaseModel

server = MCPServer("workshop", instructions="Use these tools.")
PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def note(what: str) -> None:
    path = os.environ.get("WORKSHOP_LOG")
    if path:
        with Path(path).open("a") as log:
            log.write(f"{what}\n")


def noted(what: str) -> int:
    return Path(os.environ["WORKSHOP_LOG"]).read_text().split("\n").count(what)


class Weather(BaseModel):
    city: str
    degrees: float


class Name(BaseModel):
    name: str


@server.tool()
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    note("add")
    return a + b


@server.tool()
async def weather(city: str) -> Weather:
    """Tell the weather."""
    return Weather(city=city, degrees=21.5)


@server.tool()
async def fail(why: str) -> str:
    """Fail."""
    raise ValueError(why)


@server.tool()
async def walk(steps: int, ctx: Context) -> str:
    """Tell each step."""
    for step in range(1, steps + 1):
        await ctx.report_progress(step, steps, f"step {step}")
    return f"walked {steps} steps"


@server.tool()
async def hang(ctx: Context) -> str:
    """Begin, and never end."""
    note("hang begun")
    await ctx.report_progress(0, None, "begun")
    try:
        await asyncio.Event().wait()
    finally:
        note("hang stopped")
    return "never"


@server.tool()
async def die(ctx: Context) -> str:
    """End the whole server in the middle of a call."""
    note("die")
    os._exit(3)


@server.tool(annotations=ToolAnnotations(idempotent_hint=True))
async def die_once(ctx: Context) -> str:
    """End the whole server, unless it has been here before."""
    note("die_once")
    seen = noted("die_once")
    if seen == 1:
        os._exit(3)
    return f"call {seen} came back"


@server.tool()
async def picture() -> list[str | Image]:
    """Draw."""
    return ["a pixel", Image(data=PIXEL, format="png")]


@server.tool()
async def resources() -> CallToolResult:
    """Give a file, and a link to another."""
    file = TextResourceContents(uri="file:///a.txt", mime_type="text/plain", text="the text of a")
    return CallToolResult(
        content=[
            EmbeddedResource(type="resource", resource=file),
            ResourceLink(type="resource_link", uri="file:///b.txt", name="b.txt"),
            TextContent(type="text", text="two files"),
        ]
    )


@server.tool(name="odd.name/with spaces")
async def odd() -> str:
    """Have a name that no model may be told."""
    return "odd"


@server.tool()
async def ask_the_user(ctx: Context) -> str:
    """Ask for a name."""
    answer = await ctx.elicit("What is your name?", Name)
    return str(answer)


@server.tool(description="word " * 2_000)
async def wordy() -> str:
    return "long"


@server.tool()
async def complain() -> str:
    """Write to the standard error."""
    print("something is not right", file=sys.stderr, flush=True)
    return "complained"


@server.tool()
async def grow(ctx: Context) -> str:
    """Get one more tool."""

    async def grown() -> Literal["grown"]:
        """Be new."""
        return "grown"

    server.add_tool(grown)
    return "there is a new tool"


if __name__ == "__main__":
    note(f"start {os.getpid()}")
    if len(sys.argv) > 1:
        server.run("streamable-http", port=int(sys.argv[1]))
    else:
        server.run("stdio")
        note("end")
