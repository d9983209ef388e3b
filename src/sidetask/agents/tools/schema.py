"""A function's signature and docstring, as a JSON schema for a model and a parser of its calls.

Only this file of the tools imports pydantic (types) and griffe (docstrings); both are heavy, so
`tools` imports it when the first function becomes a tool.

* The first parameter is hidden from the model when its type is `RunContext`.
* All other parameters need a type hint that pydantic knows. Unknown arguments are refused.
* A parameter's description is that of its `Field`, else the docstring's (Google, NumPy or Sphinx).
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from reprlib import Repr
from types import SimpleNamespace
from typing import Annotated, Any, TypeAlias, get_args, get_origin, get_type_hints

import griffe
from pydantic import (
    GetCoreSchemaHandler,
    PydanticUndefinedAnnotation,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from pydantic_core import CoreSchema, ErrorDetails, SchemaError, core_schema

from sidetask.core.errors import ConfigurationError, InvalidInputError
from sidetask.core.jsons import JsonObject
from sidetask.tasks.context import RunContext

AnyFunction: TypeAlias = Callable[..., object]
Parser: TypeAlias = Callable[[str], dict[str, object]]

_MAX_PROBLEMS = 10
_UNFIT = (PydanticUserError, PydanticUndefinedAnnotation, SchemaError, TypeError)
"""How pydantic says that it can make no schema of a type."""
_QUIET: griffe.PerStyleOptions = {
    "google": {"warnings": False},
    "numpy": {"warnings": False},
    "sphinx": {"warnings": False},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionSchema:
    """All that a tool knows of its function."""

    description: str
    parameters: JsonObject
    parse: Parser
    """From JSON text to keyword arguments.

    Raises:
        InvalidInputError: They do not fit; the error names each field and its problem.
    """
    parse_exactly: Parser
    """As `parse`, for what stands in the JSON as the types have it: `"7"` is no number."""
    context: str | None
    """The name of the parameter that takes the `RunContext`."""


def function_schema(tool: str, function: AnyFunction) -> FunctionSchema:
    """Describe the function of the tool `tool`.

    Raises:
        ConfigurationError: It has a parameter that no model could fill in.
    """
    target = _target(function)
    context, fields = _fields(tool, function, target)
    text, described = _docstring(inspect.getdoc(target) or "")
    adapter, parameters = _compiled(tool, fields)
    for name, field in parameters["properties"].items():
        if name in described:
            field.setdefault("description", described[name])
    names, read = ", ".join(fields) or "none", adapter.validator.validate_json
    return FunctionSchema(
        description=text,
        parameters=parameters,
        parse=_parser(read, names),
        parse_exactly=_parser(partial(read, strict=True), names),
        context=context,
    )


# -- the signature -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Field:
    hint: Any
    default: object = inspect.Parameter.empty


_Fields: TypeAlias = Mapping[str, _Field]


def _target(function: AnyFunction) -> AnyFunction:
    """Where the docstring and the hints are: below `partial`, or in `__call__`."""
    while isinstance(function, partial):
        function = function.func
    return function if inspect.isroutine(function) else function.__call__


def _given(function: object) -> frozenset[str]:
    """Names that a `partial` fills in: they are none of the model's business."""
    return frozenset(function.keywords if isinstance(function, partial) else ())


def _fields(tool: str, function: AnyFunction, target: AnyFunction) -> tuple[str | None, _Fields]:
    context: str | None = None
    fields: dict[str, _Field] = {}
    given = _given(function)
    scope: dict[str, Any] = getattr(inspect.unwrap(target), "__globals__", {})
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as error:
        raise ConfigurationError(f"tool {tool!r}: {error}: wrap it in a function") from None
    for index, parameter in enumerate(parameters):
        if parameter.name in given:
            continue
        hint = _hint(tool, parameter, scope)
        if not _is_context(hint):
            fields[parameter.name] = _field(tool, parameter, hint)
        elif index == 0:
            context = parameter.name
        else:
            raise _wrong(tool, parameter.name, "takes the RunContext: make it the first one")
    return context, fields


def _hint(tool: str, parameter: inspect.Parameter, scope: dict[str, Any]) -> Any:
    name = parameter.name
    if parameter.kind is parameter.POSITIONAL_ONLY:
        raise _wrong(tool, name, "is positional-only: arguments go by name, remove the '/'")
    if parameter.kind in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}:
        raise _wrong(tool, name, "is open-ended: name each parameter, or take a list or dict")
    if parameter.annotation is parameter.empty:
        if name in {"self", "cls"}:
            raise _wrong(tool, name, "is not bound: make the tool of the method, tool(obj.method)")
        raise _wrong(tool, name, "has no type hint: add one, the model needs it")
    bearer = SimpleNamespace(__annotations__={name: parameter.annotation})
    try:
        return get_type_hints(bearer, globalns=scope, include_extras=True)[name]
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise _wrong(
            tool,
            name,
            f"has a type hint that cannot be resolved ({error}): define the type at the top of"
            " the module, and import it there, not under TYPE_CHECKING",
        ) from error


def _is_context(hint: Any) -> bool:
    while get_origin(hint) is not None:
        hint = get_args(hint)[0] if get_origin(hint) is Annotated else get_origin(hint)
    return isinstance(hint, type) and issubclass(hint, RunContext)


