"""The explorer: its numbers are the package's, its chart is to scale, and it works by mouse, touch and keyboard."""

import base64
import dataclasses
import json
import re
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ecgstudy.book import explorer, pages
from ecgstudy.data.delineations import read_delineation
from ecgstudy.data.formats import read_annotation
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.records import LEADS, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain import blind, methods
from ecgstudy.explain.cases import wave_key
from ecgstudy.preprocessing import resample
from ecgstudy.reading.chart import LEVELS
from ecgstudy.reading.explanation import BY_LEAD, explain
from ecgstudy.reading.shipped import ENTRIES
from tests.interactive import STATIC, blocks, check_layout_and_axe, settle, touch, visit, write_page
from tests.test_book import browser as browser
from tests.test_page import luminance

REAL = explorer.RECORDS / "ludb-96.hea"
OWN, _, PAPER, *_ = ENTRIES


def given(text):
    """What a script gives to the page: its name and its data."""
    name, data = re.fullmatch(r'EcgData\.put\(("[^"]+"), (.*)\);\n', text, re.DOTALL).groups()
    return json.loads(name), json.loads(data)


def decoded(one):
    return np.frombuffer(base64.b64decode(one["values"]), np.uint8).reshape(one["rows"], one["leads"], -1)


@pytest.fixture(scope="module")
def shown():
    return (explorer.simulated(("RBBB", "PVC"), 3), explorer.real(REAL))


@pytest.fixture(scope="module")
def data(shown):
    """Maps of the first record, by the own system and by a paper's."""
    return {name: explorer.about_maps(shown[0], name) for name in (OWN, PAPER)}


