"""`sidetask worker` before it works: whose runtime, and in which store."""

import sys
from pathlib import Path

import pytest

from sidetask.cli.main import main
from sidetask.cli.worker.finding import find_runtime
from sidetask.cli.worker.serving import Wanted, serve
from sidetask.core.errors import ConfigurationError
from sidetask.stores.opening.urls import shown

PG, OTHER = "postgresql://ana:secret@db/app", "postgresql://db/other"


@pytest.fixture
def apps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of modules; what is done to the process is taken back."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setenv("SIDETASK_STORE", "")
    head = "from sidetask import Agent, Runtime\n"
    modules = {
        "work_any": head + "runtime = Runtime()\n",
        "work_own": head + f"runtime = Runtime(store={OTHER!r})\n",
        "work_store": head
        + "from sidetask.stores.memory import MemoryStore\n"
        + "runtime = Runtime(store=MemoryStore())\n",
        "work_file": head + "runtime = Runtime(store='sqlite:///x.db')\n",
        "work_make": head
        + "def make(store='memory:'): return Runtime(store=store)\n"
        + "async def later(): return Runtime()\n"
        + f"def stubborn(): return Runtime(store={OTHER!r})\n"
        + "def nothing(): return 1\n"
        + "def fails(): raise OSError('no disk')\n"
        + "thing = {}\nagent = Agent('you')\n",
    }
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text, "utf-8")
        sys.modules.pop(name, None)
    return tmp_path


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("app", "store", "place"),
    [
        ("work_any:runtime", PG, PG),
        ("work_own:runtime", None, OTHER),
        ("work_own:runtime", OTHER, OTHER),
        ("work_make:make", PG, PG),
        ("work_make:later", PG, PG),
    ],
)
async def test_the_store_is_what_is_said(
    apps: Path, app: str, store: str | None, place: str
) -> None:
    pytest.importorskip("psycopg")
    runtime = await find_runtime(app, store, apps)
    assert runtime.place == place


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("app", "store", "why"),
    [
        ("work_own:runtime", PG, "keeps them in postgresql://db/other: leave --store away"),
        ("work_make:stubborn", PG, "keeps them in postgresql://db/other: leave --store away"),
        ("work_store:runtime", PG, "opens its store itself: leave --store away"),
        ("work_any:runtime", None, "the store of work_any:runtime is 'memory:'"),
        ("work_file:runtime", None, "workers share a Postgres"),
        ("work_any:runtime", "sqlite:///x.db", "--store is 'sqlite:///x.db'"),
        ("work_none:runtime", PG, "no module 'work_none'"),
        ("work_any", PG, "--app takes module:runtime"),
        ("work_any:run", PG, "did you mean work_any:runtime?"),
        ("work_make:thing", PG, "is a dict, and neither a Runtime nor a function"),
        ("work_make:agent", PG, "is an Agent, and neither a Runtime"),
        ("work_make:nothing", PG, "made an int, not a Runtime"),
        ("work_make:fails", PG, "made no runtime: OSError: no disk"),
    ],
)
async def test_what_cannot_be_says_what_to_do(
    apps: Path, app: str, store: str | None, why: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await find_runtime(app, store, apps)
    assert why in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    assert shown(PG) == "postgresql://ana:***@db/app"
    assert shown("postgresql:///app?host=/tmp&password=x") == (
        "postgresql:///app?host=/tmp&password=***"
    )
    assert shown("postgresql://db/app") == "postgresql://db/app"


def test_without_tools_it_does_not_begin(
    apps: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(apps)
    with pytest.raises(SystemExit) as ended:
        main(["worker", "--app", "work_any:runtime", "--store", PG])
    assert ended.value.code == 2
    assert "no tool that a worker could carry out" in capsys.readouterr().err


@pytest.mark.anyio
async def test_a_database_that_is_not_there_asks_for_another_start(
    apps: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("psycopg")
    (tmp_path / "work_tool.py").write_text(
        "from sidetask import Agent, Runtime\n"
        "def look() -> str: return 'seen'\n"
        "runtime = Runtime(agents=[Agent('you', name='clerk', tools=[look])])\n",
        "utf-8",
    )
    sys.modules.pop("work_tool", None)
    nobody = f"postgresql://ana:secret@/app?host={tmp_path}"
    assert await serve(Wanted(app="work_tool:runtime", store=nobody), apps) == 1
    said = capsys.readouterr().err
    assert "start the worker again" in said
    assert "secret" not in said
