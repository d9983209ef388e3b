"""Between values and the text in which they are kept."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from sidetask.core.errors import CodecError, StoreCorruptError

T = TypeVar("T")


def read(where: str, text: str, reader: Callable[[Any], T]) -> T:
    """The value that a row holds.

    Raises:
        StoreCorruptError: It holds none.
    """
    try:
        return reader(json.loads(text))
    except (ValueError, RecursionError, TypeError) as error:
        why = str(error) if isinstance(error, CodecError) else "it is not JSON"
        raise StoreCorruptError(where, why) from None


def plain(text: str) -> str:
    """Words that every database takes."""
    return text.encode(errors="replace").decode().replace("\0", "")
