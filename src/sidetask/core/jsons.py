"""JSON as values: the type, the canonical text, and the digest of a call.

The canonical text has sorted keys and no spaces, so that two calls that differ only in
key order are the same call. NaN and infinities are refused: they are not JSON.
"""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TypeAlias

Json: TypeAlias = "None | bool | int | float | str | Sequence[Json] | Mapping[str, Json]"
JsonObject: TypeAlias = Mapping[str, Json]


def canonical(value: object) -> str:
    """Return the one text of a JSON value.

    Raises:
        TypeError: The value is not JSON.
        ValueError: The value holds NaN or an infinity, or contains itself.
    """
    return _encode(value)


def digest(name: str, arguments: object) -> str:
    """Return the SHA-256 hex digest of a tool's name and canonical arguments.

    Approvals are bound to it: change one argument and it is another digest.
    """
    return sha256(f"{name}\0{canonical(arguments)}".encode()).hexdigest()


# Made once: `json.dumps` makes an encoder for each call that asks for anything special.
_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False
).encode
