"""Finding conversations that have something to do, and no home.

Only what is open is looked through: a partial index holds it, and it is little, however many
conversations the store has kept.
"""

from collections.abc import Collection, Sequence

from sidetask.core.ids import ConversationId
from sidetask.stores.members import BELOW, HOME, STUCK, Forsaken
from sidetask.stores.sql.driver import Connection, Driver

_FIND = f"""SELECT h.conversation_id, c.agent, h.status FROM sidetask_records AS h
    JOIN sidetask_conversations AS c ON c.id = h.conversation_id
    WHERE h.kind = '{HOME}' AND h.id = '{HOME}' AND h.status NOT IN ('{STUCK}', '{BELOW}')
    AND h.status NOT IN (SELECT id FROM sidetask_members WHERE place IN ({{held}}))
    AND c.agent IN ({{agents}}) AND h.conversation_id IN ({{due}}) ORDER BY h.at LIMIT ?"""  # noqa: S608 - names and places
_DUE = """
    SELECT conversation_id FROM sidetask_records WHERE kind IN ('order', 'turn') AND open = 1
    UNION
    SELECT conversation_id FROM sidetask_records
    WHERE kind = 'result' AND open = 1 AND status = 'loop'
    UNION
    SELECT t.conversation_id FROM sidetask_records AS t
    WHERE t.kind = 'task' AND t.open = 1 AND t.status <> 'awaiting_approval' AND NOT EXISTS
    (SELECT 1 FROM sidetask_jobs AS j WHERE j.task_id = t.id
    AND j.conversation_id = t.conversation_id AND j.status NOT IN ('ended', 'cancelled'))
    UNION
    SELECT t.conversation_id FROM sidetask_records AS t
    WHERE t.kind = 'task' AND t.open = 1 AND t.status = 'awaiting_approval' AND NOT EXISTS
    (SELECT 1 FROM sidetask_records AS a WHERE a.conversation_id = t.conversation_id
    AND a.kind = 'approval' AND a.open = 1 AND {a_task} = t.id)
    UNION
    SELECT a.conversation_id FROM sidetask_records AS a
    JOIN sidetask_jobs AS j ON j.id = {a_job}
    JOIN sidetask_records AS t ON t.conversation_id = a.conversation_id AND t.kind = 'task'
    AND t.id = j.task_id AND t.open = 1 AND t.status <> 'awaiting_approval'
    WHERE a.kind = 'ask' AND a.open = 1"""


def find_forsaken(
    db: Connection, driver: Driver, held: str, agents: Collection[str], limit: int
) -> Sequence[Forsaken]:
    """See `Members.forsaken`. `held`: a query for the places of the members that live."""
    sql = _FIND.format(
        held=held,
        agents=", ".join("?" * len(agents)),
        due=_DUE.format(
            a_task=driver.field.format("a.data", "task_id"),
            a_job=driver.field.format("a.data", "job_id"),
        ),
    )
    return [
        Forsaken(conversation_id=ConversationId(id), agent=agent, had_by=status)
        for id, agent, status in db.rows(sql, [*agents, limit])
    ]
