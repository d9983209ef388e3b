"""The face of the package: what it names, and that naming it costs nothing."""

import ast
from pathlib import Path

import pytest

import sidetask

STUB = Path(sidetask.__file__).with_suffix(".pyi")


def test_every_public_name_can_be_had() -> None:
    for name in sidetask.__all__:
        assert getattr(sidetask, name) is getattr(sidetask, name)
        assert name in dir(sidetask)


def test_the_stub_names_what_the_face_names_and_from_where() -> None:
    tree = ast.parse(STUB.read_text())
    imported = {
        alias.name: f"{node.module}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    homes = {name: getattr(sidetask, name).__module__ for name in ("Agent", "Runtime", "tool")}
    assert set(imported) == set(sidetask.__all__)
    assert homes.items() <= imported.items()


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Agnet'"):
        _ = sidetask.Agnet  # pyright: ignore
