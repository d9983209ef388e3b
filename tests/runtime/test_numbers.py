"""The numbers that hosts rely on when they say nothing."""

import inspect
from typing import Any

from sidetask import Agent, Runtime, TaskPolicy
from sidetask.agents.guards import Compaction
from sidetask.agents.guards.doom import LONGEST, REPEATS
from sidetask.agents.policies.calling import CONTINUES
from sidetask.agents.quota import Quota
from sidetask.agents.quota.gate import FIRST_BACKOFF, LONGEST_BACKOFF
from sidetask.agents.tools.outputs import MAX_BYTES, MAX_LINES
from sidetask.stores.memory.store import FACTS
from sidetask.tasks.aio.streams import BOUND
from sidetask.tasks.aio.threads import Threads
from sidetask.tasks.handle import ManagerHandle
from sidetask.tasks.parts.permits import Limits
from sidetask.testing import ScriptedModel


def default(made: Any, name: str) -> object:
    return inspect.signature(made).parameters[name].default


def test_a_turn_may_call_its_model_25_times_and_each_call_may_be_silent_for_a_minute() -> None:
    agent = Agent(ScriptedModel())
    assert (agent.max_steps, agent.model_timeout, agent.budget) == (25, 60.0, None)


def test_tasks_run_16_a_step_and_64_a_conversation_without_a_limit_in_all() -> None:
    limits = Limits()
    assert (limits.step, limits.conversation, limits.total) == (16, 64, None)
    assert (limits.finished, limits.finished_age) == (1_000, 3_600.0)
    assert (limits.undelivered, limits.queued) == (1_000, 100_000)
    assert default(Threads, "size") == 32


def test_a_tool_has_no_timeout_and_whatever_is_stopped_five_seconds() -> None:
    assert (TaskPolicy().timeout, TaskPolicy().grace) == (None, 5.0)
    assert default(ManagerHandle.close, "grace") == 5.0


def test_a_model_reads_50_kib_or_2_000_lines_of_an_output() -> None:
    assert (MAX_BYTES, MAX_LINES) == (50 * 1024, 2_000)


def test_what_a_model_repeats_three_times_is_a_loop_of_four_calls_at_most() -> None:
    assert (REPEATS, LONGEST) == (3, 4)


def test_two_turns_stay_when_the_others_are_summed_up_and_three_failures_open_the_circuit() -> None:
    assert (Compaction().keep_turns, Compaction().failures) == (2, 3)


def test_eight_turns_may_begin_by_themselves_and_a_hook_may_keep_one_going_three_times() -> None:
    assert default(Runtime, "max_auto_turns") == 8
    assert CONTINUES == 3
    assert default(Runtime, "max_depth") == 5


def test_a_key_is_parked_for_one_second_doubling_to_120_and_a_call_waits_ten_minutes() -> None:
    quota = Quota()
    assert (FIRST_BACKOFF, LONGEST_BACKOFF) == (1.0, 120.0)
    assert (quota.max_wait, quota.max_retries) == (600.0, 3)


def test_memory_keeps_the_last_1_000_facts_and_a_reader_may_lag_1_024_events() -> None:
    assert FACTS == 1_000
    assert BOUND == 1_024