@pytest.mark.parametrize("name", [OWN, PAPER])
def test_answers_and_maps_are_those_of_explain(shown, data, name):
    found = data[name]
    asked = explain(shown[0].record, system=name)
    np.testing.assert_allclose(found["probabilities"], asked.probabilities, atol=5e-5)
    np.testing.assert_allclose(found["thresholds"], asked.thresholds, atol=5e-5)
    assert found["called"] == asked.called.tolist() and found["fs"] == asked.system.fs / 2
    for method in explorer.methods_of(asked.system):
        if method in blind.BASELINES:
            continue
        again = explain(shown[0].record, system=name, method=method)
        made = decoded(found["maps"][method])
        assert made.shape[:2] == (9, 12 if method == BY_LEAD else 1)
        for c in (2, 4, 6):
            own = again.lead_map(CLASSES[c]) if method == BY_LEAD else again.map(CLASSES[c])[None]
            positive = own[:, : own.shape[1] // 2 * 2].clip(min=0)
            coarse = (positive[:, ::2] + positive[:, 1::2]) / 2
            np.testing.assert_allclose(made[c] / 255, coarse / max(coarse.max(), 1e-12), atol=0.0025)


def test_maps_without_a_network_are_the_same_for_every_class(data):
    for method in blind.BASELINES[1:]:
        one, other = (data[name]["maps"][method] for name in (OWN, PAPER))
        assert one["rows"] == 1 and one["values"] == other["values"]
    own, random = (decoded(data[PAPER]["maps"][m])[:, 0] for m in (next(iter(data[PAPER]["maps"])), "random"))
    assert not np.array_equal(own, random)
    for a, b in zip(own, random, strict=True):
        assert abs(int(a.astype(int).sum()) - int(b.astype(int).sum())) < 0.05 * a.astype(int).sum() + 100


def test_scores_are_mass_share_and_excess(shown, data):
    """By hand, in float64, from the key's rows themselves."""
    found, one = data[PAPER], shown[0]
    evidence = synthetic.simulate(3, 1000, labels=frozenset({"RBBB", "PVC"})).evidence
    for method in (next(iter(found["maps"])), BY_LEAD, "QRS detector"):
        maps = explorer.maps_of(explorer.explained(one, PAPER), method)
        for c, name in enumerate(CLASSES):
            inside = np.zeros(5000, dtype=bool)
            for row in evidence[evidence["class"] == name].itertuples():
                inside[row.onset : row.offset] = True
            inside = inside.reshape(-1, 4).any(axis=1)
            score = found["maps"][method]["scores"][c]
            if name not in ("RBBB", "PVC"):
                assert score is None
                continue
            own = maps[c if len(maps) > 1 else 0]
            m = np.clip(own.sum(axis=0) if own.ndim == 2 else own, 0, None)
            mass, share = m[inside].sum() / m.sum(), inside.mean()
            np.testing.assert_allclose(score, [mass, share, (mass - share) / (1 - share)], atol=1e-4)


def test_an_ecg_comes_back_in_microvolts(shown):
    for one in shown:
        about = explorer.about_record(one)
        mV = np.frombuffer(base64.b64decode(about["signals"]), "<i2").reshape(12, 2500) / 1000
        np.testing.assert_allclose(mV, resample(one.record.signal, one.record.fs, 250), atol=0.00051)
        assert about["findings"] == [name for name in CLASSES if name in one.record.labels]


def test_brackets_are_the_key_of_each_lead(shown):
    for one in shown:
        about = explorer.about_record(one)
        assert list(about["key"]) == [name for name, own in zip(CLASSES, one.key, strict=True) if own.any()]
        for name, groups in about["key"].items():
            made = np.zeros((12, 5000), dtype=bool)
            assert sum(len(group["leads"]) for group in groups) == len({lead for g in groups for lead in g["leads"]})
            for group in groups:
                for begin, end in group["spans"]:
                    made[[LEADS.index(lead) for lead in group["leads"]], round(500 * begin) : round(500 * end)] = True
            np.testing.assert_array_equal(made, one.key[CLASSES.index(name)])


def test_a_real_key_is_what_cardiologists_marked(shown):
    """AF: from the end of each T to the beginning of the next QRS, read from the annotation itself."""
    key = shown[1].key[CLASSES.index("AF"), LEADS.index("II")]
    marks = read_annotation(REAL, "ii")
    sample, symbol = marks["sample"].to_numpy(), marks["symbol"].to_numpy()
    after = [sample[i + 1] for i in np.flatnonzero(symbol == "t") if symbol[i + 1] == ")"]
    before = [sample[i - 1] for i in np.flatnonzero(symbol == "N") if symbol[i - 1] == "("]
    edges = np.flatnonzero(np.diff(key, prepend=False, append=False)).reshape(-1, 2)
    assert len(edges) >= 5 and set(edges[:, 0]) <= set(after) and set(edges[:, 1]) <= set(before)
    waves = read_delineation(REAL)
    np.testing.assert_array_equal(shown[1].key[1], wave_key(waves, "AF", LEADS, 5000))


def test_every_real_record_of_the_book_is_shown_with_its_source():
    headers = sorted(explorer.RECORDS.glob("*.hea"))
    real = [one for one in explorer.records() if synthetic.parsed(one.record.name) is None]
    assert [one.name for one in real] == [path.stem for path in headers]
    for one, path in zip(real, headers, strict=True):
        assert re.search(r"ODC-By|CC BY|CC0", one.source), path
        np.testing.assert_array_equal(one.record.signal, read_record(path).signal)
        assert one.first.seconds <= 10


def test_simulated_records_are_those_that_no_network_has_learned_from():
    found = {name for findings, _ in explorer.SIMULATED for name in findings}
    assert found == set(CLASSES)
    assert len({one.name for one in explorer.records()}) == len(explorer.records())
    one = explorer.records()[0]
    assert not any(explorer.explained(one, name).seen.any() for name in ENTRIES)


def test_networks_that_learned_from_the_original_of_a_cut_do_not_answer(shown):
    source = "PhysioNet/CinC Challenge 2021 1.0.3, record training/cpsc_2018/g1/A0001, doi:1, CC BY 4.0"
    found = explorer.explained(dataclasses.replace(shown[1], source=source), OWN)
    tested = []
    for run in found.shipped.runs:
        rows = run.predictions[run.predictions["split"] == "test"]["record"]
        names = found.shipped.records.iloc[rows][["name", "source"]]
        tested.append(bool(((names["name"] == "A0001") & (names["source"] == "cpsc_2018")).any()))
    assert sum(tested) == 1 and found.seen.tolist() == [not one for one in tested]
    assert not explorer.explained(shown[1], OWN).seen.any()


def test_methods_are_the_systems_own_and_cheap_ones(data):
    about = explorer.about()
    assert [one["name"] for one in about["systems"]] == list(ENTRIES)
    for one in about["systems"]:
        general = [name for name in one["methods"] if name in methods.METHODS]
        assert "random" in one["methods"] and BY_LEAD in general
        assert not any(methods.METHODS[name].costly for name in general)
    assert list(data[OWN]["maps"]) == about["systems"][0]["methods"]


def test_each_chapter_leads_to_the_explorer_of_its_system():
    app = SimpleNamespace(env=SimpleNamespace(found_docs={"book/explorer"}))
    for page, wanted in (("notebooks/05_butt", 1), ("book/claims", 0)):
        context: dict[str, Any] = {
            "body": "<section><h1>T</h1><p>a</p></section>",
            "pathto": lambda name: f"../{name}.html",
        }
        pages._link(app, page, "page.html", context, None)
        found = re.findall(r'<h1>T</h1><p><small>.*?href="\.\./book/explorer\.html#chapter=05_butt"', context["body"])
        assert len(found) == wanted and context["body"].endswith("<p>a</p></section>")
    assert "05_butt" in {one["chapter"] for one in explorer.about()["systems"]}


def test_what_is_kept_is_made_once_and_again_when_something_changes(monkeypatch, tmp_path):
    made = []

    def files():
        made.append(1)
        yield "a.js", explorer.script("a", {"word": "é"})
        yield "b.md", "text"

    folder = explorer.kept("test", files)
    assert explorer.kept("test", files) == folder and made == [1]
    assert given((folder / "a.js").read_text(encoding="utf-8")) == ("a", {"word": "é"})
    monkeypatch.setattr(explorer, "code_hash", lambda *patterns: "other code")
    assert explorer.kept("test", files) != folder and made == [1, 1]


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory, shown):
    """The explorer's page with three ECGs, and a page with a chart alone."""
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGSTUDY_CACHE", str(folder / "cache"))
        patch.setattr(explorer, "records", lambda: shown)
        patch.setattr(explorer, "ENTRIES", [OWN, PAPER, "BUTTeam"])
        still = explorer.still()
        body = blocks(still) + blocks((STATIC.parent / "explorer.md").read_text(encoding="utf-8"))
        page = write_page(folder, "explorer", body)
        explorer.write(folder / "_static" / "explorer")
    alone = '<link rel="stylesheet" href="../_static/ecg-chart.css"><div id="here"></div>'
    write_page(folder, "chart", alone + '<script src="../_static/ecg-chart.js"></script>')
    return page


