"""The gates of the API keys, over several processes: one refusal parks a key in all of them.

A key's record is a window's end and a count of refusals; of the key itself, its digest. Where two
processes write at once, `swap` lets one be first, and the other puts its own on top: the longest
window stands, and of two counts the higher, for calls that were under way together count once. A
success sets the count to 0 for all, and leaves the window. `vacuum` forgets old records.

* Nothing of this is on the way of a call: while the database is away each process has the gates
  that it knows of, and tells the others when it is back.
* A window's end is told as a time of day. Between machines whose clocks differ by some seconds it
  is earlier or later by as much: a call that comes too early is refused, and parks the key again.
  It is never longer than it was where it was set, so a clock that is a year ahead parks nothing for
  a year.
* What is set ahead (`Limits(rpm=..., tpm=...)`) is counted by each process for itself.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace

from sidetask.agents.quota import Quota
from sidetask.agents.quota.notes import GATES, ID, OF, GateNote
from sidetask.core.errors import StoreError
from sidetask.core.ids import ConversationId
from sidetask.runtime.keeping.hearing import Hearing
from sidetask.stores.base import Record, Store

_PAGE = 1000
_SAME = 0.001
"""Seconds: two ends of a window that differ by less are one."""


class SharedGates:
    """Keeps the gates of a process and those of others the same."""

    def __init__(self, quota: Quota, store: Store, now: Callable[[], float]) -> None:
        self._quota = quota
        self._store = store
        self._now = now
        self._hearing = Hearing[str](store, self._concerned, self._read)
        self._changed: dict[str, bool] = {}
        """Keys of which the others do not know yet; true: there was a success."""
        self._unshare: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._has_read = False

    async def start(self) -> None:
        """Know what others know, from now on. Twice is fine.

        Raises:
            StoreError: The store cannot be read.
        """
        if self._unshare is None:
            self._loop = asyncio.get_running_loop()
            self._unshare = self._quota.share(self._tell)
            self._hearing.start()
        if not self._has_read:
            await self._read([""])
            self._has_read = True

    async def stop(self) -> None:
        """Tell what is still to be told, and hear nothing more. Twice is fine."""
        unshare, self._unshare = self._unshare, None
        if unshare is not None:
            unshare()
            await asyncio.sleep(0)  # what was told just now is noted
        await self._hearing.stop()
        with suppress(StoreError):
            for key in tuple(self._changed):
                await self._settle(key)

    def _tell(self, key: str, succeeded: bool) -> None:
        """A call of this process was refused, or answered after refusals; in any thread."""
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._note, key, succeeded)

    def _note(self, key: str, succeeded: bool) -> None:
        self._changed[key] = self._changed.get(key, False) or succeeded
        self._hearing.ask(key)

    # -- with the store ------------------------------------------------------------------------

    def _concerned(self, which: ConversationId | None) -> Iterable[str]:
        if which is None:
            return ("",)
        return (which.removeprefix(OF),) if which.startswith(OF) else ()

    async def _read(self, due: Collection[str]) -> None:
        """Settle what is due; "": all keys."""
        if "" in due:
            after: Record[GateNote] | None = None
            while page := await self._store.find(GATES, id=ID, after=after, limit=_PAGE):
                for record in page:
                    self._take(record.conversation_id.removeprefix(OF), self._as_here(record))
                after = page[-1]
        for key in due:
            if key:
                await self._settle(key)

    async def _settle(self, key: str) -> None:
        """Know what the others know of a key, and let them know what we do."""
        conversation_id = ConversationId(OF + key)
        stands = await self._store.get(GATES, conversation_id, ID)
        if key not in self._changed:
            if stands is not None:
                self._take(key, self._as_here(stands))
            return
        succeeded = self._changed.pop(key)
        try:
            while True:
                before = GateNote(opens_at=0.0, hits=0) if stands is None else self._as_here(stands)
                note = self._joined(key, before, succeeded=succeeded)
                if note == before:
                    break
                record = Record(
                    kind=GATES,
                    conversation_id=conversation_id,
                    id=ID,
                    status="1" if stands is None else str(int(stands.status) + 1),
                    at=self._now(),
                    value=note,
                )
                expect = None if stands is None else stands.status
                stands = await self._store.swap(record, expect=expect)
                if stands is record:
                    break
        except BaseException:  # the one boundary: whatever it was, it is still to be told
            self._changed[key] = self._changed.get(key, False) or succeeded
            raise
        self._take(key, note)

    def _joined(self, key: str, before: GateNote, *, succeeded: bool) -> GateNote:
        """What stands when what this process knows is added."""
        status = self._quota.status_of(key)
        note = replace(before, hits=0) if succeeded else before
        if status is None:
            return note
        opens_at = self._now() + status.opens_in if status.opens_in else 0.0
        if opens_at > note.opens_at + _SAME:
            note = replace(note, opens_at=opens_at)
        return replace(note, hits=max(note.hits, status.hits))

    def _as_here(self, stands: Record[GateNote]) -> GateNote:
        """What is noted, by this process's clock: its window is as long as it was, at most."""
        note = stands.value
        return replace(note, opens_at=min(note.opens_at, self._now() + note.opens_at - stands.at))

    def _take(self, key: str, note: GateNote) -> None:
        # Of a key that has changed here meanwhile the count is still to be told.
        hits = None if key in self._changed else note.hits
        self._quota.take(key, opens_in=note.opens_at - self._now(), hits=hits)
