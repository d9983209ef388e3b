"""The face of the package: what it names, and that naming it costs nothing."""

import ast
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import sidetask
from sidetask import orchestration
from sidetask.runtime import triggers

FACES = pytest.mark.parametrize(
    "face", [sidetask, orchestration, triggers], ids=lambda face: face.__name__
)


@FACES
def test_every_public_name_can_be_had(face: ModuleType) -> None:
    for name in face.__all__:
        assert getattr(face, name) is getattr(face, name)
        assert not isinstance(getattr(face, name), ModuleType)
        assert name in dir(face)


@FACES
def test_the_stub_names_what_the_face_names_and_from_where(face: ModuleType) -> None:
    tree = ast.parse(Path(face.__file__ or "").with_suffix(".pyi").read_text())
    imported = {
        alias.name: f"{node.module}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(imported) == set(face.__all__)
    for name, home in imported.items():
        assert getattr(import_module(home), name) is getattr(face, name)


@FACES
def test_an_unknown_name_is_an_attribute_error(face: ModuleType) -> None:
    with pytest.raises(AttributeError, match="no attribute 'Agnet'"):
        _ = face.Agnet
