import json
import typing

import numpy as np
import papermill.cli
import pytest
import yaml
from papermill.translators import PythonTranslator

from ecgstudy import profiles
from ecgstudy.book import build
from ecgstudy.book.build import chapter_names
from ecgstudy.explain.methods import METHODS
from ecgstudy.losses import LOSSES
from ecgstudy.paths import NOTEBOOKS
from ecgstudy.profiles import PROFILES, ProfileError, profile_values, settings, typed
from ecgstudy.systems import catalogue


def declared(name, injected=""):
    """Parameters in the tagged cell of a notebook, by executing that cell and what papermill puts below it."""
    cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    (cell,) = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    namespace = {}
    exec("".join(cell["source"]) + "\n" + injected, {}, namespace)
    return namespace


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", chapter_names())
def test_a_profile_gives_exactly_the_declared_parameters(profile, name):
    assert set(profile_values(profile, name)) == set(declared(name)) - {"profile"}


def blocks():
    """The file of the profiles as YAML itself reads it."""
    return yaml.safe_load((NOTEBOOKS / "profiles.yaml").read_text(encoding="utf-8"))


def test_profiles_tell_of_no_notebook_that_is_not_there():
    assert set(blocks()) - {"all"} <= set(chapter_names())


def test_the_first_code_cell_holds_the_parameters():
    # settings() takes every name it finds for a parameter that was passed in.
    for name in chapter_names():
        cells = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["cells"]
        first = next(c for c in cells if c["cell_type"] == "code")
        assert first["metadata"].get("tags") == ["parameters"], name


def test_passed_parameters_replace_the_profiles():
    p = settings("03_cnn_gap", {"profile": "demo", "epochs": 3, "width": ...})
    assert p.epochs == 3
    assert p.width == profile_values("demo", "03_cnn_gap")["width"]
    assert p.profile == "demo"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"profile": "dmo"}, "no profile 'dmo'; did you mean 'demo'"),
        ({"profile": "demo", "epoch": 3}, "no parameter 'epoch'; did you mean 'epochs'"),
        ({"profile": 3}, r"no profile 3\. Profiles are smoke"),
        ({"profile": "demo", "Epochs": 3}, "no parameter 'Epochs'; did you mean 'epochs'"),
    ],
)
def test_what_does_not_exist_is_an_error_that_names_what_does(given, message):
    with pytest.raises(ProfileError, match=message):
        settings("03_cnn_gap", given)


