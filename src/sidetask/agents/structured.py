"""Structured output: a tool that the model calls to hand in what a turn is for."""

import json
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.jsons import Json
from sidetask.models.base import ToolSchema

NAME = "final_output"
_FIELD = "output"


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """How the output of a turn is asked for and read."""

    schema: ToolSchema
    adapter: TypeAdapter[Any]
    wrapped: bool
    """The type is no JSON object by itself, so the tool has one parameter that holds it."""

    def read(self, text: str) -> object:
        """Validate JSON text that the model wrote.

        Raises:
            InvalidInputError: It does not fit; the error says where.
        """
        try:
            if not self.wrapped:
                return self.adapter.validate_json(text)
            value = json.loads(text)
            inner = value.get(_FIELD, value) if isinstance(value, dict) else value  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
            return self.adapter.validate_python(inner)
        except ValidationError as error:
            problems = [
                f"{'.'.join(map(str, each['loc'])) or 'the value'}: {each['msg']}"
                for each in error.errors(include_url=False, include_input=False)
            ]
            raise InvalidInputError("; ".join(problems)) from None
        except ValueError as error:
            raise InvalidInputError(f"not JSON: {error}") from None


def output_spec(wanted: type[Any]) -> OutputSpec:
    """Build the spec of an output type.

    Raises:
        ConfigurationError: No JSON schema can be made of it.
    """
    try:
        adapter = TypeAdapter[Any](wanted)
        schema: dict[str, Json] = adapter.json_schema()
    except PydanticSchemaGenerationError as error:
        raise ConfigurationError(
            f"output_type={wanted!r} has no JSON schema: use a pydantic model, a dataclass, a"
            " TypedDict or a plain JSON type"
        ) from error
    wrapped = schema.get("type") != "object"
    if wrapped:
        schema = {"type": "object", "properties": {_FIELD: schema}, "required": [_FIELD]}
    return OutputSpec(
        ToolSchema(
            name=NAME,
            description="Hand in the final output. Call this once, when all else is done.",
            parameters=schema,
        ),
        adapter,
        wrapped,
    )
