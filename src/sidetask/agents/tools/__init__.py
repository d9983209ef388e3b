"""What a model may call: tools, made of functions or of schemas."""

from sidetask.agents.tools.tool import AnyTool as AnyTool
from sidetask.agents.tools.tool import Tool as Tool
from sidetask.agents.tools.tool import ToolOptions as ToolOptions
from sidetask.agents.tools.tool import tool as tool

__all__ = ["AnyTool", "Tool", "ToolOptions", "tool"]