CHART = """(more) => {
    const fs = 250, n = 2500, leads = ["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"];
    const signals = leads.map(() => Float32Array.from({length: n}, (_, i) => i >= 500 && i < 520 ? 1 : 0));
    const values = Array.from({length: 500}, (_, i) => i >= 100 && i < 110 ? 1 : i >= 150 && i < 160 ? 0.35 : 0);
    window.heard = {marks: [], views: [], clicks: [], calipers: null};
    window.chart = EcgChart.create(document.getElementById("here"), {fs, leads, signals, map: {fs: 50, values},
        key: [{leads: ["II"], spans: [[2.4, 2.6]]}], label: "a test",
        onmark: (mark) => { heard.marks.push(mark); chart.update({marks: heard.marks}); },
        onview: (view) => heard.views.push(view), onclick: (t, lead) => heard.clicks.push([t, lead]),
        oncalipers: (one) => { heard.calipers = one; }, ...more});
}"""
PIXELS = """(places) => {
    const {width, height} = chart.canvas, s = devicePixelRatio;
    const {data} = chart.canvas.getContext("2d").getImageData(0, 0, width, height);
    return places.map(([x, y]) => [...data.subarray(4 * (Math.round(y * s) * width + Math.round(x * s))).slice(0, 3)]);
}"""


@pytest.fixture
def chart(browser, site):
    """A chart alone, with a step of 1 mV from 2 to 2.08 s, a map at 2 and at 3 s, and a key in II."""
    page, said = visit(browser, site.with_name("chart.html"))
    page.evaluate(CHART, {})
    page.locator("canvas").scroll_into_view_if_needed()
    yield page
    assert not said
    page.context.close()


def place(page, t, lead="II"):
    """Where a time is, in the canvas and on the screen."""
    at, box = page.evaluate("([t, lead]) => chart.place(t, lead)", [t, lead]), page.locator("canvas").bounding_box()
    return at["x"], at["y"], box["x"] + at["x"], box["y"] + at["y"]


