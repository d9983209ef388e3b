"""What a server says of its tools and what it answers, made into what a model may be told."""

import base64
from typing import Any

import pytest
from mcp_types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    EmbeddedResource,
    ImageContent,
    TextContent,
)
from mcp_types import Tool as Described

from sidetask import File
from sidetask.core.errors import ConfigurationError, ToolError, ToolResultError
from sidetask.interop.mcp import McpServer
from sidetask.interop.mcp.described import MAX_DESCRIPTION, MAX_SCHEMA, to_tools, told_names
from sidetask.interop.mcp.results import MAX_ATTACHMENT, to_result


def server(**options: Any) -> McpServer:
    return McpServer.local(None, name="srv", **options)


def described(name: str, **more: Any) -> Described:
    return Described.model_validate({"name": name, "inputSchema": {"type": "object"}} | more)


async def _never(*_: Any, **__: Any) -> Any:
    raise AssertionError("nobody calls it")


def tools(*given: Described, **options: Any) -> list[Any]:
    return to_tools(server(**options), given, _never)


# -- names -------------------------------------------------------------------------------


def test_a_name_that_a_model_may_be_told_stays() -> None:
    assert told_names(server(), ["git_log", "read-file"]) == {
        "git_log": "git_log",
        "read-file": "read-file",
    }


def test_a_prefix_is_the_name_of_the_server() -> None:
    assert told_names(server(prefix=True), ["log", "a.b"]) == {"log": "srv_log", "a.b": "srv_a_b"}


def test_other_characters_become_underscores_and_a_clash_is_told_apart_by_a_digest() -> None:
    told = told_names(server(), ["a.b", "a_b", "a/b", "c.d"])
    assert (told["a_b"], told["c.d"]) == ("a_b", "c_d")
    assert told["a.b"].startswith("a_b_")
    assert len(set(told.values())) == 4
    assert told["a.b"] == told_names(server(), ["a/b", "a.b"])["a.b"]


def test_a_long_name_is_cut_and_stays_its_own() -> None:
    long = ["x" * 80, "x" * 81, ""]
    told = told_names(server(prefix=True), long)
    assert len(set(told.values())) == 3
    assert max(map(len, told.values())) <= 64


# -- descriptions ------------------------------------------------------------------------


def test_a_long_description_is_cut_and_says_so() -> None:
    [tool] = tools(described("wordy", description="w" * 10_000))
    assert tool.description.startswith("w" * MAX_DESCRIPTION)
    assert tool.description.endswith("[... 5,904 more characters]")


def test_a_tool_without_a_description_is_told_by_its_title() -> None:
    [tool] = tools(described("t", title="The title"))
    assert tool.description == "The title"


def test_a_schema_that_is_huge_leaves_the_tool_out() -> None:
    huge = {"type": "object", "description": "x" * MAX_SCHEMA}
    assert [t.name for t in tools(described("a", inputSchema=huge), described("b"))] == ["b"]


def test_a_schema_without_properties_gets_them() -> None:
    [tool] = tools(described("t"))
    assert tool.parameters == {"type": "object", "properties": {}}


def test_what_a_server_calls_idempotent_may_be_done_again_after_a_crash() -> None:
    hint = {"annotations": {"idempotentHint": True}}
    reads = {"annotations": {"readOnlyHint": True}}
    listed = tools(described("a", **hint), described("b", **reads), described("c"))
    assert [t.policy.idempotent for t in listed] == [True, True, False]


def test_a_tool_that_is_listed_twice_is_one_tool() -> None:
    assert [t.name for t in tools(described("a"), described("a"))] == ["a"]


# -- options -----------------------------------------------------------------------------


def test_a_server_is_named_by_what_is_started() -> None:
    commands: list[tuple[str, list[str]]] = [
        ("npx", ["-y", "@modelcontextprotocol/server-files@2.1", "/tmp"]),
        ("uvx", ["mcp-server-git", "--repository", "."]),
        ("/usr/bin/python3", ["tools/my_server.py"]),
        ("/opt/bin/search", []),
        ("pnpm", ["dlx", "x"]),
    ]
    names = [McpServer.stdio(*each).name for each in commands]
    assert names == ["server-files", "mcp-server-git", "my_server", "search", "pnpm"]
    assert McpServer.http("https://docs.example.com/mcp").name == "docs-example-com"


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: McpServer.http("example.com"), "no address"),
        (lambda: McpServer.stdio("x", name="a b"), "no name for a server"),
        (lambda: McpServer.stdio("npx", "-y x"), "as a list"),  # pyright: ignore[reportArgumentType]
        (lambda: server(detach=5), "no option detach"),
        (lambda: server(only="add"), "list of names"),
        (lambda: server(start_timeout=0), "seconds > 0"),
    ],
)
def test_a_wrong_description_is_refused_at_once(make: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        make()


def test_keys_are_not_shown() -> None:
    shown = repr(McpServer.http("https://x.org/?key=secret", headers={"A": "secret"}))
    shown += repr(McpServer.stdio("x", env={"KEY": "secret"}))
    assert "secret" not in shown


# -- results -----------------------------------------------------------------------------


def result(*content: Any, **more: Any) -> CallToolResult:
    return CallToolResult(content=list(content), **more)


def test_structured_content_alone_is_what_the_model_reads() -> None:
    completed = to_result(result(structured_content={"a": "ä"}))
    assert (completed.value, completed.content) == ({"a": "ä"}, '{"a": "ä"}')


def test_nothing_is_an_empty_text() -> None:
    assert to_result(result()).content == ""


def test_an_error_is_told_in_the_words_of_the_server() -> None:
    with pytest.raises(ToolError, match=r"^disk full$"):
        to_result(result(TextContent(type="text", text="disk full"), is_error=True))
    with pytest.raises(ToolError, match="not why"):
        to_result(result(is_error=True))


def test_content_that_is_no_json_is_refused() -> None:
    with pytest.raises(ToolResultError):
        to_result(result(structured_content={"a": float("nan")}))


def test_sounds_and_files_are_attachments_and_what_cannot_be_read_is_told() -> None:
    data = base64.b64encode(b"abc").decode()
    blob = BlobResourceContents(uri="file:///x/a.pdf", mime_type="application/pdf", blob=data)
    large = base64.b64encode(b"\0" * (MAX_ATTACHMENT + 1)).decode()
    completed = to_result(
        result(
            AudioContent(type="audio", data=data, mime_type="audio/wav"),
            EmbeddedResource(type="resource", resource=blob),
            ImageContent(type="image", data="?", mime_type="image/png"),
            ImageContent(type="image", data=large, mime_type="image/png"),
        )
    )
    assert completed.attachments == (
        File(media_type="audio/wav", data=b"abc"),
        File(media_type="application/pdf", data=b"abc", name="a.pdf"),
    )
    assert completed.content.split("\n") == [
        "[image/png: cannot be decoded]",
        "[image/png: 20,971,521 bytes are too many]",
    ]
