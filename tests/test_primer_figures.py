"""The figures of the primer on networks show what the network computes."""

from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pytest

from ecgstudy.book import computed, primer_figures
from ecgstudy.data.labels import CLASSES


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_answer_of_the_filter_is_a_sum_of_products():
    """Sample by sample in float64: weights times voltages, normalised, nothing below zero; then the larger of two."""
    r = primer_figures.read()
    convolution, norm, _, _ = primer_figures._layers(r)
    weights, answer, pooled = primer_figures.first_block(r)
    chosen = next(k for k, w in enumerate(convolution.weight.detach().numpy()) if np.array_equal(w, weights))
    x, taps, spacing = r.x[0].numpy().astype(float), weights.shape[1], convolution.dilation[0]
    before = (taps - 1) * spacing // 2
    scale = norm.weight[chosen].item() / np.sqrt(norm.running_var[chosen].item() + norm.eps)
    for at in (300, 555, 801):
        window = x[:, at - before : at - before + taps * spacing : spacing]
        summed = (window * weights).sum() + convolution.bias[chosen].item()
        expected = max(0, (summed - norm.running_mean[chosen].item()) * scale + norm.bias[chosen].item())
        assert answer[at] == pytest.approx(expected, abs=1e-4)
    assert pooled.tolist() == [max(pair) for pair in answer[: 2 * len(pooled)].reshape(-1, 2).tolist()]


def test_the_mean_of_the_map_and_the_bias_are_the_logit():
    r = primer_figures.read()
    some, whole = primer_figures.channels(r)
    z = primer_figures.logits(r)[r.c]
    assert whole.mean() + r.network.head.bias[r.c].item() == pytest.approx(z, abs=1e-4)
    adds = [abs(weight * channel.mean()) for weight, channel in some]
    assert adds == sorted(adds, reverse=True)


def test_the_page_tells_the_truth_about_this_record():
    """The diagnosis is called with the highest probability; the QRS detector, which knows nothing, is hard to beat."""
    r = primer_figures.read()
    z = primer_figures.logits(r)
    assert CLASSES[int(z.argmax())] == primer_figures.LABEL and (z > 0).sum() > 1
    key = r.case.any_lead[0]
    parts = [m[0].clip(min=0) for m in primer_figures.three_maps(r).values()]
    shares = [m[key].sum() / max(m.sum(), 1e-9) for m in parts]
    assert shares[2] == max(shares)


@pytest.mark.parametrize("name", [*primer_figures.DRAWN])
def test_every_figure_is_svg(name):
    text = computed.DRAWINGS[name]()
    assert ElementTree.fromstring(text).tag == "{http://www.w3.org/2000/svg}svg" and len(text) < 400_000
