"""Whoever adds a paper, a map or a trial touches what CONTRIBUTING lists, and nothing else: here from outside."""

import importlib
import json
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat
import numpy as np
import papermill
import pytest
import torch
from torch import Tensor, nn

from ecgstudy import maps, profiles, studies
from ecgstudy.data.cohort import synthetic_cohort
from ecgstudy.explain import blind, evaluation, methods, trials
from ecgstudy.explain.cases import synthetic_cases
from ecgstudy.explain.methods import Method
from ecgstudy.explain.trials import Trial
from ecgstudy.paths import NOTEBOOKS, REPOSITORY
from ecgstudy.profiles import ProfileError
from ecgstudy.studies import checks, intact, leaderboard
from ecgstudy.studies.catalogue import Explanations, Leaderboard
from ecgstudy.systems import CATALOGUE, System, register

PAPER = Path(__file__).parent / "sixth_paper"


@pytest.fixture(scope="module")
def chapters(tmp_path_factory):
    """A folder of chapters of one's own: the notebook, and the study's profiles with one block more."""
    folder = tmp_path_factory.mktemp("chapters")
    shutil.copy(PAPER / "99_toy.ipynb", folder)
    known = (NOTEBOOKS / "profiles.yaml").read_text(encoding="utf-8")
    block = (PAPER / "profiles.yaml").read_text(encoding="utf-8")
    (folder / "profiles.yaml").write_text(f"{known}\n{block}", encoding="utf-8")
    return folder


@pytest.fixture
def toy(chapters, monkeypatch):
    """The toy system, registered from outside the package as long as a test runs."""
    before = dict(CATALOGUE)
    monkeypatch.syspath_prepend(str(PAPER))
    monkeypatch.setattr(profiles, "NOTEBOOKS", chapters)
    sys.modules.pop("toy", None)
    yield importlib.import_module("toy").ToySystem
    sys.modules.pop("toy", None)
    CATALOGUE.clear()
    CATALOGUE.update(before)


@pytest.fixture
def board(tmp_path, monkeypatch):
    """A leaderboard of its own, on 60 simulated records."""
    data = synthetic_cohort(60, 100, balance=1)
    monkeypatch.setattr(leaderboard, "FOLDER", tmp_path / "leaderboard")
    for module in (studies, checks):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(leaderboard, "cohort_of", lambda trial, fs: data)
    return data


def test_a_registered_system_stands_where_the_study_lists_systems(toy):
    assert [*CATALOGUE][-3:] == ["Toy", "xresnet1d101", "resnet1d_wang"]  # by chapter, benchmarks last
    assert "Toy" in leaderboard.entries("real") and "Toy, pre-trained" in leaderboard.entries("real")
    assert Explanations().missing("explanations", ["CNN-GAP", "Toy"]) == {"Toy": None}
    assert profiles.typed("systems", ["Toy", "CNN-GAP"]) == ["Toy", "CNN-GAP"]
    system, members = toy.of_profile("demo")
    assert (system.heads, system.epochs, members) == (8, 8, 2)
    # Of a linear head Grad-CAM is the map itself, so the study asks for neither.
    assert methods.methods(toy) == [
        *("CAM", "Grad-CAM++", "saliency", "input × gradient", "integrated gradients"),
        *("GradientSHAP", "DeepLIFT", "guided Grad-CAM", "occlusion"),
    ]


def test_a_registered_system_is_trained_explained_tried_and_ranked(toy, board):
    study = Leaderboard()
    assert "Toy" in study.missing("real", ["Toy"])
    study.keep("real", "Toy", [task() for task in study.tasks("real", "Toy")])
    assert study.missing("real", ["Toy"]) == {} and intact.board_faults("real") == []
    study.write()
    row = leaderboard.committed("real").set_index(["system", "metric", "class"]).loc[("Toy", "AUROC", "")]
    assert row["paper_value"] == 0.5 and row["low"] < row["value"] < row["high"]
    assert study.check().wrong == [] and study.check().values > 50

    run, cases = leaderboard.runs_of("real", "Toy")[0], synthetic_cases(100, 1, seed=1000)
    network, x = run.network(), cases.inputs(run.system)
    own = methods.explain(toy, "CAM", network, x, torch.from_numpy(cases.classes))
    cam = maps.cam(network, x)[range(len(x)), cases.classes]
    for made, cells in zip(own, cam, strict=True):  # at the middle of a cell the map is the cell
        np.testing.assert_allclose(made[2::5], cells, rtol=1e-4, atol=1e-5)
    scores = evaluation.evaluate(run.system, network, cases, methods.methods(toy), costly_every=3)
    named = {trial.name for trial in trials.TRIALS.values() if not trial.needs}
    assert set(scores.columns.get_level_values("trial")) == named
    assert set(scores.columns.get_level_values("method")) == {*methods.methods(toy), *blind.BASELINES}
    assert not scores.iloc[::3].isna().all().any()


