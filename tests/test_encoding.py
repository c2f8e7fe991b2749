"""Text is UTF-8 whatever the locale: whoever reads or writes it says so."""

import ast
import json
import os
import subprocess
import sys

import pytest

from ecgstudy.paths import NOTEBOOKS, REPOSITORY

BINARY = {"os", "tarfile", "zipfile", "webbrowser", "Image"}  # what opens something else than text


def sources():
    for path in sorted((REPOSITORY / "ecgstudy").rglob("*.py")):
        yield path.relative_to(REPOSITORY), path.read_text(encoding="utf-8")
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        yield path.name, "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")


def unspoken(source):
    """Lines whose call reads or writes text without a word on its encoding."""
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call):
            continue
        method = call.func if isinstance(call.func, ast.Attribute) else None
        name = method.attr if method else getattr(call.func, "id", "")
        owner = getattr(method.value, "id", "") if method else ""
        named = {word.arg: word.value for word in call.keywords}
        parts = [part for value in [*call.args, *(named[n] for n in named if n == "mode")] for part in ast.walk(value)]
        said = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
        mode = "".join(value for value in said if set(value) <= set("rwxabt+"))
        if name in ("read_text", "write_text"):
            text = True
        elif name in ("TemporaryFile", "NamedTemporaryFile") or (name == "open" and owner == "gzip"):
            text = "t" in mode
        elif name == "fdopen" or (name == "open" and owner not in BINARY):
            text = "b" not in mode
        else:
            text = any(getattr(named.get(word), "value", False) is True for word in ("text", "universal_newlines"))
        if text and "encoding" not in named:
            yield call.lineno


def test_every_read_and_write_of_text_names_its_encoding():
    found = [(str(name), line) for name, source in sources() for line in unspoken(source)]
    assert found == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("path.read_text()", 1), ("path.read_text(encoding='utf-8')", 0), ("(a / 'b').write_text(x)", 1),
        ("open(p)", 1), ("open(p, 'rb')", 0), ("open(p, mode='w')", 1), ("p.open('ab' if x else 'wb')", 0),
        ("p.open()", 1), ("p.open('wb')", 0), ("p.open('w', encoding='utf-8')", 0), ("os.open(p, 0)", 0),
        ("gzip.open(p)", 0), ("gzip.open(p, 'rt')", 1), ("tarfile.open(p)", 0), ("os.fdopen(h, 'w')", 1),
        ("subprocess.run(x, text=True)", 1), ("subprocess.run(x, text=True, encoding='utf-8')", 0),
    ],
)  # fmt: skip
def test_the_check_itself(source, told):
    assert len(list(unspoken(source))) == told


def test_commands_do_not_need_a_locale(tmp_path):
    root = tmp_path / "données–μ"
    root.mkdir()
    result = subprocess.run(
        [sys.executable, "-m", "ecgstudy.cli", "run", "09_cam_analysis", "--profile", "real", "-p", "sead=1"],
        capture_output=True,
        env={
            **os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "ECGSTUDY_DATA": str(root),
        },
    )  # fmt: skip
    assert result.returncode == 1
    assert b"no parameter 'sead'; did you mean 'seed'?" in result.stderr and b"Traceback" not in result.stderr
