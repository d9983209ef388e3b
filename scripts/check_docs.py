"""Checks the hand-written docs: their Python is run by tests, and their links lead somewhere.

A Python block names the file it shows, and is that file's text without its module docstring, or
one marked part of it:

    ```python title="docs_src/first_steps.py"        the whole file
    ```python title="docs_src/first_steps.py#ask"    what stands between `# region ask` and
                                                     `# endregion ask`

A block that names no file is an error: an example that no test runs goes stale unseen. A
signature or a fragment that is no example is marked `text`. `--write` brings blocks up to date.
A page that shows a part of a file links to the file: a reader who copies needs its imports.
"""

import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```python(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'^ title="(?P<path>docs_src/[^"#]+)(?:#(?P<part>[\w-]+))?"$')
MARK = re.compile(r"^ *# (?:end)?region [\w-]+\n", re.MULTILINE)
ANY_BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#{1,6} +(?P<title>.+?) *$", re.MULTILINE)


class StaleError(Exception):
    """A block cannot be compared with its file."""


def main(arguments: list[str]) -> int:
    write = arguments == ["--write"]
    if arguments and not write:
        print("usage: check_docs.py [--write]", file=sys.stderr)
        return 2
    problems: list[str] = []
    for page in pages():
        if write:
            _refresh(page)
        problems += [f"{page.relative_to(ROOT)}: {problem}" for problem in _problems(page)]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def pages() -> list[Path]:
    """Every Markdown page that a reader of the project meets."""
    return [
        *sorted(ROOT.glob("*.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        ROOT / "changelog.d" / "README.md",
    ]


def _problems(page: Path) -> Iterator[str]:
    text = page.read_text("utf-8")
    for block in BLOCK.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        try:
            if block["code"] != shown_by(block["info"]):
                yield f"line {line}: is not what its file says: run `make docs`"
        except StaleError as error:
            yield f"line {line}: {error}"
    yield from _unlinked(page, text)
    for link in LINK.finditer(ANY_BLOCK.sub("", text)):
        if not link["target"].startswith(("https://", "http://", "mailto:")):
            yield from _broken(page, link["target"])


def _unlinked(page: Path, text: str) -> Iterator[str]:
    titles = [TITLE.match(block["info"]) for block in BLOCK.finditer(text)]
    partly = {title["path"] for title in titles if title and title["part"]}
    links = {link["target"] for link in LINK.finditer(ANY_BLOCK.sub("", text))}
    linked = {(page.parent / link).resolve() for link in links}
    for path in sorted(partly):
        if (ROOT / path).resolve() not in linked:
            yield f"shows a part of {path}, and has no link to the file"


def _broken(page: Path, target: str) -> Iterator[str]:
    name, _, anchor = target.partition("#")
    path = (page.parent / name).resolve() if name else page
    if not path.exists():
        yield f"link to {target}: there is no such file"
    elif anchor and path.suffix == ".md" and anchor not in anchors(path.read_text("utf-8")):
        yield f"link to {target}: there is no such heading"


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    titles = (found["title"] for found in HEADING.finditer(ANY_BLOCK.sub("", text)))
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def shown_by(info: str) -> str:
    """The code that a block with this info string has to show.

    Raises:
        StaleError: It names no file, or a part that the file does not have.
    """
    title = TITLE.match(info)
    if title is None:
        raise StaleError('a python block names its file: ```python title="docs_src/…"')
    path = ROOT / title["path"]
    if not path.is_file():
        raise StaleError(f"there is no {title['path']}")
    source = path.read_text("utf-8")
    code = _part(source, title["part"]) if title["part"] else _without_docstring(source)
    return textwrap.dedent(MARK.sub("", code)).strip("\n") + "\n"


def _part(source: str, name: str) -> str:
    marked = re.search(rf"^ *# region {name}\n(.*?)^ *# endregion {name}$", source, re.M | re.S)
    if marked is None:
        raise StaleError(f"its file has no `# region {name}` with an `# endregion {name}`")
    return marked[1]


def _without_docstring(source: str) -> str:
    match ast.parse(source).body:
        case [ast.Expr(value=ast.Constant(value=str()), end_lineno=int(end)), *_]:
            return "".join(source.splitlines(keepends=True)[end:])
        case _:
            return source


def _refresh(page: Path) -> None:
    def renewed(block: re.Match[str]) -> str:
        try:
            return f"```python{block['info']}\n{shown_by(block['info'])}```"
        except StaleError:
            return block[0]  # told by the check that follows

    before = page.read_text("utf-8")
    after = BLOCK.sub(renewed, before)
    if after != before:
        page.write_text(after, "utf-8")
        print(f"wrote {page.relative_to(ROOT)}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