# Chapter, parameter, text, and what it means; a text that means nothing there has what the error must say besides.
CHAPTER = "04_xecgnet"
MEANINGS = [
    *((CHAPTER, "epochs", text, value) for text, value in (("5", 5), ("08", 8), ("010", 10), ("1_000", 1000))),
    *((CHAPTER, "rate", text, value) for text, value in (("1e-3", 1e-3), ("3", 3), (".5", 0.5), ("0", 0))),
    *((CHAPTER, "seconds", text, value) for text, value in (("7.5", 7.5), ("10", 10))),
    *((CHAPTER, "balance", text, value) for text, value in (("0.5", 0.5), ("null", None), ("None", None))),
    *((CHAPTER, "relu", text, text.lower() == "true") for text in ("true", "false", "True", "False")),
    *((CHAPTER, name, text, None) for name in ("patience", "records") for text in ("null", "None")),
    ("01_data_audit", "limit", "null", None),
    ("06_ecgmaster", "patience", "null", None),
    (CHAPTER, "cohort", "real", "real"),
    ("07_beat_gradcam", "source", "at hand", "at hand"),
    ("08_ablations", "losses", "[focal, macro-F1]", ["focal", "macro-F1"]),
    ("08_ablations", "losses", "['weighted focal']", ["weighted focal"]),
    ("09_cam_analysis", "methods", "[input × gradient]", ["input × gradient"]),
]
WHOLE, NUMBER, SWITCH = "a whole number (int)", "a number (float)", "true or false (bool)"
NONSENSE = [
    *(
        (CHAPTER, "epochs", text, WHOLE)
        for text in ("abc", "12:30", "2020-01-01", "@x", "[1", "[3]", "nan", "inf", "2.5", "5.0", "1e3", "-1", "0", "")
    ),
    *((CHAPTER, "epochs", text, WHOLE) for text in ("null", "None", "true", "1" + "0" * 400, "9" * 5000, "{a: 1}")),
    *((CHAPTER, "rate", text, NUMBER) for text in ("fast", "nan", "inf", "-inf", "1e-3x", "-1", "true", "", "null")),
    *((CHAPTER, "width", text, NUMBER) for text in ("abc", "0", "None")),
    *((CHAPTER, "relu", text, SWITCH) for text in ("yes", "no", "on", "off", "1", "0", "", "null")),
    *((CHAPTER, "cohort", text, "synthetic, real (text)") for text in ("mine", "Real", "", "5", "null", "[real]")),
    (CHAPTER, "schedule", "cosine", "constant, one-cycle, published (text)"),
    ("07_beat_gradcam", "source", "ludb", "mitdb, simulated, at hand (text)"),
    ("11_simulator", "records", "null", WHOLE),
    *(
        ("08_ablations", "losses", text, "a list such as [cross-entropy, weighted cross-entropy]")
        for text in ("focal", "[focal", "[hinge]", "[]", "[[focal]]", "[focal, focal]", "[{a: b}]", "{a: b}", "null")
    ),
    ("09_cam_analysis", "methods", "[grad-cam]", "Grad-CAM"),
]


def by_command_line(monkeypatch, chapter, name, text):
    """What a notebook finds of ``ecgstudy run -p NAME=TEXT``."""
    from typer.testing import CliRunner

    from ecgstudy.cli import app

    found = {}
    monkeypatch.setattr(build, "_work_off", lambda todo, jobs: found.update(todo[chapter][1][2]))
    result = CliRunner().invoke(app, ["run", chapter, "--profile", "smoke", "--force", "-p", f"{name}={text}"])
    if result.exit_code:
        raise ProfileError(result.stderr)
    return getattr(settings(chapter, declared(chapter, PythonTranslator.codify(found))), name)


def by_papermill(monkeypatch, chapter, name, text):
    """What a notebook finds of ``papermill -p NAME TEXT``: its own reading, its own cell."""
    given = {"profile": "smoke", name: papermill.cli._resolve_type(text)}
    return getattr(settings(chapter, declared(chapter, PythonTranslator.codify(given))), name)


def by_raw_papermill(monkeypatch, chapter, name, text):
    """What a notebook finds of ``papermill -r NAME TEXT``."""
    given = {"profile": "smoke", name: text}
    return getattr(settings(chapter, declared(chapter, PythonTranslator.codify(given))), name)


ROUTES = [by_command_line, by_papermill, by_raw_papermill]


@pytest.mark.parametrize("route", ROUTES)
def test_a_text_means_the_same_by_every_route(route, monkeypatch, tmp_path):
    monkeypatch.setattr(build, "_state", bytes)
    monkeypatch.setattr(build, "build_folder", lambda profile: tmp_path)
    for chapter, name, text, value in MEANINGS:
        found = route(monkeypatch, chapter, name, text)
        assert found == value and type(found) is type(value), (name, text, found)
    for chapter, name, text, wanted in NONSENSE:
        with pytest.raises(ProfileError) as told:
            route(monkeypatch, chapter, name, text)
        message = str(told.value).strip()
        assert f"parameter {name!r} takes " in message and wanted in message and "\n" not in message, message
        if route is not by_papermill:  # which hands over what it read of the text
            assert message.endswith(f"it was given {text!r}"), message


