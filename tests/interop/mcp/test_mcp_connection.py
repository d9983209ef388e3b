"""When a new try is made to reach a server that is gone."""

import asyncio

import pytest
from mcp import MCPError
from mcp.server import MCPServer
from mcp_types import CONNECTION_CLOSED

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
