"""Async tests run on a virtual clock; under `-m seeds`, on one with a shuffled loop, often."""

import inspect
import os
import signal
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from sidetask.testing import ShuffledClock, VirtualClock, virtual_backend
from tests.limits import HANG

SEED = "SIDETASK_SEED"
_SEEDED = ("tasks/test_manager", "orchestration/test_dispatcher", "orchestration/test_batch")

# No example is too slow, whatever the machine does meanwhile; and a run that checks a change finds
# what that change did. Others look for more: `--hypothesis-profile=random`.
settings.register_profile(
    "fixed", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("random", settings.get_profile("fixed"), derandomize=False)
settings.load_profile("fixed")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell that runs the tests behind itself lets them ignore Ctrl-C, and with them every
    # program that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seeds", type=int, default=100, help="seeds of each test under -m seeds")


def _is_seeded(metafunc: pytest.Metafunc) -> bool:
    """Async tests that are marked so, and those of the task manager and of dispatchers."""
    path = metafunc.definition.path
    seeded = f"{path.parent.name}/{path.name}".startswith(_SEEDED)
    marked = metafunc.definition.get_closest_marker("seeds") is not None
    return inspect.iscoroutinefunction(metafunc.function) and (marked or seeded)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Collect a seeded test once for each seed; without `-m seeds`, once for `SIDETASK_SEED`."""
    marks = str(metafunc.config.getoption("-m"))
    asked = "seeds" in marks and "not seeds" not in marks
    if not _is_seeded(metafunc) or not (asked or SEED in os.environ):
        return
    one = os.environ.get(SEED)
    seeds = range(metafunc.config.getoption("--seeds") or 0) if one is None else [int(one)]
    mark = [pytest.mark.seeds] if asked else []
    values = [pytest.param(seed, id=f"seed{seed}", marks=mark) for seed in seeds]
    metafunc.parametrize("seed", values)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    seed = item.funcargs.get("seed") if isinstance(item, pytest.Function) else None
    if report.failed and seed is not None:
        test = item.nodeid.split("[")[0]
        report.sections.append(("seed", f"rerun with {SEED}={seed} pytest -m '' '{test}'"))
    return report


@pytest.fixture
def seed() -> int | None:
    """The order in which the loop runs what is ready; None: asyncio's own."""
    return None


@pytest.fixture
def clock(seed: int | None) -> VirtualClock:
    """The clock of the test's event loop."""
    if seed is None:
        return VirtualClock(patience=HANG)
    return ShuffledClock(seed, patience=HANG)


@pytest.fixture
def anyio_backend(clock: VirtualClock) -> object:
    return virtual_backend(clock)
