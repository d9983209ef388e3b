"""When a new try is made to reach a server that is gone."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from mcp import MCPError
from mcp.server import MCPServer, Server
from mcp_types import CONNECTION_CLOSED, ListToolsResult, PaginatedRequestParams, Tool

from sidetask.core.errors import ToolError, ToolServerError
from sidetask.interop.mcp import McpServer
from sidetask.interop.mcp.connection import Connection


async def _progress(progress: float, total: float | None, message: str | None) -> None:
    raise AssertionError("no progress is told here")


async def _failure(connection: Connection) -> str:
    with pytest.raises(ToolServerError) as caught:
        await connection.call("add", {}, _progress, repeatable=True)
    return str(caught.value)


async def test_the_first_new_try_is_made_at_once_and_each_later_one_waits_longer() -> None:
    connection = Connection(McpServer.stdio("/nowhere/at/all", name="gone"))
    assert "there is no" in await _failure(connection)
    assert "next try" not in await _failure(connection)
    for wait in (1, 2, 4, 8, 16, 30, 30):
        told = await _failure(connection)
        assert told.endswith(f" to start; the next try can be made in {wait} s")
        await asyncio.sleep(wait)
        assert "next try" not in await _failure(connection)
    await connection.close()


async def test_many_calls_that_find_no_line_make_one_together() -> None:
    connection = Connection(McpServer.stdio("/nowhere/at/all", name="gone"))
    async with asyncio.TaskGroup() as group:
        failing = [group.create_task(_failure(connection)) for _ in range(5)]
    assert len({task.result() for task in failing}) == 1
    assert "next try" not in await _failure(connection)  # it was one failure, not five
    await connection.close()


async def test_after_the_close_no_line_is_made() -> None:
    server = MCPServer("none")
    connection = Connection(McpServer.local(server, name="none"))
    await connection.start()
    await connection.close()
    await connection.close()
    assert "it was closed" in await _failure(connection)


async def test_a_server_without_tools_has_none() -> None:
    connection = Connection(McpServer.local(MCPServer("none"), name="none"))
    assert await connection.tools() == []
    await connection.close()


async def test_an_error_of_the_server_is_no_loss_though_its_code_is_the_same() -> None:
    server = MCPServer("strict")
    runs: list[str] = []

    async def add() -> str:
        runs.append("add")
        raise MCPError(CONNECTION_CLOSED, "quota is used up")

    server.add_tool(add)
    connection = Connection(McpServer.local(server, name="strict"))
    await connection.start()
    with pytest.raises(ToolError, match=r"^quota is used up$") as caught:
        await connection.call("add", {}, _progress, repeatable=True)
    assert not isinstance(caught.value, ToolServerError)
    assert runs == ["add"]
    await connection.close()


def _paged(pages: Sequence[ListToolsResult | None]) -> Server[Any]:
    """A server that lists its tools in pages; None is a page that never comes."""

    async def listed(ctx: Any, params: PaginatedRequestParams | None) -> ListToolsResult:
        at = 0 if params is None or params.cursor is None else int(params.cursor)
        page = pages[at % len(pages)]
        if page is None:
            await asyncio.Event().wait()
            raise AssertionError
        return page

    return Server("paged", on_list_tools=listed)


def _page(name: str, following: int | None) -> ListToolsResult:
    cursor = None if following is None else str(following)
    return ListToolsResult(
        tools=[Tool(name=name, input_schema={"type": "object"})], next_cursor=cursor
    )


async def _names(server: Server[Any]) -> list[str]:
    connection = Connection(McpServer.local(server, name="paged", start_timeout=5))
    try:
        return [each.name for each in await connection.tools()]
    finally:
        await connection.close()


async def test_all_pages_of_a_list_are_read_and_one_without_an_end_has_one() -> None:
    assert await _names(_paged([_page("a", 1), _page("b", None)])) == ["a", "b"]
    assert await _names(_paged([_page("again", 0)])) == ["again"]


async def test_a_list_that_does_not_come_is_an_error() -> None:
    with pytest.raises(ToolServerError, match="'paged': it does not list its tools"):
        await _names(_paged([None]))
