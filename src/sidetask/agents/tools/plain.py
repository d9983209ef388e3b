"""What a tool may return besides JSON, and what becomes of it."""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from datetime import date, time
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Protocol, runtime_checkable
from uuid import UUID

from sidetask.core.errors import ToolResultError
from sidetask.core.messages import File, Image


@runtime_checkable
class _Model(Protocol):
    """A pydantic model, without importing pydantic."""

    def model_dump(self, *, mode: str) -> object: ...


def plain(value: object) -> object:
    """One step towards JSON, for what the encoder does not know."""
    if isinstance(value, Image | File):
        raise ToolResultError(
            f"{type(value).__name__} inside other data",
            "return it by itself, or in a list with strings",
        )
    if isinstance(value, _Model) and not isinstance(value, type):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    match value:
        case Enum():
            return value.value
        case date() | time():
            return value.isoformat()
        case UUID() | PurePath() | Decimal():
            return str(value)
        case _:
            raise ToolResultError(f"{type(value).__name__}, which is not JSON", _instead(value))


def _instead(value: object) -> str:
    match value:
        case bytes() | bytearray() | memoryview():
            return "return text, or Image(data=...) or File(data=..., media_type=...)"
        case set() | frozenset():
            return "return a list, for example sorted(...)"
        case Iterator():
            return "return list(...) of it"
        case _:
            return "return text, numbers, lists, dicts, dataclasses or pydantic models"