def test_a_second_and_a_millivolt_have_the_scale_of_paper(chart):
    for width in (360, 390, 1400):
        chart.set_viewport_size({"width": width, "height": 900})
        settle(chart)
        (x0, y, *_), (x1, *_) = place(chart, 1), place(chart, 2)
        second = x1 - x0
        x = place(chart, 2.04)[0]
        column = chart.evaluate(PIXELS, [[x, y - up] for up in np.arange(-2, 0.6 * second).tolist()])
        ink = [i - 2 for i, pixel in enumerate(column) if max(pixel) < 90]
        assert abs(max(ink) - second / 2.5) <= 1.5  # 25 mm and 10 mm


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_map_is_shaded_where_it_is_and_as_much_as_it_is(chart, theme):
    chart.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    settle(chart)
    colours = chart.evaluate("theme => EcgChart.THEMES[theme]", theme)
    for lead in ("I", "V6"):
        _, y, *_ = place(chart, 2, lead)
        # Between the lines of the grid, the commonest colour.
        for t, colour in ((2.1, colours["levels"][3]), (3.1, colours["levels"][1]), (4.5, colours["paper"])):
            x = place(chart, t, lead)[0]
            around = [[x + dx, y + 9 + dy] for dx in range(6) for dy in range(6)]
            seen = ["#{:02x}{:02x}{:02x}".format(*pixel) for pixel in chart.evaluate(PIXELS, around)]
            assert max(set(seen), key=seen.count) == colour, (t, lead)
    assert chart.locator(".ecg-box").count() == 4


def test_its_levels_are_told_apart_in_grey_and_under_the_trace(chart):
    themes = chart.evaluate("EcgChart.THEMES")
    assert themes["light"]["levels"] == [colour for _, colour in LEVELS]
    for one in themes.values():
        grey = [luminance(str([int(c[i : i + 2], 16) for i in (1, 3, 5)])) for c in (one["paper"], *one["levels"])]
        ink = luminance(str([int(one["ink"][i : i + 2], 16) for i in (1, 3, 5)]))
        for a, b in pairwise(grey):
            assert (max(a, b) + 0.05) / (min(a, b) + 0.05) > 1.25
        assert (max(ink, grey[-1]) + 0.05) / (min(ink, grey[-1]) + 0.05) > 3
        assert np.all(np.diff(grey) > 0) or np.all(np.diff(grey) < 0)


def test_the_mouse_drags_zooms_and_measures(chart):
    *_, x, y = place(chart, 2)
    *_, x1, _ = place(chart, 3)
    chart.mouse.move(x1, y)
    chart.mouse.down()
    chart.mouse.move(x, y, steps=3)
    chart.mouse.up()
    assert chart.evaluate("chart.view")[0] == pytest.approx(1, abs=0.02)
    span = np.diff(chart.evaluate("chart.view"))[0]
    chart.evaluate("document.activeElement.blur()")
    chart.mouse.wheel(0, -100)
    assert np.diff(chart.evaluate("chart.view"))[0] == pytest.approx(span)  # the page scrolls
    chart.keyboard.down("Control")
    chart.mouse.wheel(0, -100)
    chart.keyboard.up("Control")
    chart.wait_for_function(f"chart.view[1] - chart.view[0] < {span / 1.1}")
    chart.get_by_role("button", name="Whole record").click()
    assert chart.evaluate("chart.view") == [0, 10]
    chart.get_by_role("button", name="Calipers").click()
    settle(chart)
    (_, _, x0, y0), (_, _, x1, _) = place(chart, 2), place(chart, 5)
    chart.mouse.move(x0, y0)
    chart.mouse.down()
    chart.mouse.move(x1, y0 - 30)
    chart.mouse.up()
    found = chart.evaluate("heard.calipers")
    millivolt = place(chart, 0, "II")[1] - place(chart, 0, "I")[1]  # of 25 mm, from one lead to the next
    assert found["ms"] == pytest.approx(3000, abs=60) and found["mV"] == pytest.approx(30 / (millivolt / 2.5), abs=0.1)
    said = chart.locator(".ecg-said").text_content()
    assert re.fullmatch(r"II: \d+ ms, \d\.\d\d mV, 20 a minute", said), said


def test_the_keyboard_moves_zooms_and_measures(chart):
    chart.locator("canvas").focus()
    before = chart.evaluate("chart.view")
    chart.keyboard.press("ArrowRight")
    after = chart.evaluate("chart.view")
    assert after[0] == pytest.approx(0.1 * (before[1] - before[0])) and chart.evaluate("heard.views.length") == 1
    chart.keyboard.press("End")
    assert chart.evaluate("chart.view")[1] == pytest.approx(10)
    chart.keyboard.press("+")
    assert np.diff(chart.evaluate("chart.view")) == pytest.approx(np.diff(after) / 1.5)
    chart.keyboard.press("0")
    assert chart.evaluate("chart.view") == [0, 10]
    chart.keyboard.press("c")
    for key in ["Shift+ArrowRight"] * 5 + ["Space"] + ["ArrowLeft"] * 5 + ["ArrowUp"] * 20:
        chart.keyboard.press(key)
    found = chart.evaluate("heard.calipers")
    assert found["ms"] == pytest.approx(220) and found["mV"] == pytest.approx(-0.2)
    assert chart.get_by_role("button", name="Calipers").get_attribute("aria-pressed") == "true"
    chart.keyboard.press("Escape")
    assert chart.evaluate("heard.calipers") is None
    outline = chart.locator("canvas").evaluate("one => getComputedStyle(one).outlineStyle")
    assert outline == "solid"


