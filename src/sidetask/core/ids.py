"""Typed identifiers: plain strings that the type checker keeps apart."""

from typing import NewType

ConversationId = NewType("ConversationId", str)
TurnId = NewType("TurnId", str)
RunId = NewType("RunId", str)
TaskId = NewType("TaskId", str)
CallId = NewType("CallId", str)
ApprovalId = NewType("ApprovalId", str)
