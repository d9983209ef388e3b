"""JSON as values: the type, the canonical text, and the digest of a call.

The canonical text has sorted keys and no spaces, so that two calls that differ only in
key order are the same call. NaN and infinities are refused: they are not JSON.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from json import encoder as _json
from typing import Any, TypeAlias

Json: TypeAlias = "None | bool | int | float | str | Sequence[Json] | Mapping[str, Json]"
JsonObject: TypeAlias = Mapping[str, Json]


def encoder(*, sort_keys: bool) -> Callable[[object], str]:
    """What writes JSON text without spaces, letters as they are, and nothing that is not JSON.

    Made once: `json` makes one for each text, which takes as long as a small text itself.
    """
    asked = json.JSONEncoder(
        sort_keys=sort_keys, separators=(",", ":"), allow_nan=False, ensure_ascii=False
    )
    make: Any = getattr(_json, "c_make_encoder", None)
    if make is None:  # a Python without the compiled part of `json`
        return asked.encode
    # No look-out for what contains itself: it would note all that it is in, and after an error
    # for good. Such a value is nested too deep instead.
    chunks = make(
        None, asked.default, _json.encode_basestring, None, ":", ",", sort_keys, False, False
    )

    def encode(value: object) -> str:
        try:
            return "".join(chunks(value, 0))
        except RecursionError:
            raise ValueError("it contains itself, or is nested too deep") from None

    return encode


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


_encode = encoder(sort_keys=True)
