"""Finding an engine by its name."""

import sys
from pathlib import Path

import pytest

from sidetask import Runtime
from sidetask.core.errors import ConfigurationError, MissingExtraError
from sidetask.engines.opening import open_engine


@pytest.mark.parametrize("url", ["memory:", None])
def test_a_durable_engine_needs_a_database(url: str | None) -> None:
    with pytest.raises(ConfigurationError, match=r"needs a database: store='sqlite:///file\.db'"):
        open_engine("dbos", url)


def test_an_unknown_name_says_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no engine 'temporal': it is 'dbos'"):
        Runtime(store=f"sqlite:///{tmp_path / 'test.db'}", engine="temporal")  # pyright: ignore[reportArgumentType]


def test_without_its_library_an_engine_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dbos", None)
    monkeypatch.delitem(sys.modules, "sidetask.engines.dbos", raising=False)
    with pytest.raises(MissingExtraError, match=r"sidetask\[durable\]"):
        open_engine("dbos", f"sqlite:///{tmp_path / 'test.db'}")
