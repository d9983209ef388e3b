"""Runs by request, and events by handler: `runtime.emit` and `runtime.on`."""

from sidetask.runtime.invocation.control import Control as Control
from sidetask.runtime.invocation.control import ConversationContext as ConversationContext
from sidetask.runtime.invocation.listeners import ListenerControl as ListenerControl
from sidetask.runtime.invocation.listeners import ListenerHandle as ListenerHandle
from sidetask.runtime.invocation.requests import EmitRequest as EmitRequest
from sidetask.runtime.invocation.runs import RunHandle as RunHandle
from sidetask.runtime.invocation.runs import RunOutput as RunOutput

__all__ = [
    "Control",
    "ConversationContext",
    "EmitRequest",
    "ListenerControl",
    "ListenerHandle",
    "RunHandle",
    "RunOutput",
]
