"""The log is quiet until somebody listens, and its records say whose work they are of."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from sidetask import tool
from sidetask.core.errors import ConfigurationError, TurnCancelledError
from sidetask.observe.logs import StderrHandler, WorkFilter, log_to_stderr
from sidetask.testing import call, stall
from tests.observe.harness import traced
from tests.runtime.harness import beside, talking

Capture = pytest.CaptureFixture[str]
log = logging.getLogger("sidetask.test")


@pytest.fixture(autouse=True)
def quiet_again() -> Iterator[None]:
    root = logging.getLogger("sidetask")
    level, handlers = root.level, list(root.handlers)
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


class Kept(logging.Handler):
    """Records, with what the filter says of them."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(WorkFilter())
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def kept() -> Iterator[Kept]:
    handler = Kept()
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


def work(record: logging.LogRecord) -> list[str]:
    return [record.__dict__[name] for name in ("conversation_id", "turn_id", "run_id", "task_id")]


async def test_a_record_says_in_whose_code_it_was_made(kept: Kept) -> None:
    @tool
    async def dig() -> str:
        """Dig."""
        log.warning("in a task")
        return "deep"

    @tool
    def scoop() -> str:
        """Scoop, in a thread."""
        log.warning("in a thread")
        return "earth"

    def think(_: object) -> str:
        log.warning("in a model")
        return "Done."

    async with talking(call("dig"), call("scoop"), think, tools=[dig, scoop]) as talk:
        await talk.chat.ask("Dig.")
    log.warning("outside")
    key = talk.chat.conversation_id
    assert {record.getMessage(): work(record) for record in kept.records} == {
        "in a task": [key, "turn-1", "run:turn-1", "task-1"],
        "in a thread": [key, "turn-1", "run:turn-1", "task-2"],
        "in a model": [key, "turn-1", "run:turn-1", ""],
        "outside": ["", "", "", ""],
    }


async def test_a_record_says_in_which_span_it_was_made(kept: Kept) -> None:
    @tool
    async def dig() -> str:
        """Dig."""
        log.warning("in a span")
        return "deep"

    async with traced(call("dig"), "Done.", tools=[dig]) as (talk, trace):
        await talk.chat.ask("Dig.")
    context = trace.one("execute_tool dig").get_span_context()
    assert context is not None
    [record] = kept.records
    assert record.__dict__["trace_id"] == f"{context.trace_id:032x}"
    assert record.__dict__["span_id"] == f"{context.span_id:016x}"


async def test_at_info_ends_are_told_and_at_debug_every_fact_but_nothing_that_was_said(
    capsys: Capture,
) -> None:
    log_to_stderr("info")
    async with talking(stall("a secret")) as talk:
        asking = await beside(talk.chat.ask("a secret"))
        await talk.chat.interrupt()
        with pytest.raises(TurnCancelledError):
            await asking
    [line] = capsys.readouterr().err.splitlines()
    key = talk.chat.conversation_id
    assert line.split(" ", 1)[1] == f"INFO sidetask.events [{key} turn-1] run_cancelled"
    log_to_stderr("debug")
    async with talking("a secret") as talk:
        await talk.chat.ask("a secret")
    told = capsys.readouterr().err
    facts = [event.kind.value for event in talk.events if not event.live]
    assert [line.rpartition(" ")[2] for line in told.splitlines()] == facts
    assert "secret" not in told


async def test_a_task_s_end_says_how_long_it_took(capsys: Capture) -> None:
    @tool
    async def dig() -> str:
        """Dig."""
        return "deep"

    log_to_stderr("info")
    async with talking(call("dig"), "Done.", tools=[dig]) as talk:
        await talk.chat.ask("Dig.")
    ended, _ = capsys.readouterr().err.splitlines()
    assert ended.endswith("turn-1 task-1] task_succeeded dig after 0.000 s")


async def test_a_filter_of_a_host_s_that_raises_disturbs_nobody() -> None:
    log_to_stderr("debug")

    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise OSError("broken")

    logging.getLogger("sidetask").addHandler(Broken())
    async with talking("Hello.") as talk:
        assert str(await talk.chat.ask("Hi.")) == "Hello."


def test_standard_error_is_asked_for_once_and_a_level_is_one_of_four(capsys: Capture) -> None:
    log_to_stderr("info")
    log_to_stderr("warning")
    handlers = logging.getLogger("sidetask").handlers
    assert sum(isinstance(handler, StderrHandler) for handler in handlers) == 1
    log.info("not told")
    log.warning("told")
    assert capsys.readouterr().err.splitlines()[0].endswith("WARNING sidetask.test told")
    with pytest.raises(ConfigurationError, match="not 'loud'"):
        log_to_stderr("loud")  # pyright: ignore[reportArgumentType] - what callers may do


def started(level: str | None, code: str) -> str:
    """What a fresh interpreter says on standard error."""
    given = {name: value for name, value in os.environ.items() if name != "SIDETASK_LOG"}
    if level is not None:
        given["SIDETASK_LOG"] = level
    code = f"import logging, sidetask; sidetask.Runtime; {code}"
    done = subprocess.run(
        [sys.executable, "-c", code], env=given, capture_output=True, text=True, check=True
    )
    return done.stderr


@pytest.mark.slow
def test_the_environment_turns_it_on_and_without_it_nothing_is_printed() -> None:
    warn = "logging.getLogger('sidetask.x').warning('careful')"
    assert started(None, warn) == ""
    assert "WARNING sidetask.x careful" in started("INFO", warn)
    assert "sidetask.events" in started(
        "debug",
        "from sidetask.testing import ScriptedModel;"
        " sidetask.Agent(ScriptedModel('Hi.')).run_sync('Hi.')",
    )
    assert "SIDETASK_LOG is one of debug, info, warning, error, not 'loud'" in started("loud", "")


async def test_ids_that_a_record_has_are_kept(kept: Kept) -> None:
    log.warning("mine", extra={"task_id": "task-9"})
    assert kept.records[0].__dict__["task_id"] == "task-9"
