"""No name in the package makes a reader of the field stumble."""

import ast

import pytest

from ecgstudy.paths import REPOSITORY

# What was once a name here, and means nothing to whoever has not read its definition.
RIDDLES = {"speaks", "falls", "deep", "taught", "turned", "told_of"}


def named(code):
    """Names that code defines: of functions, classes, parameters, variables and attributes."""
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
                yield name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name


def test_what_counts_as_a_name():
    code = "def falls(deep):\n    self.turned = 1\n    of, b = 'taught', speaks\n    return beats.of(b)"
    assert set(named(code)) == {"falls", "deep", "turned", "of", "b"}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "ecgstudy").rglob("*.py")), ids=lambda path: path.name)
def test_no_name_is_a_riddle(path):
    code = path.read_text(encoding="utf-8")
    assert not RIDDLES & set(named(code))
    nodes = list(ast.walk(ast.parse(code)))
    assert not [node for node in nodes if isinstance(node, ast.Name) and node.id == "of"]
    assert not [node for node in nodes if isinstance(node, ast.arg) and node.arg == "of"]
