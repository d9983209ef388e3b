"""The gates of the house: sizes, who may make asyncio tasks, what is never written."""

import ast
import io
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
PACKAGE = SRC / "sidetask"
FAMILIES = ("models", "engines", "stores")
SEAMS = {"base", "bounds", "queue", "members", "jobs"}
"""What all members of a family share."""
TASK_MAKERS = {"sidetask/engines/base/local.py", "sidetask/tasks/aio/spawn.py"}
HEAVY = {
    "cyclopts",
    "dbos",
    "griffe",
    "mcp",
    "opentelemetry",
    "prompt_toolkit",
    "psycopg",
    "pydantic",
    "pydantic_ai",
    "rich",
    "stamina",
    "starlette",
}

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def _sources() -> list[Path]:
    found = sorted(PACKAGE.rglob("*.py"))
    assert found, "no source: the gates would hold for nothing"
    return found


def _ours() -> list[Path]:
    """All Python that is held to the size gates, tests too."""
    return sorted(
        path
        for folder in ("src", "tests", "docs_src", "scripts")
        for path in (ROOT / folder).rglob("*.py")
    )


def _name(path: Path) -> str:
    return path.relative_to(SRC if path.is_relative_to(SRC) else ROOT).as_posix()


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), filename=str(path))


_source = cache(_parsed)
"""Of the package, whose files most gates look at."""


@cache
def _walk(path: Path) -> tuple[ast.AST, ...]:
    """All of a file of the package. To walk it takes longer than to read it: once is enough."""
    return tuple(ast.walk(_source(path)))


