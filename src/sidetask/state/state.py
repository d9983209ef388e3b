"""The blackboard of one conversation: JSON values by string key.

A value is kept as JSON, so what is handed out cannot be used to change what is kept.
"""

import json
from collections.abc import Iterator

from sidetask.core.errors import InvalidInputError, StateValueError
from sidetask.core.jsons import Json


class State:
    """JSON values by key. Reads never block; a value that is not JSON is refused."""

    __slots__ = ("_texts",)

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}

    def get(self, key: str, default: Json = None) -> Json:
        """The value of a key, a copy of its own; `default` if there is none."""
        text = self._texts.get(key)
        return default if text is None else json.loads(text)

    def __getitem__(self, key: str) -> Json:
        return json.loads(self._texts[key])

    def __contains__(self, key: object) -> bool:
        return key in self._texts

    def keys(self, prefix: str = "") -> Iterator[str]:
        """The keys that begin with `prefix`, oldest first."""
        return iter([key for key in self._texts if key.startswith(prefix)])

    def snapshot(self) -> dict[str, Json]:
        """All keys with copies of their values."""
        return {key: json.loads(text) for key, text in self._texts.items()}

    def set(self, key: str, value: object) -> None:
        """Keep a JSON value.

        Raises:
            StateValueError: The value is not JSON; nothing is written.
            InvalidInputError: The key is empty.
        """
        if not key:
            raise InvalidInputError("a state key is a text of at least one letter")
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise StateValueError(key, type(value).__name__, str(error)) from None
        self._texts[key] = text

    def delete(self, key: str) -> None:
        """Drop a key; dropping none is fine."""
        self._texts.pop(key, None)
