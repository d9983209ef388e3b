"""One session with a server, from its start to its loss.

    starting -> up -> over        (or starting -> over)

The library's task groups have to be entered and left by one asyncio task. So a line is one: the
keeper, which starts the session, sits in it, and winds it up; a server process is ended there.
Calls are made by the tasks that want them. What ends a line (a process that dies, a transport
that breaks, `end`) is noted before any of its calls can fail of it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import TypeVar, cast

from mcp import Client, MCPError
from mcp.client import Transport
from mcp.server import MCPServer
from mcp.shared.dispatcher import ProgressFnT
from mcp_types import (
    CONNECTION_CLOSED,
    CallToolResult,
    Implementation,
    LoggingMessageNotificationParams,
    Tool,
)

from sidetask.core.errors import ToolError, ToolServerError
from sidetask.core.jsons import JsonObject
from sidetask.interop.mcp.server import Endpoint, Local, McpServer, Process
from sidetask.interop.mcp.transports import Exchange, Stderr, exchange, over_http, over_pipes
from sidetask.tasks.aio.spawn import spawn, wait_done

ENDING = 10.0
"""Seconds that winding up may take before it is cut: the library gives a process 2 s to leave
when its input ends, and 2 s more when it is terminated."""
MAX_PAGES = 50
_LONGEST_REASON = 500
_CUT = "SSE stream"  # how the library begins what it says of an answer that was cut off

T = TypeVar("T")

_log = logging.getLogger("sidetask.interop.mcp")


class LostError(Exception):
    """The line was lost before a call was answered."""

    def __init__(self, reason: str, *, unsent: bool) -> None:
        super().__init__(reason)
        self.reason = reason
        self.unsent = unsent
        """The server has certainly not begun it."""


class Line:
    """`after`: a line that has to be over first, so that there is one process at a time."""

    def __init__(self, server: McpServer, on_over: Callable[["Line"], None], after: "Line | None"):
        self._server = server
        self._client: Client | None = None
        self._stderr: Stderr | None = None
        self._settled = asyncio.Event()
        self._leave = asyncio.Event()
        self._reason = ""
        self.answered = False
        """It has been of use."""
        self._on_over = on_over
        self._task = spawn(
            self._keep(after),
            name=f"server {server.name}",
            done=self._ended,
        )

    @property
    def is_over(self) -> bool:
        """No new call may begin on it."""
        return self._leave.is_set()

    @property
    def reason(self) -> str:
        """Why it is over."""
        return self._reason or "the connection was lost"

    async def ready(self) -> None:
        """Wait until it is up.

        Raises:
            ToolServerError: It never was.
        """
        if not self._settled.is_set():
            await self._settled.wait()
        if self._client is None:
            raise ToolServerError(self._server.name, self.reason)

    async def listed(self) -> list[Tool]:
        """All tools that the server has now.

        Raises:
            LostError: See there.
            ToolServerError: The server refuses, or is too slow.
        """
        try:
            async with asyncio.timeout(self._server.start_timeout):
                return await self._answer(partial(_all_tools, self._up))
        except TimeoutError:
            raise ToolServerError(self._server.name, "it does not list its tools") from None
        except ToolError as error:
            raise ToolServerError(self._server.name, f"no list of its tools: {error}") from None

    async def call(self, tool: str, arguments: JsonObject, heard: ProgressFnT) -> CallToolResult:
        """Call a tool. Cancelling this tells the server to stop.

        Raises:
            LostError: See there.
            ToolError: The server refuses the call, or answers what cannot be read.
        """
        ask = partial(self._up.call_tool, tool, dict(arguments), progress_callback=heard)
        return await self._answer(ask)

    async def end(self, reason: str) -> None:
        """Wind it up. Calls that still run are lost."""
        self.hang_up(reason)
        if not self._settled.is_set():  # it may wait for the server long
            self._task.cancel()
        if not await wait_done(self._task, within=ENDING):
            self._task.cancel()
            await wait_done(self._task, within=ENDING)

    async def gone(self) -> None:
        """Wait until nothing of it is left."""
        await wait_done(self._task)

    def hang_up(self, reason: str) -> None:
        """Begin to wind it up."""
        self._reason = self._reason or reason
        self._leave.set()

    # -- the keeper --------------------------------------------------------------------------

    async def _keep(self, after: "Line | None") -> None:
        if after is not None:
            await after.gone()
        told = Exchange()
        exchange.set(told)
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(self._server.start_timeout):
                    client = await stack.enter_async_context(self._make_client())
                self._client = client
                self._settled.set()
                try:
                    await self._leave.wait()
                finally:  # a transport that breaks cancels the wait
                    self._leave.set()
        except TimeoutError:
            self._reason = f"it did not start within {self._server.start_timeout:g} s"
        except Exception as error:  # noqa: BLE001 - the one boundary: whatever breaks a transport
            _log.debug("the server %s", self._server.name, exc_info=error)
            self._reason = self._reason or _in_one_line(_told(error, told.status))
        if self._client is None:
            await self._add_last_words()

    def _make_client(self) -> Client:
        async def logged(params: LoggingMessageNotificationParams) -> None:
            _log.debug("%s: %s: %.2000s", self._server.name, params.level, params.data)

        return Client(
            self._transport(),
            client_info=Implementation(name="sidetask", version="1"),
            logging_callback=logged,
            cache=None,
        )

    def _transport(self) -> Transport | MCPServer:
        match at := self._server.at:
            case Process():
                self._stderr = Stderr(self._server.name)
                return over_pipes(at, self._stderr, lambda: self.hang_up("the server ended"))
            case Endpoint():
                return over_http(at)
            case Local():
                return cast("MCPServer", at.server)

    async def _add_last_words(self) -> None:
        if self._stderr is not None and (words := await self._stderr.last_words()):
            self._reason = f"{self.reason}; its last words: {words}"

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._leave.set()
        self._settled.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            self._reason = self._reason or repr(error)
        self._on_over(self)

    # -- asking ------------------------------------------------------------------------------

    @property
    def _up(self) -> Client:
        assert self._client is not None, "a line is asked that is not up"
        return self._client

    async def _answer(self, ask: Callable[[], Awaitable[T]]) -> T:
        if self.is_over:
            raise LostError(self.reason, unsent=True)
        told = Exchange()
        before = exchange.set(told)
        try:
            answer = await ask()
        except Exception as error:  # the one boundary: the library raises of many families
            if told.unsent:
                self.hang_up(told.unsent)
                raise LostError(self.reason, unsent=True) from error
            if self.is_over or _is_cut(error):
                reason = self.reason if self.is_over else str(error)
                raise LostError(reason, unsent=False) from error
            raise ToolError(_told(error, told.status)) from error
        finally:
            exchange.reset(before)
        self.answered = True
        return answer


async def _all_tools(client: Client) -> list[Tool]:
    if client.server_capabilities.tools is None:
        return []
    page = await client.list_tools()
    found = list(page.tools)
    for _ in range(MAX_PAGES):
        if page.next_cursor is None:
            break
        page = await client.list_tools(cursor=page.next_cursor)
        found += page.tools
    return found


def _is_cut(error: Exception) -> bool:
    """An answer over HTTP broke off. Servers use the same code for errors of their own."""
    return (
        isinstance(error, MCPError)
        and error.code == CONNECTION_CLOSED
        and error.message.startswith(_CUT)
    )


def _in_one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_REASON]


def _told(error: Exception, status: int | None) -> str:
    """An error in one line; a group by the first in it."""
    while isinstance(error, ExceptionGroup):
        error = cast("ExceptionGroup[Exception]", error).exceptions[0]
    http = f" (HTTP {status})" if status is not None else ""
    match error:
        case MCPError():
            return f"{error.message}{http}"
        case FileNotFoundError():
            return f"there is no {error.filename!r} to start"
        case OSError() | RuntimeError():
            return f"{error}{http}"
        case _:
            return f"{type(error).__name__}: {error}{http}"
