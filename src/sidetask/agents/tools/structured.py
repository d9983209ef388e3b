"""Structured output: a tool that the model calls to hand in what a turn is for."""

import json
import re
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.jsons import Json
from sidetask.models.base import ToolSchema

NAME = "final_output"
_FIELD = "output"
_FENCED = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?```\s*", re.DOTALL)
"""JSON as models like to show it to people."""


class OutputSpec:
    """An output type, as the model is told of it and as its JSON is read.

    A type that is no JSON object by itself is wrapped: the tool has one parameter that holds it.

    Raises:
        ConfigurationError: No JSON schema can be made of the type.
    """

    def __init__(self, wanted: type[Any]) -> None:
        try:
            self._adapter = TypeAdapter[Any](wanted)
            schema: dict[str, Json] = self._adapter.json_schema()
        except PydanticUserError as error:
            raise ConfigurationError(
                f"output_type={wanted!r} has no JSON schema: use a pydantic model, a dataclass, a"
                f" TypedDict or a plain JSON type ({error.message})"
            ) from error
        self._wrapped = schema.get("type") != "object"
        self.schema = ToolSchema(
            name=NAME,
            description="Hand in the final output. Call this once, when all else is done.",
            parameters=_wrapped(schema) if self._wrapped else schema,
        )

    def read(self, text: str) -> object:
        """Validate JSON text that the model wrote, as the tool's arguments or as its reply.

        Raises:
            InvalidInputError: It does not fit; the error says where.
        """
        fenced = _FENCED.fullmatch(text)
        text = fenced[1] if fenced is not None else text
        try:
            return self._adapter.validate_json(_unwrapped(text) if self._wrapped else text)
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, each['loc'])) or 'the value'}: {each['msg']}"
                for each in error.errors(include_url=False, include_input=False)
            ]
            raise InvalidInputError("; ".join(problems)) from None


def _wrapped(schema: dict[str, Json]) -> dict[str, Json]:
    """Definitions stay at the top, where references look for them."""
    inner = {key: value for key, value in schema.items() if key != "$defs"}
    whole: dict[str, Json] = {
        "type": "object",
        "properties": {_FIELD: inner},
        "required": [_FIELD],
    }
    return {**whole, "$defs": schema["$defs"]} if "$defs" in schema else whole


def _unwrapped(text: str) -> str:
    """The wrapped value, or the text itself: a model that writes JSON may leave the wrapping."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text  # to be refused by who validates
    match value:
        case {"output": inner, **rest} if not rest:
            return json.dumps(inner)
        case _:
            return text