def test_marks_are_made_by_mouse_and_keyboard_and_clicks_are_told(chart):
    chart.evaluate("chart.update({mode: 'mark'})")
    (_, _, x0, y), (_, _, x1, _) = place(chart, 1), place(chart, 2)
    chart.mouse.move(x1, y)
    chart.mouse.down()
    chart.mouse.move(x0, y, steps=3)  # backwards
    chart.mouse.up()
    (mark,) = chart.evaluate("heard.marks")
    assert mark == pytest.approx([1, 2], abs=0.02)
    chart.mouse.click(place(chart, 1.5, "V5")[2], place(chart, 1.5, "V5")[3])
    ((t, lead),) = chart.evaluate("heard.clicks")
    assert t == pytest.approx(1.5, abs=0.02) and lead == "V5"
    chart.locator("canvas").focus()
    begin = sum(chart.evaluate("chart.view")) / 2
    for key in ["Space", *["ArrowRight"] * 4, "Space"]:
        chart.keyboard.press(key)
    assert chart.evaluate("heard.marks")[1] == pytest.approx([begin, begin + 0.16])
    chart.keyboard.press("Delete")
    assert chart.evaluate("heard.clicks")[1] == [pytest.approx(begin + 0.16), ""]


def test_fingers_move_zoom_and_mark(browser, site):
    size = {"width": 390, "height": 800}
    page, said = visit(browser, site.with_name("chart.html"), viewport=size, has_touch=True, is_mobile=True)
    page.evaluate(CHART, {})
    *_, x, y = place(page, 2, "I")
    start = page.evaluate("chart.view")
    touch(page, [(x + 60, y)], [(x + 30, y)], [(x, y)])
    moved = page.evaluate("chart.view")
    assert moved[0] > start[0] + 0.3 and np.diff(moved) == pytest.approx(np.diff(start))
    touch(page, [(150, y), (200, y)], [(140, y), (210, y)], [(125, y), (225, y)])
    assert np.diff(page.evaluate("chart.view"))[0] == pytest.approx(np.diff(start)[0] / 2, rel=0.02)
    page.evaluate("chart.update({mode: 'mark'})")
    touch(page, [(150, y)], [(200, y)], [(250, y)])
    (mark,) = page.evaluate("heard.marks")
    second = place(page, 3)[0] - place(page, 2)[0]
    assert mark[1] - mark[0] == pytest.approx(100 / second, rel=0.05)
    assert not said
    page.context.close()


@pytest.fixture(scope="module")
def opened(browser, site):
    page, said = visit(browser, site)
    page.wait_for_selector("table.ecg-answers tbody tr")
    yield page, said
    page.context.close()


def hashed(page):
    return page.evaluate("Object.fromEntries(new URLSearchParams(location.hash.slice(1)))")


def test_what_is_read_is_what_was_computed(opened, data):
    page, said = opened
    for name, method in ((OWN, BY_LEAD), (PAPER, "QRS detector")):
        page.get_by_label("System").select_option(name)
        page.get_by_label("Finding").select_option("PVC")
        page.get_by_label("Map", exact=True).select_option(method)
        page.wait_for_function("name => document.querySelector('.ecg-verdict').textContent.startsWith(name)", arg=name)
        found, c = data[name], CLASSES.index("PVC")
        text = page.locator(".ecg-verdict").text_content()
        mass, share, excess = found["maps"][method]["scores"][c]
        for value in (found["probabilities"][c], mass, share):
            percent = f"{100 * value:.1f}" if value < 0.0995 else f"{100 * value:.0f}"
            assert f"{percent}\N{NO-BREAK SPACE}%" in text
        assert f"an excess mass of {excess:.2f}".replace("0.", ".").replace("-", "−") in text
        assert ("does not call it" not in text) == found["called"][c]
        rows = page.locator("table.ecg-answers tbody tr")
        assert rows.count() == len(CLASSES)
        for i in range(len(CLASSES)):
            said_yes = rows.nth(i).locator("td").nth(2).text_content() == "yes"
            assert said_yes == found["called"][i]
    assert not said


