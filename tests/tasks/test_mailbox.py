"""What of a conversation's results is delivered by an acknowledgement, and what is not."""

from sidetask.core.ids import CallId, ConversationId, TaskId
from sidetask.core.lifecycle import TaskStatus
from sidetask.tasks.parts.mailbox import Mailbox
from sidetask.tasks.values import Resolution
from tests.tasks.harness import C

ONE, TWO, THREE, FOUR = (TaskId(f"task-{n}") for n in range(1, 5))


def result(task_id: TaskId, conversation_id: ConversationId = C) -> Resolution:
    calls = (CallId(f"call of {task_id}"),)
    return Resolution(
        task_id, conversation_id, None, calls, "tool", TaskStatus.SUCCEEDED, f"of {task_id}"
    )


def holding(*task_ids: TaskId) -> Mailbox:
    mailbox = Mailbox()
    for task_id in task_ids:
        mailbox.post(result(task_id), to_loop=True)
    return mailbox


def left(mailbox: Mailbox, *task_ids: TaskId) -> list[TaskId]:
    return [task_id for task_id in task_ids if mailbox.holds(C, task_id)]


def covered(mailbox: Mailbox, *task_ids: TaskId) -> list[TaskId]:
    return [each.task_id for each in mailbox.covered(C, task_ids)]


def test_an_acknowledgement_drops_what_it_was_said_to_cover_and_nothing_else() -> None:
    mailbox = holding(ONE, THREE)
    mailbox.take(C)
    mailbox.post(result(TWO), to_loop=True)  # nobody was given it yet
    mailbox.post(result(FOUR), to_loop=True)
    mailbox.claim(C, FOUR, by=THREE)
    assert covered(mailbox, ONE, TWO) == [ONE]
    mailbox.ack(C, [ONE, TWO])
    assert left(mailbox, ONE, TWO, THREE, FOUR) == [TWO, THREE, FOUR]
    assert covered(mailbox, THREE) == [THREE, FOUR]
    mailbox.ack(C, [THREE])
    assert left(mailbox, ONE, TWO, THREE, FOUR) == [TWO]


def test_what_a_waiting_turn_is_told_covers_what_its_task_has_read() -> None:
    """Such a task has no result of its own here."""
    mailbox = holding(ONE)
    mailbox.claim(C, ONE, by=TWO)
    assert covered(mailbox, TWO) == [ONE]


def test_of_two_readers_each_delivers_what_it_has_read_itself() -> None:
    mailbox = holding(ONE, TWO)
    mailbox.claim(C, ONE, by=THREE)
    mailbox.claim(C, TWO, by=FOUR)
    assert covered(mailbox, THREE) == [ONE]
    mailbox.ack(C, [THREE])
    assert left(mailbox, ONE, TWO) == [TWO]
    assert mailbox.take(C).ids == (), "the other reader still has it"
    mailbox.free_claims(C, by=THREE)
    assert mailbox.take(C).ids == ()
    mailbox.free_claims(C, by=FOUR)
    assert mailbox.take(C).ids == (TWO,)


def test_a_result_that_is_told_while_another_task_reads_it_is_told_once() -> None:
    mailbox = holding(ONE, TWO)
    mailbox.take(C)
    mailbox.claim(C, ONE, by=THREE)
    mailbox.ack(C, [ONE])  # the model had been told
    assert covered(mailbox, THREE) == []
    mailbox.ack(C, [THREE])
    assert left(mailbox, ONE, TWO) == [TWO]


def test_another_result_of_the_same_task_is_taken_before_it_can_be_acknowledged() -> None:
    """One of a task that calls joined, and one that goes on under its id in another process."""
    mailbox = holding(ONE, TWO)
    mailbox.take(C)
    mailbox.ack(C, [ONE])
    mailbox.post(result(ONE), to_loop=True)
    assert covered(mailbox, ONE) == []
    mailbox.ack(C, [ONE])
    assert mailbox.take(C).ids == (TWO, ONE)


def test_another_result_of_a_task_that_was_read_is_delivered() -> None:
    mailbox = holding(ONE, TWO)
    mailbox.claim(C, ONE, by=THREE)
    mailbox.ack(C, [THREE])
    mailbox.post(result(ONE), to_loop=True)
    assert mailbox.take(C).ids == (TWO, ONE)


def test_an_unknown_conversation_covers_nothing() -> None:
    mailbox = holding(ONE)
    mailbox.take(C)
    assert mailbox.covered(ConversationId("other"), [ONE]) == []
    mailbox.ack(ConversationId("other"), [ONE])
    assert left(mailbox, ONE) == [ONE]


def test_what_is_the_hosts_stays_the_hosts_when_a_task_reads_it() -> None:
    mailbox = holding(ONE)
    mailbox.post(result(TWO), to_loop=False)
    mailbox.claim(C, TWO, by=THREE)
    assert covered(mailbox, THREE) == []
    mailbox.ack(C, [THREE])
    assert [each.task_id for each in mailbox.take_for_host(C)] == [TWO]


def test_who_reads_what_was_delivered_already_keeps_nothing_back() -> None:
    mailbox = holding(ONE)
    mailbox.claim(C, TWO, by=THREE)
    mailbox.claim(ConversationId("other"), TWO, by=THREE)
    mailbox.post(result(TWO), to_loop=True)
    assert mailbox.take(C).ids == (ONE, TWO)
