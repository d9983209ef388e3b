"""What any database can keep: names and rows within bounds."""

import json
from typing import Any

from sidetask.core.errors import InvalidInputError
from sidetask.core.jsons import encoder

MAX_NAME = 1_000
"""Letters of an id, a key or a user's name."""
MAX_ROW = 64 * 1024 * 1024
"""Letters of one message, fact, record or value of the state, as JSON."""

_encode = encoder(sort_keys=False)


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


def check_name(what: str, name: str) -> None:
    """Refuse a name that some database could not keep.

    Raises:
        InvalidInputError: It is empty, too long, or holds what is no text.
    """
    if not _is_text(name) or not 0 < len(name) <= MAX_NAME or "\0" in name:
        raise InvalidInputError(
            f"{what} is a text of 1 to {MAX_NAME:,} letters, without NUL and lone surrogates, "
            f"not {name!r:.80}"
        )


def _is_text(name: object) -> bool:
    """It is one, and no half of a surrogate pair is in it."""
    return isinstance(name, str) and (
        name.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in name)
    )
