"""Between values and the text in which they are kept."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from sidetask.core.errors import CodecError, InvalidInputError, StoreCorruptError
from sidetask.stores.base import MAX_ROW

T = TypeVar("T")

_encode = json.JSONEncoder(
    ensure_ascii=False,
    check_circular=False,  # the codec has looked, and copied
    allow_nan=False,
    separators=(",", ":"),
).encode


def written(data: dict[str, Any]) -> str:
    """The JSON text of what the codec wrote.

    Raises:
        InvalidInputError: It is longer than `MAX_ROW`.
    """
    text = _encode(data)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        text = json.dumps(data, allow_nan=False)  # half a letter: no database takes it as it is
    if len(text) > MAX_ROW:
        raise InvalidInputError(f"{len(text):,} letters of JSON are more than a row may hold")
    return text


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
