"""A key's window that a process with a wrong clock has set."""

import asyncio

from sidetask.agents.quota import Quota
from sidetask.agents.quota.notes import GATES, ID, OF, GateNote
from sidetask.core.ids import ConversationId
from sidetask.runtime.keeping.gates import SharedGates
from sidetask.stores.base import Record
from sidetask.stores.memory import MemoryStore
from sidetask.testing import VirtualClock

YEAR = 365 * 86_400.0


async def test_a_clock_that_is_a_year_ahead_parks_a_key_for_as_long_as_it_was_to_be(
    clock: VirtualClock,
) -> None:
    store, quota = MemoryStore(), Quota()
    theirs = clock.now() + YEAR
    store.put(
        Record(
            kind=GATES,
            conversation_id=ConversationId(f"{OF}key"),
            id=ID,
            status="1",
            at=theirs,
            value=GateNote(opens_at=theirs + 60, hits=1),
        )
    )
    gates = SharedGates(quota, store, clock.now)
    await gates.start()
    assert 0 < quota.closed_for("key") <= 60
    await asyncio.sleep(61)
    assert quota.closed_for("key") == 0
    await gates.stop()