def test_an_address_leads_to_its_view_and_every_choice_changes_it(browser, site, shown):
    wanted = {"record": shown[1].name, "system": PAPER, "finding": "AF", "method": "saliency"}
    address = "#" + "&".join(f"{k}={v.replace(' ', '%20')}" for k, v in wanted.items()) + "&key=0&view=2.00-4.00"
    page, said = visit(browser, site, address)
    page.wait_for_selector("table.ecg-answers tbody tr")
    assert page.get_by_label("ECG", exact=True).input_value() == wanted["record"]
    assert page.get_by_label("Map", exact=True).input_value() == "saliency"
    assert "Window from 2.0 to 4.0 s" in page.locator(".ecg-window").text_content()
    assert "ODC-By" in page.locator(".ecg-source").text_content()
    key = page.get_by_label("Answer key")
    assert not key.is_checked() and page.locator(".ecg-of-key").count() == 0
    key.check()
    assert page.locator(".ecg-of-key").count() == 1 and hashed(page)["key"] == "1"
    assert page.locator("canvas").get_attribute("aria-label").startswith("LUDB 96: AF")
    page.get_by_label("ECG", exact=True).select_option(shown[0].name)
    page.wait_for_function("document.querySelector('canvas').getAttribute('aria-label').startsWith('Simulated')")
    assert hashed(page)["record"] == shown[0].name and hashed(page)["finding"] == "RBBB"
    page.locator("canvas").focus()
    page.keyboard.press("ArrowRight")
    assert hashed(page)["view"] == "2.20-4.20"
    page.evaluate("location.hash = '#chapter=05_butt'")
    page.wait_for_function("document.querySelector('.ecg-verdict').textContent.startsWith('BUTTeam')")
    assert not said
    page.context.close()


def test_the_window_slides_over_the_record(browser, site):
    """With reduced motion it jumps; else it moves a little in every frame."""
    for motion in ("reduce", "no-preference"):
        page, said = visit(browser, site, "#view=0.00-5.00", reduced_motion=motion)
        page.wait_for_selector("table.ecg-answers tbody tr")
        page.get_by_role("button", name="Play").click()
        page.wait_for_function("!document.querySelector('.ecg-window').textContent.startsWith('Window from 0.0')")
        begins = float(re.search(r"from (\d+\.\d)", page.locator(".ecg-window").text_content())[1])
        assert begins == pytest.approx(2.5) if motion == "reduce" else 0 < begins < 2.5
        page.get_by_role("button", name="Pause").click()
        assert page.get_by_role("button", name="Play").count() == 1 and not said
        page.context.close()


def test_the_window_tells_its_share_of_the_map(opened, data):
    page, _ = opened
    page.evaluate(f"location.hash = '#system={PAPER}&finding=RBBB&view=2.00-4.50'")
    page.wait_for_function("document.querySelector('.ecg-window').textContent.includes('from 2.0 to 4.5')")
    own = decoded(next(iter(data[PAPER]["maps"].values())))[CLASSES.index("RBBB"), 0].astype(float)
    at = np.arange(len(own)) / data[PAPER]["fs"]
    share = 100 * own[(at >= 2) & (at < 4.5)].sum() / own.sum()
    assert f"{share:.{int(share < 9.95)}f}\N{NO-BREAK SPACE}% of the map in 25\N{NO-BREAK SPACE}%" in (
        page.locator(".ecg-window").text_content()
    )


def test_it_fits_every_screen_and_axe_finds_nothing(opened):
    check_layout_and_axe(opened[0])


def test_without_scripts_there_is_a_picture_and_a_table(browser, site):
    page, _ = visit(browser, site, java_script_enabled=False)
    assert page.locator("img").count() == 1
    assert page.locator("img").bounding_box()["height"] > 100
    assert page.locator("table tr").count() == 3
    page.context.close()


def test_the_first_view_is_small(site):
    folder = site.parents[1] / "_static"
    first = [*folder.glob("ecg-*"), folder / "explorer.js"]
    first += [folder / "explorer" / name for name in ("index.js", "record-0.js", "maps-0-0.js")]
    assert sum(path.stat().st_size for path in first) < 0.5e6
    for path in (folder / "explorer").glob("*.js"):
        assert given(path.read_text(encoding="utf-8"))[0] == path.stem
