"""The finished steps of tasks, in a store.

A database that is away is waited for: a step that is done must not be done again, and one that may
be done must not be begun.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from sidetask.core.errors import CodecError, InvalidInputError, StoreUnavailableError
from sidetask.core.jsons import Json
from sidetask.engines.base import JobSpec, StepJournal
from sidetask.stores.base import Record, Store
from sidetask.tasks.aio.telling import PAUSE, when_safe
from sidetask.tasks.stored import STEPS, Step


class StoredSteps(StepJournal):
    """One record for each step, written once."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now

    async def read(self, spec: JobSpec, key: str) -> tuple[Json] | None:
        while True:
            try:
                found = await self._store.get(STEPS, spec.conversation_id, _id(spec, key))
                return None if found is None else (found.value.value,)
            except StoreUnavailableError:
                await asyncio.sleep(PAUSE)

    async def write(self, spec: JobSpec, key: str, value: object) -> Json:
        # For who keeps steps: every program has this module, and few have those.
        from sidetask.core.codec import value_from_json, value_to_json  # noqa: PLC0415

        try:
            # Out and in again: the first run gets what a second one would.
            step = value_from_json(Step, value_to_json(Step, Step(value=cast("Json", value))))
        except CodecError as error:
            raise InvalidInputError(
                f"a step returns a JSON value, for it is kept; {key.rpartition('#')[0]!r}: {error}"
            ) from None
        done = Record(
            kind=STEPS,
            conversation_id=spec.conversation_id,
            id=_id(spec, key),
            status="done",
            at=self._now(),
            value=step,
        )
        await self._keep(done)
        return step.value

    async def _keep(self, done: Record[Step]) -> None:
        while True:
            try:
                self._store.put(done)
                break
            except StoreUnavailableError:
                await asyncio.sleep(PAUSE)
        await when_safe(self._store.stored)


def _id(spec: JobSpec, key: str) -> str:
    return f"{spec.task_id}/{key}"
