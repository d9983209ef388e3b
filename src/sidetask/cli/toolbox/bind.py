"""Binds the chat's tools to a working directory."""

from pathlib import Path

from sidetask.agents.tools import AnyTool, tool
from sidetask.cli.toolbox.fetch import fetch_url
from sidetask.cli.toolbox.files import Files
from sidetask.cli.toolbox.paths import Fence
from sidetask.cli.toolbox.shell import Shell


def toolbox(root: Path) -> tuple[AnyTool, ...]:
    """The tools of the chat, for the files below `root` and commands that start there."""
    fence = Fence(root)
    files = Files(fence)
    return (
        tool(files.read_file),
        tool(files.list_files),
        tool(files.search_files),
        tool(files.count_words),
        tool(Shell(fence.root).shell, approval="ask", detach_after=5),
        tool(fetch_url),
    )
