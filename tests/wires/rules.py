"""What the providers demand of a history, as their documents and their 400s say it.

aimock takes any history. These checks stand in for the providers: each raises AssertionError
for a request that would be refused.
"""

from typing import Any

Body = dict[str, Any]


def chat(body: Body) -> None:
    """OpenAI Chat Completions: "An assistant message with 'tool_calls' must be followed by tool
    messages responding to each 'tool_call_id'"; a tool message must follow such a message."""
    waiting: list[str] = []
    seen: set[str] = set()
    for message in body["messages"]:
        if message["role"] == "tool":
            assert message["tool_call_id"] in waiting, "an answer to no call"
            waiting.remove(message["tool_call_id"])
            continue
        assert not waiting, "calls without an answer"
        calls: list[Body] = message.get("tool_calls") or []
        waiting = [call["id"] for call in calls]
        _are_new(waiting, seen)
        assert calls or message.get("content"), "an empty message"
    assert not waiting, "calls without an answer"


def responses(body: Body) -> None:
    """OpenAI Responses: "No tool output found for function call", "No tool call found for
    function call output"; a reasoning item wants the item that followed it."""
    called: list[str] = []
    answered: list[str] = []
    items = body["input"]
    for item, following in zip(items, [*items[1:], None], strict=True):
        match item.get("type", "message"):
            case "function_call":
                called.append(item["call_id"])
            case "function_call_output":
                assert item["call_id"] in called, "an answer to no call"
                answered.append(item["call_id"])
            case "reasoning":
                assert following is not None, "reasoning without what followed it"
                role = following.get("role", "assistant")
                assert role == "assistant", "reasoning without what followed it"
            case kind:
                assert kind == "message"
                assert item["content"], "an empty message"
    assert called == list(dict.fromkeys(called)), "two calls with one id"
    assert sorted(called) == sorted(answered), "calls without one answer each"


def anthropic(body: Body) -> None:
    """Anthropic Messages: `tool_result` blocks come right after their `tool_use`, first in the
    user's message; the first message is the user's; no empty text; four cache marks at most."""
    waiting: list[str] = []
    seen: set[str] = set()
    messages = [(m["role"], _blocks(m["content"])) for m in body["messages"]]
    assert messages[0][0] == "user"
    for role, blocks in messages:
        assert blocks, "an empty message"
        kinds = [block["type"] for block in blocks]
        results = [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]
        if role == "user":
            assert sorted(results) == sorted(waiting), "calls without one answer each"
            assert kinds[: len(results)] == ["tool_result"] * len(results), "answers come first"
            waiting = []
        else:
            assert not waiting, "calls without an answer"
            waiting = [block["id"] for block in blocks if block["type"] == "tool_use"]
            _are_new(waiting, seen)
            assert all(isinstance(b["input"], dict) for b in blocks if b["type"] == "tool_use")
        assert all(block["text"].strip() for block in blocks if block["type"] == "text")
        signed = [block["signature"] for block in blocks if block["type"] == "thinking"]
        assert all(signed), "thinking without its signature"
    assert not waiting, "calls without an answer"
    assert str(body).count("'cache_control'") <= 4


def gemini(body: Body) -> None:
    """Gemini: "the number of function response parts is equal to the number of function call
    parts of the function call turn", which it follows; the first turn is the user's."""
    waiting = 0
    turns = [(turn["role"], turn["parts"]) for turn in body["contents"]]
    assert turns[0][0] == "user"
    for role, parts in turns:
        assert parts, "an empty turn"
        answers = sum("functionResponse" in part for part in parts)
        assert answers == waiting, "calls without one answer each"
        waiting = sum("functionCall" in part for part in parts)
        assert not (waiting and role == "user")
    assert not waiting, "calls without an answer"


def _are_new(ids: list[str], seen: set[str]) -> None:
    assert len(set(ids)) == len(ids), "two calls with one id"
    assert not seen & set(ids), "an id that was there before"
    seen.update(ids)


def _blocks(content: str | list[Body]) -> list[Body]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