def test_the_chapter_of_a_system_from_outside_executes_by_papermill_alone(chapters, tmp_path, monkeypatch):
    for name, value in {
        "ECGSTUDY_NOTEBOOKS": chapters,
        "ECGSTUDY_CACHE": tmp_path / "cache",
        "PYTHONPATH": os.pathsep.join([str(PAPER), str(REPOSITORY)]),
    }.items():
        monkeypatch.setenv(name, str(value))
    out = tmp_path / "out.ipynb"
    given = {"profile": "smoke", "epochs": 1, "members": 2}
    papermill.execute_notebook(chapters / "99_toy.ipynb", out, given, progress_bar=False)
    cells = nbformat.read(out, as_version=4).cells
    (table,) = [
        o["data"]["text/html"] for cell in cells for o in cell.get("outputs", []) if "text/html" in o.get("data", {})
    ]
    assert re.search(r"Ensemble of 2 on the 1\d test records of the synthetic cohort", table) and "AUROC" in table
    assert any("image/png" in o.get("data", {}) for o in cells[-1]["outputs"])
    configs = [json.loads(file.read_text()) for file in (tmp_path / "cache" / "runs").glob("*/config.json")]
    assert len(configs) == 2
    assert {(config["system"], config["heads"], config["epochs"]) for config in configs} == {("Toy", 4, 1)}
    told = "".join(o.text for cell in cells for o in cell.get("outputs", []) if o.get("name") == "stderr")
    # Both were trained side by side, where the machine has two cores, and what is seen of it is no part of the page.
    if (os.cpu_count() or 1) > 1:
        assert "Toy 1/2: 1 epoch, loss" in told and "Toy 2/2: 1 epoch, loss" in told