def _field(tool: str, parameter: inspect.Parameter, hint: Any) -> _Field:
    notes = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    for info in (*notes, parameter.default):
        if not isinstance(info, FieldInfo):
            continue
        if info is parameter.default or not info.is_required() or info.validation_alias:
            raise _wrong(
                tool,
                parameter.name,
                "has a Field that sets a default or an alias: write"
                " `name: Annotated[type, Field(description=...)] = default`",
            )
    return _Field(hint, parameter.default)


def _wrong(tool: str, parameter: str, problem: str) -> ConfigurationError:
    return ConfigurationError(f"tool {tool!r}: parameter {parameter!r} {problem}")


# -- the schema and the parser -----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Arguments:
    """Tells pydantic how a dict of these fields is validated."""

    fields: _Fields

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        typed = {
            name: core_schema.typed_dict_field(
                _with_default(handler.generate_schema(field.hint), field.default),
                required=field.default is inspect.Parameter.empty,
            )
            for name, field in self.fields.items()
        }
        finite = core_schema.CoreConfig(allow_inf_nan=False)  # others are not JSON
        return core_schema.typed_dict_schema(typed, extra_behavior="forbid", config=finite)


def _with_default(schema: CoreSchema, default: object) -> CoreSchema:
    if default is inspect.Parameter.empty:
        return schema
    return core_schema.with_default_schema(schema, default=default)


class _JsonSchema(GenerateJsonSchema):
    """No titles of fields: they cost tokens and repeat the names."""

    # A default that is not JSON is not shown to the model, and still is the default.
    ignored_warning_kinds: set[JsonSchemaWarningKind] = {  # noqa: RUF012 - pydantic's own type
        "skipped-choice",
        "non-serializable-default",
    }

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def _compiled(tool: str, fields: _Fields) -> tuple[TypeAdapter[Any], dict[str, Any]]:
    try:
        adapter = TypeAdapter[Any](Annotated[dict[str, object], _Arguments(fields)])
        schema = adapter.json_schema(schema_generator=_JsonSchema)
    except _UNFIT as error:
        raise _culprit(tool, fields, error) from error
    return adapter, {"type": "object", "properties": {}, **schema, "additionalProperties": False}


def _culprit(tool: str, fields: _Fields, error: Exception) -> ConfigurationError:
    """Which of the fields it was: pydantic does not say."""
    found = ", ".join(fields)
    for name, field in fields.items():
        try:
            TypeAdapter[Any](field.hint).json_schema()
        except _UNFIT as own:
            found, error = name, own
            break
    return _wrong(
        tool,
        found,
        "has a type that a model cannot fill in: use JSON types, dataclasses, TypedDict or"
        f" pydantic models ({str(error).splitlines()[0]})",
    )


def _parser(validate: Parser, names: str) -> Parser:
    def parse(text: str) -> dict[str, object]:
        try:
            return validate(text or "{}")
        except ValidationError as error:
            raise InvalidInputError(_problems(error, names)) from None
        except Exception as error:  # the one boundary: validators are users' code
            raise InvalidInputError(
                f"the arguments could not be checked: {type(error).__name__}: {error}"
            ) from error

    return parse


_short = Repr()
_short.maxstring = _short.maxother = 60


def _problems(error: ValidationError, names: str) -> str:
    found = error.errors(include_url=False, include_context=False)
    lines = [f"- {_problem(detail, names)}" for detail in found[:_MAX_PROBLEMS]]
    if len(found) > _MAX_PROBLEMS:
        lines.append(f"- and {len(found) - _MAX_PROBLEMS} more")
    return "\n".join(["the arguments do not fit, and the tool was not run:", *lines])


def _problem(detail: ErrorDetails, names: str) -> str:
    where = ".".join([str(step) for step in detail["loc"]])
    match detail["type"]:
        case "json_invalid":
            return detail["msg"]
        case "missing":
            return f"{where}: missing"
        case "extra_forbidden" if len(detail["loc"]) == 1:
            return f"{where}: no such argument; there are: {names}"
        case _:
            given = _short.repr(detail["input"])
            return f"{where or 'arguments'}: {detail['msg']} (got {given})"


# -- the docstring -----------------------------------------------------------------------


def _docstring(text: str) -> tuple[str, dict[str, str]]:
    """What it says of the function, and of each parameter."""
    # The line ends are for griffe's guess of the style, which wants text around a section.
    docstring = griffe.Docstring(f"{text}\n")
    docstring.value = f"{text}\n"
    sections = griffe.parse_auto(docstring, default=griffe.Parser.google, per_style_options=_QUIET)
    texts: list[str] = []
    described: dict[str, str] = {}
    for section in sections:
        match section:
            case griffe.DocstringSectionText():
                texts.append(section.value)
            case griffe.DocstringSectionAdmonition():
                texts.append(f"{section.title}: {section.value.description}")
            case griffe.DocstringSectionExamples():
                texts.append("\n".join(["Examples:", *(example for _, example in section.value)]))
            case griffe.DocstringSectionParameters() | griffe.DocstringSectionOtherParameters():
                described |= {item.name: item.description for item in section.value}
            case _:
                pass  # returns, raises: the model sees them when they happen
    return "\n\n".join(texts).strip(), described
