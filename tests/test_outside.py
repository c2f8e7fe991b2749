"""Networks that are none of the study's systems on trial, beside captum's and Quantus's own numbers."""

import re
import warnings

import numpy as np
import pytest
import torch
from captum import attr
from torch import nn

from ecgstudy.explain import outside, trials
from ecgstudy.paths import REPOSITORY

FS, N = 100, 400


class Theirs(nn.Module):
    """A network of two leads in torch's own modules: class a is a bump in the first lead, b in the second."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv1d(2, 2, 9, padding=4, bias=False), nn.ReLU(), nn.AvgPool1d(4))
        self.head = nn.Linear(2, 2)
        with torch.no_grad():
            self.body[0].weight.zero_()
            for c in range(2):
                self.body[0].weight[c, c] = 1 / 9
            self.head.weight.copy_(50 * torch.eye(2))

    def forward(self, x):
        return self.head(self.body(x).mean(dim=-1))


def cam(network, x):
    return torch.einsum("ck,bkt->bct", network.head.weight, network.body(x))


@pytest.fixture(scope="module")
def cases():
    rng = np.random.default_rng(0)
    signals, key = 0.02 * rng.standard_normal((24, 2, N)), np.zeros((24, N), dtype=bool)
    classes = np.repeat([0, 1], 12)
    for row, c in enumerate(classes):
        at = rng.integers(20, N - 60)
        signals[row, c, at : at + 40] += 1
        key[row, at : at + 40] = True
    return outside.cases_of(signals, classes, key, fs=FS, known=["a", "b"])


@pytest.fixture(scope="module")
def scores(cases):
    chosen = ["Grad-CAM", "saliency", "input × gradient", "integrated gradients"]
    return outside.evaluate(Theirs(), cases, own={"CAM": cam}, layer="body", chosen=chosen)


def test_what_finds_the_evidence_wins_and_what_is_blind_does_not(scores, cases):
    found = trials.summary(scores, cases.names_of_classes, cases.patients, repeats=50)
    value = found[found["class"] == ""].set_index(["method", "trial"])["value"]
    assert value["CAM", "excess mass"] > 0.8
    assert value["Grad-CAM", "excess mass"] == pytest.approx(value["CAM", "excess mass"], abs=1e-4)
    assert abs(value["random", "excess mass"]) < 0.2
    assert value["QRS detector", "excess mass"] < 0.5
    assert value["CAM", "wrong class"] < 0.3
    assert set(found["class"]) == {"", "a", "b"}


def test_maps_are_those_that_captum_makes_of_the_bare_network(scores, cases):
    x = torch.from_numpy(cases.signals).requires_grad_()
    m = attr.InputXGradient(Theirs().eval()).attribute(x, target=torch.from_numpy(cases.classes)).detach()
    wanted = trials.localisation(m.sum(dim=1).numpy(), cases.any_lead)
    for trial in trials.LOCALISATION:
        np.testing.assert_allclose(scores["input × gradient", trial], wanted[trial], atol=1e-5)


def test_scores_are_quantuss(scores, cases):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import quantus

    x = torch.from_numpy(cases.signals)
    cells = cam(Theirs(), x).detach()[range(24), cases.classes]
    fine = np.repeat(cells.numpy(), 4, axis=-1)[:, None]
    options = {"disable_warnings": True, "display_progressbar": False, "normalise": False, "abs": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        measured = quantus.RelevanceMassAccuracy(**options)(
            model=Theirs(),
            x_batch=cases.signals,
            y_batch=cases.classes,
            a_batch=fine,
            s_batch=cases.any_lead[:, None],
        )
    # Ours is linear between the cells' centres, theirs a step a cell.
    np.testing.assert_allclose(scores["CAM", "mass"], measured, atol=0.05)


def test_the_stride_is_measured_and_bounds_follow_from_it(scores, cases):
    about, wrapped = outside.explained(Theirs(), cases, layer="body")
    assert wrapped.stride == 4 and about.feature_layer == "network.body"
    bounds = outside.bounds(Theirs(), cases, scores, own={"CAM": cam}, layer="body")
    assert bounds.loc[("saliency", "excess mass", "a"), "ceiling"] == 1
    assert 0.85 < bounds.loc[("CAM", "excess mass", "a"), "ceiling"] < 1
    assert bounds.loc[("CAM", "excess mass", "a"), "floor"] < 0.5


def test_a_method_that_does_not_suit_is_left_out_and_said_so(cases):
    class Squared(Theirs):
        def forward(self, x):
            return super().forward(x) ** 2

    few = cases.take(np.arange(0, 24, 4))
    with pytest.warns(outside.NotExplained, match="DeepLIFT is left out"):
        scores = outside.evaluate(Squared(), few, chosen=["DeepLIFT", "saliency"])
    assert "saliency" in scores and "DeepLIFT" not in scores


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"signals": np.zeros((2, 13, 50))}, "at most 12 leads"),
        ({"key": np.zeros((2, 49), dtype=bool)}, "the key must be"),
        ({"classes": [0, 2]}, "classes must be"),
        ({"labels": np.ones((2, 2), dtype=bool)}, "labels must be"),
    ],
)
def test_cases_that_do_not_fit_are_refused(change, said):
    fits = {"signals": np.zeros((2, 3, 50)), "classes": [0, 1], "key": np.zeros((2, 50), dtype=bool)}
    with pytest.raises(ValueError, match=said):
        outside.cases_of(**{**fits, **change}, fs=100, known=["a", "b"])


def test_what_does_not_fit_the_network_is_refused(cases):
    with pytest.raises(ValueError, match="has 2 outputs, the cases are of 3 classes"):
        outside.evaluate(Theirs(), cases._replace(known=("a", "b", "c")))
    with pytest.raises(ValueError, match="the map 'flat' must be"):
        outside.evaluate(Theirs(), cases, own={"flat": lambda network, x: network(x)})
    with pytest.raises(ValueError, match="name the stride"):
        outside.evaluate(Theirs(), cases, own={"odd": lambda network, x: network.body(x)[..., :-1]})


def test_the_page_runs_as_it_stands(capsys):
    page = (REPOSITORY / "book" / "own_network.md").read_text(encoding="utf-8")
    space = {}
    for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(code, space)
    means = space["means"].set_index(["method", "trial", "class"])["value"]
    assert {"CAM", "Grad-CAM", "DeepLIFT", "occlusion", "random", "QRS detector"} <= set(space["means"]["method"])
    assert np.isfinite(means["CAM", "excess mass", ""])
    assert space["bounds"].loc[("CAM", "excess mass", "LBBB"), "ceiling"] > 0.5
    assert len(space["found"]) == 8 and "saliency" in space["found"]
    assert "excess mass" in capsys.readouterr().out
