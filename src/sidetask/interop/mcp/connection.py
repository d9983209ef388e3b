"""A server that is open: one line at a time, and a new one when a call needs it.

* A lost line is replaced by the next call, and by nothing else: a server that nobody calls is not
  started again. The first new try is made at once; a line that was lost before it was of any use
  makes the next one wait, 1 s doubling to 30 s. A call that comes meanwhile fails at once and
  says how long: a model can do something else.
* A call that was on its way when the line was lost may have been carried out. It is sent again
  only if the server calls the tool read-only or idempotent, once; else it fails and says so.
* A call that the server has certainly not begun is sent again whatever the tool.
"""

import asyncio
import math
from collections.abc import Sequence

from mcp.shared.dispatcher import ProgressFnT
from mcp_types import CallToolResult, Tool

from sidetask.agents.tools.tool import AnyTool
from sidetask.core.errors import ToolServerError
from sidetask.core.jsons import JsonObject
from sidetask.interop.mcp.described import to_tools
from sidetask.interop.mcp.line import Line, LostError
from sidetask.interop.mcp.server import McpServer

BACKOFF = 1.0
MAX_BACKOFF = 30.0


class Connection:
    """What all agents share that name a server."""

    def __init__(self, server: McpServer) -> None:
        self._server = server
        self._now = asyncio.get_running_loop().time
        self._line: Line | None = None
        self._failures = 0
        self._not_before = 0.0
        self._closed = False

    async def start(self) -> None:
        """Have a line.

        Raises:
            ToolServerError: The server does not start, or does not answer.
        """
        await self._up()

    async def tools(self) -> Sequence[AnyTool]:
        """The server's tools as they are now."""
        try:
            listed = await self._list()
        except LostError:  # to list them twice does no harm
            try:
                listed = await self._list()
            except LostError as error:
                raise ToolServerError(self._server.name, error.reason) from error
        return to_tools(self._server, listed, self.call)

    async def call(
        self, tool: str, arguments: JsonObject, heard: ProgressFnT, *, repeatable: bool
    ) -> CallToolResult:
        """Call a tool by the name that the server gives it.

        Raises:
            ToolServerError: The server cannot be reached, or was lost meanwhile.
            ToolError: It refuses the call.
        """
        again = True
        while True:
            line = await self._up()
            try:
                return await line.call(tool, arguments, heard)
            except LostError as error:
                if again and (error.unsent or repeatable):
                    again = False
                    continue
                what = "was not carried out" if error.unsent else "may have been carried out or not"
                reason = f"the connection was lost in the middle of the call, which {what}"
                raise ToolServerError(self._server.name, f"{reason} ({error.reason})") from error

    async def close(self) -> None:
        """End the session, and the process. Twice is fine."""
        self._closed = True
        if self._line is not None:
            await self._line.end("it was closed")

    async def _list(self) -> list[Tool]:
        return await (await self._up()).listed()

    async def _up(self) -> Line:
        """The line, once it is up; a new one, if the last is over."""
        line = self._line
        if line is None or line.is_over:
            self._check_next()
            line = self._line = Line(self._server, self._on_over, line)
        await line.ready()
        return line

    def _check_next(self) -> None:
        if self._closed:
            raise ToolServerError(self._server.name, "it was closed")
        wait = self._not_before - self._now()
        if wait > 0 and self._line is not None:
            reason = f"{self._line.reason}; the next try can be made in {math.ceil(wait)} s"
            raise ToolServerError(self._server.name, reason)

    def _on_over(self, line: Line) -> None:
        self._failures = 0 if line.answered else self._failures + 1
        if self._failures > 1:
            delay = BACKOFF * 2 ** min(self._failures - 2, 16)
            self._not_before = self._now() + min(delay, MAX_BACKOFF)
