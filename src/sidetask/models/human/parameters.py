"""What a tool's JSON schema says about its parameters, as far as a line of text needs it.

Rule: text that does not fit is handed on as it is. The tool's own validation judges it, and
its error is what a model would read.
"""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import TypeGuard

from sidetask.core.jsons import Json, JsonObject

_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
_DEEPEST = 16  # references may lead in circles
# The stricter reading goes first: `5` is an integer wherever it may be one.
_STRICTEST_FIRST = ("null", "boolean", "integer", "number", "array", "object", "", "string")


class Unfit(Exception):  # noqa: N818 - never leaves this file
    """The text is no value of the schema."""


class Parameters:
    """The parameters of one tool, in the order of its schema."""

    def __init__(self, schema: JsonObject) -> None:
        self._root = schema
        self._properties = _mapping(schema.get("properties"))
        self._others = schema.get("additionalProperties", False)
        required = schema.get("required")
        self.required = tuple(str(name) for name in required) if _is_list(required) else ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._properties)

    def accepts(self, name: str) -> bool:
        return name in self._properties or self._others is not False

    def read(self, name: str, text: str, *, quoted: bool) -> Json:
        """The value that `text` means for a parameter; the text itself if it fits nothing."""

        def rank(schema: JsonObject) -> int:
            kind = str(schema.get("type", ""))
            if _listed(schema):
                return -2
            if quoted and kind == "string":
                return -1
            return _STRICTEST_FIRST.index(kind) if kind in _STRICTEST_FIRST else 0

        for schema in sorted(self._alternatives(name), key=rank):
            try:
                return _read(text, schema)
            except Unfit:
                continue
        return text

    def choices(self, name: str) -> tuple[str, ...]:
        """The words that a parameter may be, where its schema lists them."""
        words: dict[str, None] = {}
        for schema in self._alternatives(name):
            listed = _listed(schema)
            if listed:
                words.update(dict.fromkeys(_as_word(value) for value in listed))
            elif schema.get("type") == "boolean":
                words.update({"true": None, "false": None})
            elif schema.get("type") == "null":
                words["null"] = None
        return tuple(words)

    def described(self, name: str) -> str:
        """What is to be written for a parameter: `<integer>`, `fast|slow`."""
        schemas = [one for one in self._alternatives(name) if one.get("type") != "null"]
        if schemas and all(_listed(one) or one.get("type") == "boolean" for one in schemas):
            return "|".join(shlex.quote(word) for word in self.choices(name) if word != "null")
        kinds = dict.fromkeys(str(one.get("type", "any")) for one in schemas)
        return f"<{'|'.join(kinds) or 'null'}>"

    def _alternatives(self, name: str) -> list[JsonObject]:
        return self._plain(self._properties.get(name, self._others), 0)

    def _plain(self, schema: Json, depth: int) -> list[JsonObject]:
        """The schema as a list of alternatives without references, each of one type."""
        if not isinstance(schema, Mapping) or depth > _DEEPEST:
            return [{}]
        if isinstance(reference := schema.get("$ref"), str):
            return self._plain(self._referred(reference), depth + 1)
        for key in ("anyOf", "oneOf"):
            if _is_list(options := schema.get(key)):
                return [one for option in options for one in self._plain(option, depth + 1)]
        if _is_list(parts := schema.get("allOf")):
            merged: dict[str, Json] = {key: schema[key] for key in schema if key != "allOf"}
            for part in parts:
                merged.update(self._plain(part, depth + 1)[0])
            return self._plain(merged, depth + 1)
        if _is_list(kinds := schema.get("type")):
            return [{**schema, "type": kind} for kind in kinds]
        return [schema]

    def _referred(self, reference: str) -> Json:
        """What `#/$defs/Name` points to; None if it points nowhere."""
        found: Json = self._root
        for step in reference.removeprefix("#").split("/")[1:]:
            found = _mapping(found).get(step.replace("~1", "/").replace("~0", "~"))
        return found


def _read(text: str, schema: JsonObject) -> Json:
    for member in _listed(schema):
        if _as_word(member) == text:
            return member
    match schema.get("type"):
        case "string":
            return text
        case "null" if text == "null":
            return None
        case "boolean" if text.lower() in _BOOLEANS:
            return _BOOLEANS[text.lower()]
        case "integer" | "number" | "array" | "object" | None as kind:
            value = _json(text)
            if _is_of(kind, value):
                return value
            raise Unfit
        case _:
            raise Unfit


def _json(text: str) -> Json:
    try:
        return json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (ValueError, RecursionError):
        raise Unfit from None


def _finite(text: str) -> float:
    """NaN and the infinities, also as `1e999`, are Python's JSON and not JSON."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


def _is_of(kind: Json, value: Json) -> bool:
    match kind:
        case None:
            return True
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "array":
            return isinstance(value, list)
        case _:
            return isinstance(value, dict)


def _listed(schema: JsonObject) -> Sequence[Json]:
    """The values that the schema lists one by one."""
    if "const" in schema:
        return (schema["const"],)
    members = schema.get("enum")
    return members if _is_list(members) else ()


def _as_word(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _mapping(value: Json) -> JsonObject:
    return value if isinstance(value, Mapping) else {}


def _is_list(value: Json) -> TypeGuard[Sequence[Json]]:
    return isinstance(value, Sequence) and not isinstance(value, str)