def test_a_profile_is_typed_as_what_is_passed(monkeypatch, tmp_path):
    monkeypatch.setattr(profiles, "NOTEBOOKS", tmp_path)
    file = tmp_path / "profiles.yaml"

    def found(chapter, name, text):
        file.write_text(f"all: {{seed: 7}}\n{chapter}:\n  {name}: {text}\n", encoding="utf-8")
        return profile_values("demo", chapter)[name]

    for chapter, name, text, value in MEANINGS:
        assert found(chapter, name, text) == value, (name, text)
    for chapter, name, text, _ in NONSENSE:
        with pytest.raises(ProfileError, match=r"profiles\.yaml") as told:
            found(chapter, name, text)
        assert "\n" not in str(told.value)
    for text in ("", "all", "- all", "all: [1", "all: 5"):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(ProfileError, match=r"profiles\.yaml is no mapping"):
            profile_values("demo", CHAPTER)
    file.write_text("all: {seed: {smoke: 7, demo: 8}}", encoding="utf-8")
    with pytest.raises(ProfileError, match=r"profiles\.yaml: all: seed needs one value, or one for each of smoke"):
        profile_values("demo", CHAPTER)


def test_a_new_parameter_takes_what_its_block_is_like(monkeypatch, tmp_path):
    monkeypatch.setattr(profiles, "NOTEBOOKS", tmp_path)
    (tmp_path / "profiles.yaml").write_text(
        "13_new:\n  heads: {smoke: 1, class: 2, demo: 4, real: 4, paper: 8}\n"
        "  slope: {smoke: 0, class: 0.5, demo: 0.5, real: 1, paper: 1}\n"
        "  causal: true\n  window: null\n  shape: round\n  span: {smoke: null, class: 3, demo: 3, real: 3, paper: 3}\n",
        encoding="utf-8",
    )
    new = profile_values("smoke", "13_new")
    assert new == {"heads": 1, "slope": 0, "causal": True, "window": None, "shape": "round", "span": None}
    known = {
        "heads": ("16", 16),
        "slope": ("1e-3", 1e-3),
        "causal": ("false", False),
        "shape": ("a 5", "a 5"),
        "span": ("5", 5),
    }
    for name, (text, value) in known.items():
        assert typed(name, text, "13_new") == value
    for name, text in (("heads", "2.5"), ("heads", "null"), ("slope", "steep"), ("causal", "1"), ("span", "x")):
        with pytest.raises(ProfileError, match=f"parameter '{name}' takes"):
            typed(name, text, "13_new")
    with pytest.raises(ProfileError, match="no parameter 'epohcs'; did you mean 'epochs'"):
        typed("epohcs", "3", "13_new")


