"""Lengths of time, as people write them: `30d`, `12h`, `1d12h`."""

import re

from sidetask.core.errors import InvalidInputError

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_PART = r"(\d+(?:\.\d+)?)([smhdw])"


def seconds(text: str) -> float:
    """How many seconds a text says.

    Raises:
        InvalidInputError: It is no length of time, or none at all.
    """
    words = text.replace(" ", "").lower()
    parts = re.findall(_PART, words)
    total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if not re.fullmatch(f"(?:{_PART})+", words) or total <= 0:
        raise InvalidInputError(
            f"{text!r} is no length of time: it is like 30d, 12h, 90m, 45s, 2w or 1d12h"
        )
    return total
