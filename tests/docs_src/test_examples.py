"""The examples of the docs, run on a virtual clock: they print what their pages say.

A page shows what an example prints below its code, in a block of its own:

    ```text title="output of docs_src/first_steps.py"
"""

import importlib.util
import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Coroutine
from pathlib import Path

import pytest

from sidetask.testing import VirtualClock

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = re.compile(r'^```text title="output of (docs_src/\S+)"\n(.*?)^```$', re.M | re.S)

Main = Callable[..., Coroutine[object, object, None] | None]


def main_of(path: Path) -> Main:
    """The `main` of an example."""
    spec = importlib.util.spec_from_file_location(f"docs_example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def outputs() -> dict[str, list[tuple[str, str]]]:
    """For each example the pages that show what it prints, and what they say it is."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for path, output in OUTPUT.findall(page.read_text("utf-8")):
            found[path].append((page.relative_to(ROOT).as_posix(), output))
    return found


EXAMPLES = {  # what has no main holds tests of its own, or is imported by one that has
    path.relative_to(ROOT).as_posix(): path
    for path in sorted((ROOT / "docs_src").rglob("*.py"))
    if "def main(" in path.read_text("utf-8")
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_its_page_says(
    name: str, clock: VirtualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    running = main_of(EXAMPLES[name])()
    if inspect.iscoroutine(running):
        clock.run(running)
    printed = capsys.readouterr().out
    shown = outputs()[name]
    assert shown, f"no page shows what {name} prints:\n{printed}"
    for page, output in shown:
        assert printed == output, f"{page} is out of date"


def test_the_program_of_the_cluster_does_with_a_file_what_it_does_in_memory(
    clock: VirtualClock, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    name = "docs_src/cluster/program.py"
    for url in (f"sqlite:///{tmp_path / 'books.db'}", "memory:"):
        running = main_of(EXAMPLES[name])(url)
        assert running is not None
        clock.run(running)
        assert capsys.readouterr().out == outputs()[name][0][1]


def test_every_output_that_a_page_shows_is_of_an_example() -> None:
    assert set(outputs()) - set(EXAMPLES) == set()
