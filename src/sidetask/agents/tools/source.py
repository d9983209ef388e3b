"""Tools that an agent names without having them yet: those of a server, for example.

An agent is a description, so it holds the source. A live agent has the source opened, and with
it the tools; who opens it and when it is closed again is the runtime's business.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

from sidetask.agents.tools.tool import AnyTool


class OpenTools(Protocol):
    """A source that is open."""

    async def tools(self) -> Sequence[AnyTool]:
        """What the source has now.

        Raises:
            ToolServerError: It cannot be asked.
        """
        ...

    async def close(self) -> None:
        """Let go of it: calls that still run fail. Twice is fine."""
        ...


class ToolSource(ABC):
    """What is named among an agent's tools and becomes tools when the agent is opened.

    By name and not by shape: whatever else stands among the tools is a function.
    """

    name: str
    """For errors, and for whoever reads them."""

    @abstractmethod
    async def open(self) -> OpenTools:
        """Open it, for as many agents as there are. A failure leaves nothing behind.

        Raises:
            ToolServerError: It cannot be reached.
            MissingExtraError: Its library is not installed.
        """
