"""The reference pages that are read off the code: events, errors, and the public names.

Words come from the docstrings, a field's from the string below it, so a page can be mended only
where the code is.
"""

import ast
import functools
import inspect
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType

import sidetask
from sidetask import orchestration
from sidetask.core import errors, events
from sidetask.core.lifecycle import TERMINAL, TRANSITIONS

INTERNAL = {
    ("AgentHandle", "begin_shutdown"),
    ("ChatResponse", "admit"),
    ("ChatResponse", "append"),
    ("ChatResponse", "asked"),
    ("ChatResponse", "end"),
    ("ChatResponse", "events"),
    ("ChatResponse", "finish"),
    ("ChatResponse", "more"),
    ("RunContext", "is_approved"),
    ("Runtime", "start_agent"),
}
"""Members without an underscore that are there for the runtime's own parts."""
ELSEWHERE = {
    "EventKind": "events.md",
    "SidetaskError": "errors.md",
    "TaskStatus": "lifecycle.md",
    "ToolError": "errors.md",
}
ENVELOPE = (events.Event, events.LiveEvent, events.TaskEvent)


def events_page(notice: str) -> str:
    """Every kind of event: when it comes, and what it carries."""
    lines = [
        "# Events",
        "",
        notice,
        "",
        "Read from `sidetask.core.events`; [the guide](../guides/events.md) says how to listen.",
        "A *fact* has a number of its own and is kept; a *live* event is told and not kept. What",
        "is marked *last* is the one end of its run or task. A *view* is another shape of the",
        "event that it names, made for those who ask `runtime.on` for its kind: no part of `any`.",
    ]
    for base, title in (
        (events.Event, "Every event carries"),
        (events.LiveEvent, "A live event, besides"),
        (events.TaskEvent, "An event of a task, besides"),
    ):
        lines += ["", f"{title}:", "", "| field | type | |", "|---|---|---|"]
        lines += [_field_row(name, type_, text) for name, type_, text in _own_fields(base)]
    lines += ["", "| kind and class | when | | carries |", "|---|---|---|---|"]
    by_kind = {event.kind: event for event in _event_classes()}
    for kind in events.EventKind:
        if kind is not events.EventKind.ANY:
            lines.append(_event_row(by_kind[kind]))
    return "\n".join([*lines, ""])


def errors_page(notice: str) -> str:
    """Every error, with the class above it."""
    lines = [
        "# Errors",
        "",
        notice,
        "",
        "Read from `sidetask.core.errors`. One root, and one class for each reaction of the",
        "caller; [the guide](../guides/errors.md) says what to do, and so does an error's text.",
        "",
        "| class | is a | when |",
        "|---|---|---|",
    ]
    for name, error in vars(errors).items():
        if inspect.isclass(error) and issubclass(error, errors.SidetaskError):
            above = ", ".join(f"`{base.__name__}`" for base in error.__bases__)
            lines.append(f"| `{name}` | {above} | {_first_words(error)} |")
    return "\n".join([*lines, ""])


def api_page(notice: str) -> str:
    """The names of `sidetask.__all__`, and the members of those that are classes."""
    lines = [
        "# Public names",
        "",
        notice,
        "",
        "Read from `sidetask.__all__`: what `import sidetask` promises. The rest that a host may",
        "import: [errors](errors.md) from `sidetask.core.errors`, [events](events.md) from",
        "`sidetask.core.events`, messages from `sidetask.core.messages`, the values of tasks and",
        "approvals from `sidetask.tasks.values`, models from `sidetask.models`, and the test kit",
        "from `sidetask.testing`. How agents are invoked and composed is",
        "[a page of its own](orchestration.md).",
    ]
    return "\n".join([*lines, *_names_of(sidetask), ""])


def orchestration_page(notice: str) -> str:
    """The names of `sidetask.orchestration.__all__`, likewise."""
    lines = [
        "# Orchestration",
        "",
        notice,
        "",
        "Read from `sidetask.orchestration.__all__`: agents beside the conversation, agents out of",
        "agents, values by name, and flows.",
    ]
    return "\n".join([*lines, *_names_of(orchestration), ""])


def _names_of(face: ModuleType) -> Iterator[str]:
    """The names of a face as a table, then a section for each that is a class."""
    named = [(name, getattr(face, name)) for name in face.__all__]
    yield from ("", "| name | what it is |", "|---|---|")
    for name, thing in named:
        target = ELSEWHERE.get(name, f"#{name.lower()}" if _has_section(thing) else "")
        shown = f"[`{name}`]({target})" if target else f"`{name}`"
        yield f"| {shown} | {_first_words(thing)} |"
    for name, thing in named:
        if _has_section(thing):
            yield from ("", f"## {name}", "", "| member | | |", "|---|---|---|")
            yield from _member_rows(thing)


# -- events --------------------------------------------------------------------------------


def _event_classes() -> Iterator[type[events.Event]]:
    for event in vars(events).values():
        if inspect.isclass(event) and issubclass(event, events.Event) and "kind" in vars(event):
            yield event