NEW = "{smoke: 1, class: 2, demo: 4, real: 4, paper: 8}"
NEW_BLOCK = "13_new:\n  heads: {{smoke: {}, class: 4, demo: 4, real: 4, paper: 8}}\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"13_new:\n  heads: {NEW}\n  heads: {NEW}\n",
            "is no mapping of notebooks to their parameters: heads stands twice",
        ),
        (f"13_new:\n  heads: {NEW}\n13_new:\n  heads: {NEW}\n", "13_new stands twice"),
        ("13_new: hello\n", "13_new has 'hello'"),
        (
            "13_new:\n  heads: {smoke: [8, 9], class: 4, demo: 4, real: 4, paper: 8}\n",
            "'heads' needs values of one kind",
        ),
        (
            "13_new:\n  heads: {smoke: eight, class: 4, demo: 4, real: 4, paper: 8}\n",
            "'heads' needs values of one kind",
        ),
        ("13_new:\n  heads:\n", "'heads' needs values of one kind"),
    ],
)
def test_a_block_that_cannot_be_right_is_refused(monkeypatch, tmp_path, text, message):
    monkeypatch.setattr(profiles, "NOTEBOOKS", tmp_path)
    (tmp_path / "profiles.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError, match=message) as told:
        profile_values("smoke", "13_new")
    assert "profiles.yaml" in str(told.value) and "\n" not in str(told.value)


def test_what_a_block_lacks_is_told_with_the_file(monkeypatch, tmp_path):
    monkeypatch.setattr(profiles, "NOTEBOOKS", tmp_path)
    with pytest.raises(ProfileError, match=r"profiles\.yaml is missing in the folder of chapters"):
        profile_values("smoke", "13_new")
    (tmp_path / "profiles.yaml").write_text(f"all:\n  seed: 0\n13_new:\n  epohcs: {NEW}\n", encoding="utf-8")
    with pytest.raises(ProfileError, match=r"13_new lacks 'epochs', .* give it a line there; the block has 'epohcs'"):
        settings("13_new", {"profile": "smoke", "epochs": ..., "seed": ...})


def test_a_new_parameter_has_the_bounds_of_its_block(monkeypatch, tmp_path):
    monkeypatch.setattr(profiles, "NOTEBOOKS", tmp_path)
    lines = f"13_new:\n  heads: {NEW}\n  delay: {{smoke: 0, class: 0.5, demo: 0.5, real: 1, paper: 1}}\n  bias: -1\n"
    (tmp_path / "profiles.yaml").write_text(lines, encoding="utf-8")
    assert typed("bias", "-3", "13_new") == -3 and typed("delay", "0", "13_new") == 0
    for name, text, wanted in (("heads", "0", "above 0"), ("heads", "-3", "above 0"), ("delay", "-1", "0 or more")):
        with pytest.raises(ProfileError, match=f"parameter '{name}' takes .*{wanted}; it was given"):
            typed(name, text, "13_new")
    with pytest.raises(ProfileError, match="takes a whole number"):
        typed("heads", "9" * 400, "13_new")


def test_profiles_read_as_yaml_reads_them():
    # Their own typing must leave every value, and so every run's name, as it was.
    found = blocks()
    for profile in PROFILES:
        for name in chapter_names():
            block = found["all"] | found.get(name, {})
            expected = {key: value[profile] if isinstance(value, dict) else value for key, value in block.items()}
            assert json.dumps(profile_values(profile, name)) == json.dumps(expected), (profile, name)


def test_text_is_read_as_papermills_command_reads_it():
    texts = ("5", "-5", "08", "010", "1_000", " 7", "1e-3", ".5", "3.", "nan", "inf", "-inf", "True", "False", "None")
    for text in (*texts, "yes", "12:30", "2020-01-01", "@x", "0x10", "x", ""):
        assert repr(profiles._of_text(text)) == repr(papermill.cli._resolve_type(text)), text


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("losses", ("focal", "macro-F1"), ["focal", "macro-F1"]),
        ("epochs", np.int64(3), 3),
        ("rate", np.float32(0.5), 0.5),
        ("rate", 1, 1),
        ("save", False, False),
        ("patience", None, None),
    ],
)
def test_values_of_python_are_taken_too(name, value, expected):
    found = typed(name, value)
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", True),
        ("epochs", 3.0),
        ("rate", True),
        ("save", 0),
        ("losses", {"focal"}),
        ("cohort", None),
        ("seed", ...),
    ],
)
def test_values_of_another_type_are_refused(name, value):
    with pytest.raises(ProfileError, match=f"parameter '{name}' takes "):
        typed(name, value)


def test_a_choice_is_one_that_the_package_has():
    from ecgstudy.systems import System

    assert profiles._CHOICES["schedule"] == typing.get_args(typing.get_type_hints(System)["schedule"])
    for name, items in {"losses": LOSSES, "methods": METHODS}.items():
        assert typed(name, list(items)) == list(items)
    assert typed("systems", [cls.name for cls in catalogue.with_chapter()])
    with pytest.raises(ProfileError, match="CNN-GAP, xECGNet, BUTTeam, ECGMaster, Local evidence"):
        typed("systems", ["xresnet1d101"])  # which has no chapter


def test_what_a_users_own_start_up_files_define_is_no_parameter():
    p = settings("02_preprocessing", {"profile": "demo", "seed": 3, "np": np, "helper": print})
    assert vars(p) == {"profile": "demo", "seed": 3}
