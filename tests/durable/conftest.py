"""Programs of their own, in real time."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.stores.conftest import new_database, server

__all__ = ["server"]

DATABASES = ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]


@pytest.fixture
def anyio_backend() -> str:
    """Other processes have no virtual clock."""
    return "asyncio"


@pytest.fixture(params=DATABASES)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], str]:
    """Makes an empty database, and returns its URL."""
    if request.param == "postgres":
        url: str = request.getfixturevalue("server")
        return lambda: new_database(url)
    names = iter(range(1_000))
    return lambda: f"sqlite:///{tmp_path / f'{next(names)}.db'}"
