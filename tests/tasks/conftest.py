"""The bench that the manager's tests stand at."""

import pytest

from sidetask.testing import VirtualClock
from tests.tasks.harness import Bench


@pytest.fixture
def bench(clock: VirtualClock) -> Bench:
    return Bench(clock)
