"""The public names, for type checkers."""

from sidetask.agents.tools.tool import Tool as Tool
from sidetask.agents.tools.tool import tool as tool
from sidetask.core.errors import SidetaskError as SidetaskError
from sidetask.core.errors import ToolError as ToolError
from sidetask.core.events import Event as Event
from sidetask.core.events import EventKind as EventKind
from sidetask.core.lifecycle import TaskStatus as TaskStatus
from sidetask.core.messages import File as File
from sidetask.core.messages import Image as Image
from sidetask.core.messages import Text as Text
from sidetask.core.routing import Route as Route
from sidetask.core.routing import TaskPolicy as TaskPolicy
from sidetask.core.routing import background as background
from sidetask.core.routing import detach_after as detach_after
from sidetask.core.routing import foreground as foreground
from sidetask.core.usage import Usage as Usage
from sidetask.runtime.agent import Agent as Agent
from sidetask.runtime.agent import RunResult as RunResult
from sidetask.runtime.handle import AgentHandle as AgentHandle
from sidetask.runtime.response import ChatResponse as ChatResponse
from sidetask.runtime.response import Reply as Reply
from sidetask.runtime.runtime import Runtime as Runtime
from sidetask.runtime.runtime import open as open
from sidetask.tasks.context import RunContext as RunContext
from sidetask.tasks.parts.permits import Limits as Limits

__all__ = [
    "Agent",
    "AgentHandle",
    "ChatResponse",
    "Event",
    "EventKind",
    "File",
    "Image",
    "Limits",
    "Reply",
    "Route",
    "RunContext",
    "RunResult",
    "Runtime",
    "SidetaskError",
    "TaskPolicy",
    "TaskStatus",
    "Text",
    "Tool",
    "ToolError",
    "Usage",
    "background",
    "detach_after",
    "foreground",
    "open",
    "tool",
]
