"""Servers of the Model Context Protocol: their tools are tools like any other.

    git = McpServer.stdio("uvx", ["mcp-server-git"], detach_after=5)
    docs = McpServer.http("https://example.com/mcp", headers={"Authorization": token}, prefix=True)
    agent = Agent("openai:gpt-5.2", tools=[crawl, git, docs])

A server is a description, as an agent is. It is started, or connected to, when a live agent that
names it is opened. Its library is imported then, and only in this folder.
"""

from sidetask.interop.mcp.server import McpServer as McpServer
from sidetask.interop.mcp.server import ServerOptions as ServerOptions

__all__ = ["McpServer", "ServerOptions"]
