import asyncio
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.limits import HANG

from sidetask.cli.toolbox.files import Files
from sidetask.cli.toolbox.paths import Fence, matches
from sidetask.cli.toolbox.slices import in_slices
from sidetask.core.errors import ToolError
from sidetask.tasks.context import RunContext

Ctx = RunContext[object]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A working directory with a secret beside it."""
    (tmp_path / "secret.txt").write_text("secret")
    below = tmp_path / "work"
    (below / "docs" / "deep").mkdir(parents=True)
    (below / ".git").mkdir()
    (below / ".git" / "config").write_text("hidden words\n")
    (below / "README.md").write_text("# Title\nsome words\n")
    (below / "docs" / "a.md").write_text("alpha\nbeta\n")
    (below / "docs" / "deep" / "b.md").write_text("beta beta")
    (below / "docs" / "c.py").write_text("beta = 1\n")
    return below


@pytest.fixture
def files(root: Path) -> Files:
    return Files(Fence(root))


# -- the fence -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt",
        "docs/../../secret.txt",
        "..",
        "/etc/passwd",
        "/no/such/file",
        "link.txt",
        "up/secret.txt",
        "up/none.txt",
        "dangling",
    ],
)
async def test_a_path_that_leaves_the_directory_is_refused(
    root: Path, files: Files, ctx: Ctx, path: str
) -> None:
    (root / "link.txt").symlink_to(root.parent / "secret.txt")
    (root / "up").symlink_to("..")
    (root / "dangling").symlink_to("../nothing")
    for call in (
        files.read_file(ctx, path),
        files.list_files(ctx, path),
        files.search_files(ctx, "secret", path),
        files.count_words(ctx, path),
    ):
        with pytest.raises(ToolError, match="outside of the working directory"):
            await call


@pytest.mark.parametrize(
    "path", ["none.md", "docs/none/x", "README.md/x", "a\0b", "loop", "x" * 999]
)
async def test_a_path_to_nothing_is_refused(root: Path, files: Files, ctx: Ctx, path: str) -> None:
    (root / "loop").symlink_to("loop")
    with pytest.raises(ToolError):
        await files.read_file(ctx, path)


async def test_links_and_absolute_paths_that_stay_below_are_followed(
    root: Path, files: Files, ctx: Ctx
) -> None:
    (root / "link.md").symlink_to("docs/a.md")
    assert await files.read_file(ctx, "link.md") == "alpha\nbeta\n"
    assert await files.read_file(ctx, str(root / "docs" / "a.md")) == "alpha\nbeta\n"


async def test_the_working_directory_may_itself_be_a_link(root: Path, ctx: Ctx) -> None:
    here = root.parent / "here"
    here.symlink_to(root)
    assert await Files(Fence(here)).read_file(ctx, "docs/a.md") == "alpha\nbeta\n"


async def test_a_link_met_while_walking_is_named_and_not_followed(
    root: Path, files: Files, ctx: Ctx
) -> None:
    (root / "docs" / "out.md").symlink_to(root.parent / "secret.txt")
    (root / "docs" / "up").symlink_to("../..")
    assert await files.search_files(ctx, "secret") == "[nothing]"
    assert (await files.count_words(ctx, "docs"))["files"] == 3
    listed = (await files.list_files(ctx, "docs", "**/*")).splitlines()
    assert listed == ["a.md", "c.py", "deep/", "deep/b.md", "out.md@", "up@"]


async def test_a_named_pipe_holds_nobody(root: Path, files: Files, ctx: Ctx) -> None:
    os.mkfifo(root / "pipe")
    with pytest.raises(ToolError, match="pipe is no regular file"):
        await files.read_file(ctx, "pipe")
    assert (await files.count_words(ctx))["files"] == 4


# -- reading -------------------------------------------------------------------------------


async def test_a_part_of_a_file_is_read_by_lines(root: Path, files: Files, ctx: Ctx) -> None:
    (root / "n").write_text("".join(f"{number}\n" for number in range(5)))
    assert await files.read_file(ctx, "n", offset=3) == "3\n4\n"
    assert await files.read_file(ctx, "n", 1, 2) == "1\n2\n[there is more: go on with offset=3]"
    assert await files.read_file(ctx, "n", 5) == "[nothing there: the file has 5 lines]"


async def test_a_big_file_is_read_in_parts_that_lose_nothing(
    root: Path, files: Files, ctx: Ctx
) -> None:
    whole = "".join(f"line {number} {'x' * 90}\n" for number in range(2_000))
    (root / "big").write_text(whole)
    read, offset = "", 0
    while True:
        part = await files.read_file(ctx, "big", offset, 100_000)
        text, more, tail = part.partition("[there is more: go on with offset=")
        read += text
        if not more:
            break
        offset = int(tail.rstrip("]"))
    assert read == whole


async def test_a_line_that_is_too_long_is_cut(root: Path, files: Files, ctx: Ctx) -> None:
    (root / "long").write_bytes(b"x" * 200_000 + b"\nend\n")
    text = await files.read_file(ctx, "long")
    assert len(text) < 50_000
    assert text.endswith("x\n[that line is longer: go on behind it with offset=1]")
    assert await files.read_file(ctx, "long", 1) == "end\n"


async def test_a_last_line_without_an_end_is_a_line(root: Path, files: Files, ctx: Ctx) -> None:
    (root / "n").write_text("a\nb")
    assert await files.read_file(ctx, "n", 1) == "b"
    assert await files.read_file(ctx, "n", 2) == "[nothing there: the file has 2 lines]"


async def test_an_empty_file_is_said_to_be_empty(root: Path, files: Files, ctx: Ctx) -> None:
    (root / "empty").touch()
    assert await files.read_file(ctx, "empty") == "[nothing there: the file has 0 lines]"


async def test_bytes_that_are_no_utf_8_are_replaced(root: Path, files: Files, ctx: Ctx) -> None:
    (root / "latin").write_bytes(b"caf\xe9\n")
    assert await files.read_file(ctx, "latin") == "caf\ufffd\n"


async def test_a_binary_file_is_refused(root: Path, files: Files, ctx: Ctx) -> None:
    (root / "bin").write_bytes(b"\x7fELF\0\0")
    with pytest.raises(ToolError, match=r"bin is binary \(6 bytes\)"):
        await files.read_file(ctx, "bin")


@pytest.mark.parametrize(("offset", "limit"), [(-1, 1), (0, 0)])
async def test_a_part_that_cannot_be_is_refused(
    files: Files, ctx: Ctx, offset: int, limit: int
) -> None:
    with pytest.raises(ToolError, match="at least"):
        await files.read_file(ctx, "README.md", offset, limit)


async def test_a_directory_is_not_read_and_a_file_not_listed(files: Files, ctx: Ctx) -> None:
    with pytest.raises(ToolError, match="docs is a directory"):
        await files.read_file(ctx, "docs")
    with pytest.raises(ToolError, match=r"README\.md is no directory"):
        await files.list_files(ctx, "README.md")


# -- listing, searching, counting ----------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "pattern", "listed"),
    [
        (".", "*", [".git/", "README.md", "docs/"]),
        ("docs", "*.md", ["a.md"]),
        (".", "**/*.md", ["README.md", "docs/a.md", "docs/deep/b.md"]),
        (".", "docs/*", ["docs/a.md", "docs/c.py", "docs/deep/"]),
        (".", "*.none", ["[nothing]"]),
        (".git", "*", ["config"]),
    ],
)
async def test_a_directory_is_listed(
    files: Files, ctx: Ctx, path: str, pattern: str, listed: list[str]
) -> None:
    assert (await files.list_files(ctx, path, pattern)).splitlines() == listed


async def test_a_long_list_is_cut(root: Path, files: Files, ctx: Ctx) -> None:
    many = root / "many"
    many.mkdir()
    for number in range(1_001):
        (many / f"{number:04}").touch()
    listed = (await files.list_files(ctx, "many")).splitlines()
    assert (len(listed), listed[-1][:15]) == (1_001, "[there is more:")


@pytest.mark.parametrize(
    ("path", "pattern", "fits"),
    [
        ("a.md", "*.md", True),
        ("x/a.md", "*.md", True),
        ("x/a.md", "x/*.md", True),
        ("x/y/a.md", "x/*.md", False),
        ("x/y/a.md", "x/**/*.md", True),
        ("x/a.md", "x/**/*.md", True),
        ("a.md", "**/a.md", True),
        ("x/y", "**", True),
        ("x/y", "x/**", True),
        ("x", "x/y", False),
        ("/".join("ab" * 12), "**/a/" * 10 + "c", False),
    ],
)
def test_patterns(path: str, pattern: str, fits: bool) -> None:
    assert matches(Path(path), pattern) is fits


async def test_lines_are_found_by_an_expression(files: Files, ctx: Ctx) -> None:
    assert (await files.search_files(ctx, r"\bbeta\b")).splitlines() == [
        "docs/a.md:2: beta",
        "docs/c.py:1: beta = 1",
        "docs/deep/b.md:1: beta beta",
    ]
    assert await files.search_files(ctx, "beta", glob="*.py") == "docs/c.py:1: beta = 1"
    assert await files.search_files(ctx, "^a", "docs/a.md") == "docs/a.md:1: alpha"


async def test_a_search_is_bounded_in_matches_and_in_lines(
    root: Path, files: Files, ctx: Ctx
) -> None:
    (root / "many").write_text("hit " + "x" * 5_000 + "\n" + "hit\n" * 300)
    found = (await files.search_files(ctx, "hit")).splitlines()
    assert (len(found), found[-1][:15]) == (201, "[there is more:")
    assert (len(found[0]) < 400, found[1]) == (True, "many:2: hit")


async def test_an_expression_that_is_none_is_refused(files: Files, ctx: Ctx) -> None:
    with pytest.raises(ToolError, match="no regular expression: missing"):
        await files.search_files(ctx, "(")


async def test_words_are_counted_across_pieces_and_binary_files_skipped(
    root: Path, files: Files, ctx: Ctx
) -> None:
    (root / "docs" / "long").write_bytes(b"word " * 50_000 + b"x" * 100_000)
    (root / "docs" / "bin").write_bytes(b"a\0b")
    assert await files.count_words(ctx, "docs/long") == {
        "files": 1, "lines": 0, "words": 50_001, "bytes": 350_000, "skipped": 0,
    }  # fmt: skip
    assert (await files.count_words(ctx, "docs"))["skipped"] == 1


# -- slices --------------------------------------------------------------------------------


@pytest.mark.slow
async def test_progress_is_told_between_slices_and_a_cancel_takes_effect_there(
    ctx: Ctx, notes: asyncio.Queue[tuple[float | None, str]]
) -> None:
    closed: list[str] = []

    def work() -> Generator[tuple[float | None, str], None, None]:
        try:
            while True:
                yield 0.5, "half"
        finally:
            closed.append("closed")

    task = asyncio.create_task(in_slices(ctx, work()))
    async with asyncio.timeout(HANG):
        assert await notes.get() == (0.5, "half")
        task.cancel()
        await asyncio.wait({task})
    assert task.cancelled()
    del task
    assert closed == ["closed"]