def _event_row(event: type[events.Event]) -> str:
    own = [
        f"`{name}: {type_}`" + (f" {text}" if text else "")
        for base in reversed(event.__mro__)
        if base not in (*ENVELOPE, object)
        for name, type_, text in _own_fields(base)
        if not (event.live and name == "index")
    ]
    marks = ["live" if event.live else "fact", *(["last"] if event.terminal else [])]
    if event.kind in events.VIEWS:
        marks = [f"view of `{vars(event)['of'].__name__}`"]
    when = _first_words(event) or _end_of_task(event)
    carries = _cell("<br>".join(own))
    return f"| `{event.kind.value}` `{event.__name__}` | {when} | {', '.join(marks)} | {carries} |"


def _end_of_task(event: type[events.Event]) -> str:
    for (_, made), after in TRANSITIONS.items():
        if made is event and after in TERMINAL:
            return f"The task has ended: `{after.value}`."
    return ""


# -- classes -------------------------------------------------------------------------------


def _has_section(thing: object) -> bool:
    return inspect.isclass(thing) and not issubclass(thing, Exception | Enum)


def _member_rows(thing: type[object]) -> Iterator[str]:
    """Fields first, then properties and methods, each once, with the nearest class's words."""
    defaults = {each.name: _default(each) for each in fields(thing)} if is_dataclass(thing) else {}
    ours = [base for base in thing.__mro__ if base.__module__.startswith("sidetask")]
    seen = {name for owner, name in INTERNAL if owner == thing.__name__}
    for base in ours:
        for name, type_, text in (*_own_fields(base), *_made_in_init(base)):
            if name not in seen and not name.startswith("_"):
                seen.add(name)
                yield _field_row(name, type_ + defaults.get(name, ""), text)
    for node in (node for base in ours for node in _body(base)):
        is_method = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if is_method and node.name not in seen and not node.name.startswith("_"):
            seen.add(node.name)
            yield _method_row(node)


def _method_row(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    words = _cell(_paragraph(ast.get_docstring(node) or ""))
    if any(ast.unparse(each) == "property" for each in node.decorator_list):
        return _field_row(node.name, ast.unparse(node.returns) if node.returns else "", words)
    for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
        argument.annotation = None
    for rest in (node.args.vararg, node.args.kwarg):
        if rest is not None:
            rest.annotation = None
    shown = ast.unparse(node.args).removeprefix("self").removeprefix(", ")
    waits = "await " if isinstance(node, ast.AsyncFunctionDef) else ""
    return f"| `{_cell(f'{waits}{node.name}({shown})')}` | | {words} |"


def _own_fields(owner: type) -> Iterator[tuple[str, str, str]]:
    """Name, type and words of each annotated name in a class's own body."""
    body = _body(owner)
    for node, below in zip(body, [*body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            type_ = ast.unparse(node.annotation)
            if not type_.startswith("ClassVar"):
                yield node.target.id, type_, _string(below)


def _made_in_init(owner: type) -> Iterator[tuple[str, str, str]]:
    """Name, type and words of each public attribute that `__init__` sets."""
    found = [each for each in _body(owner) if isinstance(each, ast.FunctionDef)]
    for init in (each for each in found if each.name == "__init__"):
        given = {each.arg: each.annotation for each in (*init.args.args, *init.args.kwonlyargs)}
        for node, below in zip(init.body, [*init.body[1:], ast.Pass()], strict=True):
            match node:
                case ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Name(id=argument)):
                    type_ = given.get(argument)
                case ast.AnnAssign(target=ast.Attribute(attr=name), annotation=type_):
                    pass
                case _:
                    continue
            if not name.startswith("_"):
                yield name, ast.unparse(type_) if type_ is not None else "", _string(below)


def _body(owner: type) -> list[ast.stmt]:
    for node in ast.walk(_tree(inspect.getsourcefile(owner) or "")):
        if isinstance(node, ast.ClassDef) and node.name == owner.__name__:
            return node.body
    return []


@functools.cache
def _tree(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text("utf-8"))


def _default(field: Field[object]) -> str:
    if field.default is MISSING or not isinstance(field.default, int | float | str | None):
        return ""
    shown = field.default.value if isinstance(field.default, Enum) else field.default
    return f" = {shown!r}"


# -- words ---------------------------------------------------------------------------------


def _first_words(thing: object) -> str:
    """The first paragraph of a docstring; none for what a dataclass makes up itself."""
    words = vars(thing).get("__doc__") if inspect.isclass(thing) else inspect.getdoc(thing)
    if not words or words.startswith(f"{getattr(thing, '__name__', '')}("):
        return ""
    return _cell(_paragraph(inspect.cleandoc(words)))


def _paragraph(words: str) -> str:
    return " ".join(words.split("\n\n", maxsplit=1)[0].split())


def _string(node: ast.stmt) -> str:
    match node:
        case ast.Expr(value=ast.Constant(value=str(text))):
            return _cell(_paragraph(inspect.cleandoc(text)))
        case _:
            return ""


def _field_row(name: str, type_: str, text: str) -> str:
    return f"| `{name}` | `{_cell(type_)}` | {text} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
