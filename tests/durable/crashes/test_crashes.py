"""A process dies before and after each of its writes, in every story; nothing is lost or doubled.

One again: `CRASH_POINT=story:disk:7:before pytest -m crashes tests/durable/crashes`.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeAlias

import pytest

from sidetask.core.errors import StoreError
from sidetask.stores.sql.driver import Driver
from sidetask.stores.sql.sqlite import SqliteConnection, SqliteDriver
from sidetask.testing import VirtualClock
from tests.durable.crashes import asking, steering, stories, within
from tests.durable.crashes.disk import Fate, Loop, Side, open_disk
from tests.durable.crashes.invariants import Found, check, check_stable, look
from tests.durable.crashes.lives import Life, Story, first_life, live, next_life
from tests.durable.crashes.world import World
from tests.stores.conftest import new_database

STORIES = (*stories.STORIES, *asking.STORIES, *steering.STORIES, *within.STORIES)
pytestmark = [
    pytest.mark.crashes,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # a killed process closes nothing
]

DISKS = {"quick": 0.0, "slow": 0.01}
"""Virtual seconds of a write. On a slow disk more goes on meanwhile, and batches are larger: for
stories in which much goes on at once."""
CASES = [
    pytest.param(story, disk, id=f"{story.name}-{disk}")
    for story in STORIES
    for disk in DISKS
    if disk == "quick" or story.busy
]


class Quick(SqliteDriver):
    """What a killed process has written is there without being forced onto the disk."""

    def open(self) -> SqliteConnection:
        connection = super().open()
        connection.run("PRAGMA synchronous = OFF")
        return connection


TWICE = ("background", "steps", "in-body", "ordered")
IN_POSTGRES = ("approved", "steps")


@dataclass
class Trial:
    """One database, and all that happens to it."""

    story: Story
    driver: Callable[[], Driver]
    latency: float
    world: World = field(default_factory=World)
    clock: VirtualClock = field(default_factory=VirtualClock)

    def __post_init__(self) -> None:
        self.agents = self.story.agents(self.world)

    def life(self, fate: Fate) -> Life:
        return Life(self.story, self.agents, self.world, self.driver, fate, self.latency)

    def look(self) -> Found:
        loop = Loop(self.clock)
        store = open_disk(self.driver(), Fate(), 0.0)

        async def read() -> Found:
            try:
                return await look(store)
            finally:
                await store.close()

        try:
            return loop.run_until_complete(read())
        finally:
            loop.close()

    def run(self, fate: Fate, *, closes: bool = True) -> None:
        """A life that is killed; one that goes on; and one that finds nothing to do."""
        assert not live(self.life(fate), self.clock, first_life(self.clock, closes=closes))
        # What is found after a write, and before the next one, differs in what was told alone.
        self.settle(again=fate.side == "before")

    def settle(self, *, again: bool = True) -> None:
        assert live(self.life(Fate()), self.clock, next_life(self.clock))
        found = self.look()
        check(self.world, found)
        if self.story.extra is not None:
            self.story.extra(self.world, found)
        if not again:
            return
        live(self.life(Fate()), self.clock, next_life(self.clock, asks=False))
        check_stable(found, self.look())


NewDatabase: TypeAlias = Callable[[], Callable[[], Driver]]
"""Makes an empty database; returns what a process opens it with."""


def points(story: Story, disk: str, new_database: NewDatabase) -> Iterator[tuple[int, Side]]:
    """All crash points: beside each write of a life without a crash, which is valid, too."""
    trial = Trial(story, new_database(), DISKS[disk])
    fate = Fate()
    assert live(trial.life(fate), trial.clock, first_life(trial.clock, closes=True))
    trial.settle()
    assert fate.commits > 0
    assert story.fails or not trial.look().failures
    for at in range(1, fate.commits + 1):
        yield at, "before"
        yield at, "after"
    yield 0, "before"  # when all is done, without a close


def crash_everywhere(story: Story, disk: str, new_database: NewDatabase) -> None:
    wanted = os.environ.get("CRASH_POINT", "")
    failed: list[str] = []
    tried = 0
    for at, side in points(story, disk, new_database):
        point = f"{story.name}:{disk}:{at}:{side}"
        if wanted and wanted != point:
            continue
        trial = Trial(story, new_database(), DISKS[disk])
        tried += 1
        try:
            trial.run(Fate(at or None, side), closes=at > 0)
        except Exception as error:
            if wanted:
                raise
            why = " ".join(str(error).split())[:200]
            failed.append(f"CRASH_POINT={point} {type(error).__name__}: {why}")
    print(f"{story.name} on a {disk} disk: {tried} points")
    if failed:
        pytest.fail("\n".join(failed), pytrace=False)


@pytest.mark.parametrize(("story", "disk"), CASES)
def test_nothing_is_lost_or_told_twice_wherever_the_process_dies(
    story: Story, disk: str, tmp_path: Path
) -> None:
    names = count(1)
    crash_everywhere(story, disk, lambda: partial(Quick, tmp_path / f"{next(names)}.db"))


@pytest.mark.parametrize("story", [each for each in STORIES if each.name in TWICE], ids=str)
def test_a_process_that_goes_on_may_die_at_any_of_its_writes_too(
    story: Story, tmp_path: Path
) -> None:
    names = count(1)

    def trial() -> Trial:
        return Trial(story, partial(Quick, tmp_path / f"{next(names)}.db"), 0.0)

    whole, tried = Fate(), 0
    one = trial()
    live(one.life(whole), one.clock, first_life(one.clock, closes=True))
    for first in range(3, whole.commits, 3):
        second = died = 0
        while second == died:  # until it lives on to its end
            second += 1
            one, fate = trial(), Fate(second, "after")
            try:
                assert not live(one.life(Fate(first, "after")), one.clock, first_life(one.clock))
                died += not live(one.life(fate), one.clock, next_life(one.clock))
                one.settle(again=False)
            except Exception as error:
                error.add_note(
                    f"{story}: after write {first}, and after write {second} of the next"
                )
                raise
        assert died > 0
        tried += died
    print(f"{story.name}, twice: {tried} points")


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_a_process_may_die_just_after_a_write_that_its_disk_did_not_take(
    story: Story, tmp_path: Path
) -> None:
    names = count(1)

    def trial() -> Trial:
        return Trial(story, partial(Quick, tmp_path / f"{next(names)}.db"), 0.0)

    whole = Fate()
    one = trial()
    live(one.life(whole), one.clock, first_life(one.clock, closes=True))
    for fails in range(1, whole.commits + 1):
        one = trial()
        fate = Fate(fails + 1, "after", fails=fails)
        try:
            with suppress(StoreError):  # whoever waited for an answer was told
                live(one.life(fate), one.clock, first_life(one.clock))
            assert fate.commits >= fails
            one.settle(again=False)
        except Exception as error:
            error.add_note(f"{story}: write {fails} fails, and the next one is the last")
            raise
    print(f"{story.name}, on a full disk: {whole.commits} points")


@pytest.mark.postgres
@pytest.mark.parametrize("story", [each for each in STORIES if each.name in IN_POSTGRES], ids=str)
def test_nothing_is_lost_or_told_twice_in_postgres(story: Story, server: str) -> None:
    from tests.durable.crashes.deaf import DeafDriver  # noqa: PLC0415 - no part of the suite

    def new() -> Callable[[], Driver]:
        return partial(DeafDriver, new_database(server))

    crash_everywhere(story, "quick", new)
