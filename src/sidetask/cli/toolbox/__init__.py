"""The tools that come with the chat: files, commands and pages, below one working directory."""

from sidetask.cli.toolbox.bind import toolbox

__all__ = ["toolbox"]
