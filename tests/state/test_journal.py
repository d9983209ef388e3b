"""The last changes, for who comes late."""

import logging

import pytest

from sidetask.core.jsons import Json
from sidetask.state.board import BOUND, REDACTED
from sidetask.state.state import State


def test_the_journal_tells_each_change_of_the_conversation_in_order() -> None:
    state = State(now=lambda: 7.0)
    state.set("a", 1, source="tool")
    state.update({"a": 2, "derivedly": None}, delete=["none"])
    state.delete("a")
    state.set("app:a", 1)
    told = [(c.key, c.old, c.new, c.version, c.created, c.deleted) for c in state.journal]
    assert told == [
        ("a", None, 1, 1, True, False),
        ("a", 1, 2, 2, False, False),
        ("derivedly", None, None, 1, True, False),
        ("a", 2, None, 3, False, True),
    ]
    first = next(iter(state.journal))
    assert (first.provenance.source, first.provenance.at) == ("tool", 7.0)


def test_a_reader_goes_on_where_it_was() -> None:
    state = State()
    state.set("a", 1)
    page = state.journal.since()
    assert (len(page.changes), page.missed, page.position) == (1, 0, 1)
    assert state.journal.since(page.position).changes == ()
    state.set("a", 2)
    assert [change.new for change in state.journal.since(page.position).changes] == [2]
    assert state.journal.since(99).changes == ()


def test_a_late_reader_is_told_exactly_what_it_missed() -> None:
    state = State()
    for number in range(BOUND + 10):
        state.set("a", number)
    page = state.journal.since(3)
    assert (page.missed, len(page.changes), page.changes[0].new) == (7, BOUND, 10)
    page = state.journal.since(BOUND)
    assert (page.missed, [change.new for change in page.changes]) == (
        0,
        list(range(BOUND, BOUND + 10)),
    )
    assert len(state.journal) == BOUND


def test_what_must_not_be_kept_is_replaced_on_the_way_in() -> None:
    def redact(key: str, value: Json) -> Json:
        return "***" if "password" in key else value

    state = State(redact=redact)
    state.update({"password": "abc", "name": "ann"})
    state.set("password", "def")
    assert [(c.key, c.old, c.new) for c in state.journal] == [
        ("password", None, "***"),
        ("name", None, "ann"),
        ("password", "***", "***"),
    ]
    assert state["password"] == "def"


def test_a_redact_hook_that_fails_hides_the_value(caplog: pytest.LogCaptureFixture) -> None:
    def redact(key: str, value: Json) -> Json:
        raise ZeroDivisionError

    state = State(redact=redact)
    with caplog.at_level(logging.CRITICAL, "sidetask.state"):
        state.set("a", "secret")
    assert [change.new for change in state.journal] == [REDACTED]