def _definitions(node: ast.AST) -> Iterator[FunctionNode | ast.ClassDef]:
    """The functions and classes in it, without a look at its expressions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            continue
        if isinstance(child, FunctionNode | ast.ClassDef):
            yield child
        yield from _definitions(child)


@pytest.fixture(scope="module", autouse=True)
def _forgotten() -> Iterator[None]:
    """The trees are many megabytes: nobody after these tests has them about."""
    yield
    _walk.cache_clear()
    _source.cache_clear()


def _length(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def _called(node: ast.Call) -> str:
    """The last part of what is called: `loop.create_task(...)` is `create_task`."""
    match node.func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case _:
            return ""


def _imported(node: ast.AST) -> list[str]:
    """The modules that an import statement may load, `from a import b` as both a and a.b."""
    match node:
        case ast.Import(names=names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module=str(module), names=names):
            return [module, *(f"{module}.{alias.name}" for alias in names)]
        case _:
            return []


# -- sizes ---------------------------------------------------------------------------------


def test_no_file_is_longer_than_500_lines() -> None:
    lengths = {_name(path): len(path.read_text("utf-8").splitlines()) for path in _ours()}
    assert {name: length for name, length in lengths.items() if length > 500} == {}


def test_no_function_is_longer_than_60_lines_and_no_class_than_350() -> None:
    assert [
        f"{_name(path)}: {node.name} has {_length(node)} lines"
        for path in _ours()
        for node in _definitions(_parsed(path))
        if _length(node) > (350 if isinstance(node, ast.ClassDef) else 60)
    ] == []


def _methods(node: ast.ClassDef) -> list[str]:
    """Names of the methods, once each: no dunders, no properties, no overloads."""
    return [
        child.name
        for child in node.body
        if isinstance(child, FunctionNode)
        and not (child.name.startswith("__") and child.name.endswith("__"))
        and not any(
            word in ast.unparse(decorator)
            for decorator in child.decorator_list
            for word in ("property", ".setter", "overload")
        )
    ]


def test_no_class_has_more_than_20_methods() -> None:
    assert [
        f"{_name(path)}: {node.name} has {len(_methods(node))} methods"
        for path in _sources()
        for node in _walk(path)
        if isinstance(node, ast.ClassDef) and len(_methods(node)) > 20
    ] == []


def test_no_folder_has_more_than_10_files() -> None:
    """A face (`__init__.py`) holds no logic and does not count."""
    counts = Counter(_name(path.parent) for path in _sources() if path.name != "__init__.py")
    assert {name: count for name, count in counts.items() if count > 10} == {}


# -- what is never written, or only in one place -------------------------------------------


def test_only_two_files_make_asyncio_tasks() -> None:
    makers = {
        _name(path)
        for path in _sources()
        for node in _walk(path)
        if isinstance(node, ast.Call)
        and (
            _called(node) in {"create_task", "ensure_future"}
            or ast.unparse(node.func) in {"asyncio.Task", "asyncio.tasks.Task"}
        )
    }
    assert makers <= TASK_MAKERS


def test_nothing_is_dispatched_by_hasattr_or_evaluated_from_text() -> None:
    assert [
        f"{_name(path)}:{node.lineno}: {node.func.id}"
        for path in _sources()
        for node in _walk(path)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in {"hasattr", "eval", "exec"}
    ] == []


def test_nothing_is_pickled() -> None:
    assert [
        f"{_name(path)}: {module}"
        for path in _sources()
        for node in _walk(path)
        for module in _imported(node)
        if module.split(".")[0] in {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
    ] == []


def test_every_module_opens_with_a_docstring() -> None:
    assert [_name(path) for path in _sources() if not ast.get_docstring(_source(path))] == []


def _catches_all(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(ast.unparse(kind) in {"Exception", "BaseException"} for kind in caught)


def _comments(source: str) -> dict[int, str]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0]: token.string for token in tokens if token.type == tokenize.COMMENT}


def test_every_error_is_caught_only_at_a_named_boundary() -> None:
    offenders: list[str] = []
    for path in _sources():
        comments = _comments(path.read_text("utf-8"))
        offenders += [
            f"{_name(path)}:{node.lineno}"
            for node in _walk(path)
            if isinstance(node, ast.ExceptHandler)
            and _catches_all(node)
            and "boundary" not in comments.get(node.lineno, "")
        ]
    assert offenders == []


# -- floors and families (import-linter holds the order of the floors) ---------------------


def test_core_decides_without_io_and_without_a_clock() -> None:
    shells = {"asyncio", "random", "socket", "subprocess", "threading", "time", "uuid"}
    offenders: list[str] = []
    for path in sorted((PACKAGE / "core").rglob("*.py")):
        for node in _walk(path):
            if isinstance(node, ast.AsyncFunctionDef):
                offenders.append(f"{_name(path)}: async def {node.name}")
            offenders += [f"{_name(path)}: {name}" for name in _imported(node) if name in shells]
    assert offenders == []


def test_members_of_a_family_import_only_its_base() -> None:
    offenders: list[str] = []
    for family in FAMILIES:
        for path in sorted((PACKAGE / family).rglob("*.py")):
            member = path.relative_to(PACKAGE / family).parts[0].removesuffix(".py")
            if member in ("__init__", "opening"):
                continue  # the face names every light member; some open them by name
            prefix = f"sidetask.{family}."
            siblings = {
                module.removeprefix(prefix).split(".")[0]
                for node in _walk(path)
                for module in _imported(node)
                if module.startswith(prefix)
            }
            allowed = SEAMS if member in SEAMS else {member} | SEAMS
            offenders += [f"{_name(path)}: {name}" for name in siblings - allowed]
    assert offenders == []


# -- the face ------------------------------------------------------------------------------


def _run(code: str) -> set[str]:
    """Words that a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_face_loads_no_heavy_library() -> None:
    loaded = _run("import sys, sidetask; print(*(name.split('.')[0] for name in sys.modules))")
    assert "sidetask" in loaded
    assert loaded & (HEAVY | {"sqlite3", "sqlalchemy"}) == set()


def test_a_conversation_in_memory_loads_no_database_and_no_engine() -> None:
    loaded = _run(
        "import asyncio, sys\n"
        "import sidetask\n"
        "from sidetask.testing import ScriptedModel, call\n"
        "@sidetask.tool(route=sidetask.background())\n"
        "async def work(ctx: sidetask.RunContext[None]) -> str:\n"
        "    'Work.'\n"
        "    return await ctx.step('one', asyncio.sleep, 0, 'worked')\n"
        "async def main():\n"
        "    model = ScriptedModel(call('work'), 'Begun.', 'Told.')\n"
        "    async with sidetask.open(sidetask.Agent(model, tools=[work])) as chat:\n"
        "        await chat.ask('go')\n"
        "        await chat.wait_for_idle()\n"
        "        assert len(chat.history()) == 6\n"
        "asyncio.run(main())\n"
        "print(*(name.split('.')[0] for name in sys.modules), *sys.modules)"
    )
    assert "sidetask.stores.memory" in loaded
    durable = {"dbos", "psycopg", "sqlite3", "sqlalchemy", "sidetask.stores.sql"}
    assert loaded & durable == set()


def test_the_face_has_at_most_25_names_and_every_one_is_there() -> None:
    names = _run("import sidetask as s; [getattr(s, n) for n in s.__all__]; print(*s.__all__)")
    assert 0 < len(names) <= 25