def test_a_registered_map_explains_every_system_that_it_suits(monkeypatch):
    def middle_cell(network: nn.Module, layer: str, x: Tensor, classes: Tensor) -> Tensor:
        cells = maps.grad_cam(network, layer, x, classes)
        return torch.zeros_like(cells).index_fill(-1, torch.tensor([cells.shape[-1] // 2]), 1)

    monkeypatch.setitem(methods.METHODS, "middle cell", Method("middle cell", "layer", middle_cell))
    for name in ("CNN-GAP", "ECGMaster"):
        cls = CATALOGUE[name]
        assert "middle cell" in methods.methods(cls)
        system, _ = cls.of_profile("smoke")
        signal = np.random.default_rng(0).normal(size=(12, 1250)).astype(np.float32)
        x = torch.from_numpy(np.stack(system.windows(signal)))
        (found,) = methods.explain(system, "middle cell", system.network().eval(), x, torch.tensor([3]))
        assert 590 < found.argmax() < 660 and not found[:560].any() and not found[690:].any()
    monkeypatch.setattr(CATALOGUE["CNN-GAP"], "rules_miss", ("middle cell",))
    assert "middle cell" not in methods.methods(CATALOGUE["CNN-GAP"])


def test_a_registered_trial_scores_every_method(monkeypatch, toy):
    def first_half(made: evaluation.Made) -> np.ndarray:
        m = trials.relevance(made.maps)
        return m[:, : m.shape[1] // 2].sum(axis=1) / m.sum(axis=1)

    trial = Trial("first half", "property", None, first_half, costly=True)
    monkeypatch.setitem(trials.TRIALS, trial.name, trial)
    torch.manual_seed(0)
    system, cases = toy(heads=4), synthetic_cases(100, 1, seed=1000)
    scores = evaluation.evaluate(system, system.network().eval(), cases, ["CAM"], costly_every=2)["CAM"]
    maps_ = evaluation.make_maps("CAM", system, system.network().eval(), cases)
    assert maps_.shape == (9, 1000) and scores["first half"][::2].between(0, 1).all()
    assert scores["first half"][1::2].isna().all()


def test_a_registered_map_of_samples_is_the_functions_own(monkeypatch):
    def ramp(network: nn.Module, x: Tensor, classes: Tensor) -> Tensor:
        return torch.arange(x.shape[-1], dtype=torch.float32).expand(len(x), 12, -1) + classes[:, None, None]

    monkeypatch.setitem(methods.METHODS, "ramp", Method("ramp", "samples", ramp))
    system, _ = CATALOGUE["CNN-GAP"].of_profile("smoke")
    x = torch.randn(2, 12, 1250)
    found = methods.explain(system, "ramp", system.network().eval(), x, torch.tensor([0, 3]), by_lead=True)
    np.testing.assert_allclose(found, np.broadcast_to(np.arange(1250) + np.array([0, 3])[:, None, None], (2, 12, 1250)))


@pytest.mark.parametrize(
    ("gives", "made", "message"),
    [
        ("layer", lambda *_: torch.ones(2, 9, 4), r"'odd' gave maps \(2, 9, 4\), where \(2, cells\) is wanted"),
        ("layer", lambda *_: torch.ones(1, 4), r"'odd' gave maps \(1, 4\)"),
        ("layer", lambda *_: None, "'odd' gave maps NoneType"),
        ("layer", lambda *_: torch.full((2, 4), torch.nan), "'odd' gave maps with NaN or infinity"),
        ("samples", lambda *_: torch.ones(2, 1250), r"'odd' gave maps \(2, 1250\), where \(2, 12, 1250\) is wanted"),
    ],
)
def test_a_map_that_does_not_fit_names_its_method(monkeypatch, gives, made, message):
    monkeypatch.setitem(methods.METHODS, "odd", Method("odd", gives, made))
    system, _ = CATALOGUE["CNN-GAP"].of_profile("smoke")
    with pytest.raises(ValueError, match=message):
        methods.explain(system, "odd", system.network().eval(), torch.randn(2, 12, 1250), torch.tensor([0, 3]))


def test_a_method_or_a_trial_that_says_too_little_is_refused():
    with pytest.raises(ValueError, match="'new' has no function that makes its maps"):
        Method("new", "samples")
    with pytest.raises(ValueError, match="'new' gives 'sample': take layer, samples or windows"):
        Method("new", "sample", maps.cam)
    with pytest.raises(ValueError, match="'new' is of the family 'localization'"):
        Trial("new", "localization", True, lambda made: trials.gini(made.maps))
    with pytest.raises(ValueError, match="'new' needs 'sead'"):
        Trial("new", "stability", True, lambda made: trials.gini(made.maps), needs="sead")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (lambda made: 0.5, r"'odd' gave float64 \(\) for 9 maps of 'CAM'"),
        (lambda made: made.maps[1:, 0], r"'odd' gave float32 \(8,\)"),
        (lambda made: ["well"] * len(made.maps), "'odd' gave <U4"),
        (lambda made: np.full(len(made.maps), np.inf), "'odd' gave infinity"),
    ],
)
def test_a_trial_that_gives_no_scores_is_named(monkeypatch, toy, scores, message):
    monkeypatch.setitem(trials.TRIALS, "odd", Trial("odd", "property", None, scores))
    system, cases = toy(heads=4), synthetic_cases(100, 1, seed=1000)
    with pytest.raises(ValueError, match=message):
        evaluation.evaluate(system, system.network().eval(), cases, ["CAM"], costly_every=9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "CNN-gap"}, "is named 'CNN-gap', as ecgstudy.systems.cnn_gap.CNNGAPSystem is: rename one of them"),
        ({"name": ""}, "is named '': files take that name"),
        ({"name": "a/b"}, "is named 'a/b'"),
        ({"name": "CNN-GAP, one"}, "is named 'CNN-GAP, one'"),
        ({"title": "", "chapter": ""}, "Another does not say its title, chapter"),
        ({"own_maps": {}}, "does not say its own_maps"),
        ({"chapter": "03_cnn_gap"}, "has the chapter '03_cnn_gap', as ecgstudy.systems.cnn_gap.CNNGAPSystem has"),
        ({"windows": System.windows}, "Another lacks windows"),
    ],
)
def test_a_system_that_does_not_fit_is_not_registered(toy, changes, message):
    before = dict(CATALOGUE)
    another = type("Another", (toy,), {"name": "Another", "chapter": "98_another", **changes})
    with pytest.raises(ValueError, match="Another is not a dataclass itself: decorate it"):
        register(another)
    with pytest.raises(ValueError, match=message):
        register(dataclass(frozen=True, kw_only=True)(another))
    assert before == CATALOGUE


def test_a_chapter_without_a_block_says_so_before_anything_is_trained(toy, chapters, monkeypatch):
    monkeypatch.setattr(toy, "chapter", "98_nothing")
    with pytest.raises(
        ProfileError, match=r"profiles\.yaml: 98_nothing, the chapter of Toy, lacks 'members': add its block"
    ):
        toy.of_profile("demo")


def test_no_module_asks_for_a_system_by_its_name():
    """Names stand in a system's own file, in its questions (ablations), and in prose; nowhere as a key."""
    allowed = {
        "studies/ablations.py",
        *(f"systems/{path.name}" for path in (REPOSITORY / "ecgstudy/systems").glob("*.py")),
    }
    keyed = re.compile("|".join(rf'(?:\[|\{{|==\s*|in\s*\()"{re.escape(name)}"' for name in CATALOGUE))
    for path in (REPOSITORY / "ecgstudy").rglob("*.py"):
        where = path.relative_to(REPOSITORY / "ecgstudy").as_posix()
        if where not in allowed:
            assert not (found := keyed.findall(path.read_text(encoding="utf-8"))), (where, found)
    for path in NOTEBOOKS.glob("*.ipynb"):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        assert not (found := re.findall(r'\{[^{}]*"(?:xECGNet|CNN-GAP|BUTTeam|ECGMaster)":[^{}]*\}\[', code)), (
            path.name,
            found,
        )
