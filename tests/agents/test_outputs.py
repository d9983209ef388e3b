"""What a tool returned, as value and text, and how long texts are cut."""

import math
from collections import UserDict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from pathlib import PurePosixPath
from time import thread_time
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from sidetask.agents.tools.outputs import MAX_BYTES, MAX_LINES, cut, to_completed
from sidetask.core.errors import ToolResultError
from sidetask.core.messages import File, Image
from sidetask.tasks.values import Completed

PNG = Image(data=b"png")
PDF = File(media_type="application/pdf", url="https://example.com/a.pdf")


class Color(StrEnum):
    RED = "red"


class Level(Enum):
    HIGH = 3


class Hit(BaseModel):
    title: str
    seen: datetime


@dataclass
class Page:
    hits: list[Hit]
    level: Level


SEEN = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("result", "value", "content"),
    [
        ("plain", "plain", "plain"),
        ("", "", ""),
        (Color.RED, "red", "red"),
        (None, None, ""),
        (5, 5, "5"),
        (True, True, "true"),
        (["é", 1.5, None], ["é", 1.5, None], '["é", 1.5, null]'),
        ((1, 2), [1, 2], "[1, 2]"),
        ({1: "a"}, {"1": "a"}, '{"1": "a"}'),
        (Hit(title="a", seen=SEEN), {"title": "a", "seen": "2026-01-02T00:00:00Z"}, None),
        (
            Page([Hit(title="a", seen=SEEN)], Level.HIGH),
            {"hits": [{"title": "a", "seen": "2026-01-02T00:00:00Z"}], "level": 3},
            None,
        ),
        ({"at": SEEN}, {"at": "2026-01-02T00:00:00+00:00"}, None),
        ([UUID(int=0), PurePosixPath("a/b")], [str(UUID(int=0)), "a/b"], None),
        (Decimal("1.10"), "1.10", '"1.10"'),
    ],
)
def test_a_result_is_a_json_value_and_a_text(
    result: object, value: object, content: str | None
) -> None:
    got = to_completed(result)
    assert got.value == value
    assert content is None or got.content == content


def test_the_value_does_not_change_with_the_returned_object() -> None:
    returned = {"n": [1]}
    got = to_completed(returned)
    returned["n"].append(2)
    assert got.value == {"n": [1]}


def test_images_and_files_become_attachments() -> None:
    assert to_completed(PNG) == Completed(None, "", (PNG,))
    assert to_completed([PNG, PDF]) == Completed(None, "", (PNG, PDF))
    assert to_completed(("see", PNG, "and", PDF)) == Completed("see\nand", "see\nand", (PNG, PDF))


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (object(), "it returned object, which is not JSON; return text, numbers, lists"),
        (Hit, "return text, numbers, lists"),
        (UserDict(a=1), "it returned UserDict"),
        (b"raw", "it returned bytes.*Image.*File"),
        ({"raw": b"raw"}, "it returned bytes.*Image.*File"),
        ({2, 1}, "it returned set.*sorted"),
        ((n for n in range(2)), r"it returned generator.*list\(\.\.\.\)"),
        (math.nan, "it returned float that is not JSON.*numbers are finite"),
        ([math.inf], "numbers are finite"),
        ({(1, 2): 3}, "keys are strings"),
        ({"picture": PNG}, "Image inside other data; return it by itself"),
        ([PNG, {"caption": "x"}], "with a dict in it; put only strings"),
    ],
)
def test_what_is_not_json_is_an_error_that_says_what_to_return(
    result: object, message: str
) -> None:
    with pytest.raises(ToolResultError, match=message) as caught:
        to_completed(result)
    assert "the tool ran" in str(caught.value)


def test_what_holds_itself_is_an_error() -> None:
    ring: list[object] = []
    ring.append(ring)
    with pytest.raises(ToolResultError, match="nothing holds itself"):
        to_completed(ring)


def test_what_is_nested_too_deeply_is_an_error() -> None:
    deep: list[object] = []
    for _ in range(10_000):
        deep = [deep]
    with pytest.raises(ToolResultError):
        to_completed(deep)


def test_lone_surrogates_do_not_reach_the_history() -> None:
    assert to_completed("a\udc80b") == Completed("a?b", "a?b")
    assert to_completed(["a\udc80b"]) == Completed(["a?b"], '["a?b"]')


def test_a_long_text_is_cut_for_the_model_and_whole_for_the_host() -> None:
    text = "x" * 60_000
    got = to_completed(text)
    assert got.value == text
    head, told, tail = got.content.split("\n")
    assert told == f"[... {60_000 - len(head) - len(tail):,} bytes left out ...]"
    assert head == "x" * len(head)
    assert len(got.content) > MAX_BYTES - 200


def test_many_lines_are_cut_to_the_first_and_the_last() -> None:
    text = "\n".join([str(n) for n in range(3_000)])
    lines = cut(text).split("\n")
    assert len(lines) == MAX_LINES - 1
    assert lines[:2] == ["0", "1"]
    assert lines[998:1001] == ["998", "[... 5,010 bytes, 1,002 lines left out ...]", "2001"]
    assert lines[-1] == "2999"


def test_json_that_is_too_long_is_cut_too() -> None:
    got = to_completed(list(range(20_000)))
    assert got.value == list(range(20_000))
    assert "left out" in got.content


@pytest.mark.parametrize("text", ["a" * MAX_BYTES, "é" * (MAX_BYTES // 2), "\n" * (MAX_LINES - 1)])
def test_a_text_at_the_limit_is_not_cut(text: str) -> None:
    assert cut(text) == text
    assert "left out" in cut(text + "\n" + "a")


@st.composite
def texts(draw: st.DrawFn) -> str:
    piece = st.text() | st.sampled_from(["\n", "é\n", "😀", "x" * 500])
    pieces = draw(st.lists(piece, max_size=8))
    return "".join(pieces) * draw(st.sampled_from([1, 7, 999, 3_001]))


@pytest.mark.slow
@settings(max_examples=50)
@given(texts())
def test_a_cut_text_is_within_the_limits_and_keeps_head_and_tail(text: str) -> None:
    short = cut(text)
    assert len(short.encode()) <= MAX_BYTES
    assert short.count("\n") < MAX_LINES
    assert cut(short) == short
    if short == text:
        return
    assert len(text.encode()) > MAX_BYTES or text.count("\n") >= MAX_LINES
    head, _, rest = short.rpartition("\n[... ")
    missing, _, tail = rest.partition(" left out ...]\n")
    assert text.startswith(head)
    assert text.endswith(tail)
    dropped = text[len(head) : len(text) - len(tail)]
    assert f"{len(dropped.encode()):,} bytes" == missing.partition(", ")[0]


@pytest.mark.slow
def test_a_huge_text_is_cut_in_no_time() -> None:
    text = ("x" * 79 + "\n") * 625_000  # 50 MB
    started = thread_time()
    cut(text)
    assert thread_time() - started < 1
