"""What home and worker write for each other comes back as it was."""

import json

import pytest

from sidetask.core.codec import value_from_json, value_to_json
from sidetask.core.errors import CodecError
from sidetask.core.ids import RunId, TaskId, TurnId
from sidetask.core.messages import Image, ToolCall
from sidetask.core.routing import TaskPolicy
from sidetask.stores.queue import LOST
from sidetask.tasks.remote.values import (
    Ask,
    Granted,
    JobOrder,
    ask_id,
    job_id_of,
    order_from_json,
    order_to_json,
    outcome_from_json,
    outcome_to_json,
    progress_from_json,
    progress_to_json,
)
from sidetask.tasks.values import (
    ApprovalNeeded,
    ApprovalRequest,
    Completed,
    Errored,
    Progress,
    Refused,
    ToolOutcome,
)

CALL = ToolCall.make("work", {"n": 1}, id="c1")


def test_an_order_comes_back_as_it_was() -> None:
    order = JobOrder(
        call=CALL,
        agent="writer",
        attempt=2,
        exactly=True,
        turn_id=TurnId("turn-1"),
        run_id=RunId("run-1"),
        user="u42",
        policy=TaskPolicy(timeout=3, idempotent=True, on_crash="retry"),
        approved=(Granted("tool", CALL.digest()),),
        metadata={"a": [1, None]},
    )
    assert order_from_json(json.loads(json.dumps(order_to_json(order)))) == order


@pytest.mark.parametrize(
    "outcome",
    [
        Completed({"a": 1}, "text", (Image(data=b"x", media_type="image/png"),), 1.5, {"k": "v"}),
        Errored("it broke", "ValueError", 0.1),
        ApprovalNeeded((ApprovalRequest(reason="really?"),), CALL),
        Refused("no"),
    ],
)
def test_an_outcome_comes_back_as_it_was(outcome: ToolOutcome) -> None:
    assert outcome_from_json(json.loads(json.dumps(outcome_to_json(outcome)))) == outcome


def test_of_a_value_that_is_no_json_the_text_is_left() -> None:
    written = outcome_to_json(Completed(float("nan"), "not a number", metadata={"a": 1}))
    assert outcome_from_json(written) == Completed(None, "not a number")
    errored = Errored("broke", metadata={"a": float("inf")})
    assert outcome_from_json(outcome_to_json(errored)) == Errored("broke")


def test_what_is_no_outcome_is_refused() -> None:
    with pytest.raises(CodecError, match="no outcome"):
        outcome_to_json("done")  # type: ignore[arg-type]
    with pytest.raises(CodecError, match="unknown type"):
        outcome_from_json({"v": 1, "type": "what?"})
    with pytest.raises(CodecError):
        outcome_to_json(Refused(3))  # type: ignore[arg-type]


def test_a_lost_outcome_is_none() -> None:
    assert outcome_from_json(LOST) is None


def test_progress_and_questions_come_back_as_they_were() -> None:
    progress = Progress(0.5, "half")
    assert progress_from_json(progress_to_json(progress)) == progress
    ask = Ask(job_id=job_id_of(TaskId("t"), 1), reason="go on?", details={"a": 1})
    assert value_from_json(Ask, value_to_json(Ask, ask)) == ask
    assert ask_id(ask.job_id, 2) == "t:1:2"
