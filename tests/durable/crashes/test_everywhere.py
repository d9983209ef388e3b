"""Every story on a server's database: what a file can do, it can."""

from functools import partial

import pytest

from tests.durable.crashes.disk import Fate
from tests.durable.crashes.lives import Story, first_life, live
from tests.durable.crashes.test_crashes import STORIES, Trial
from tests.stores.conftest import new_database

pytestmark = [
    pytest.mark.crashes,
    pytest.mark.postgres,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # a killed process closes nothing
]


@pytest.mark.parametrize("story", STORIES, ids=str)
def test_each_story_comes_to_its_end_and_is_taken_up_in_postgres(story: Story, server: str) -> None:
    from tests.durable.crashes.deaf import DeafDriver  # noqa: PLC0415 - no part of the suite

    trial = Trial(story, partial(DeafDriver, new_database(server)), 0.0)
    assert live(trial.life(Fate()), trial.clock, first_life(trial.clock))
    trial.settle()
