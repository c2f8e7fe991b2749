"""The network in the page: its scripts are held to torch, the simulator and the readers of files; the page is used."""

import base64
import dataclasses
import json
import re
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from ecgstudy.book import computed, live
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.leads import CANONICAL
from ecgstudy.data.records import LEADS, find_records, read_record
from ecgstudy.data.simulator import synthetic
from ecgstudy.paths import REPOSITORY
from ecgstudy.reading.explanation import explain, prepared
from ecgstudy.reading.page import percent
from ecgstudy.reading.shipped import shipped
from ecgstudy.reading.waves import PARTS, delineate
from tests.test_book import browser as browser

STATIC = REPOSITORY / "book" / "static"
SCRIPTS = ("ecg-input", "local-evidence", "heart", "ecg-files", "live/constants", "live/simulated", "live/real")
HELPERS = """
const signals = (text, leads) => {
  const all = new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer), n = all.length / leads;
  return Array.from({length: leads}, (_, l) => all.slice(l * n, (l + 1) * n));
};
const text = (rows) => {  // JSON takes ten times as long
  const all = new Uint8Array(Float32Array.from(rows.flatMap((row) => [...row])).buffer);
  return btoa(Array.from(all, (byte) => String.fromCharCode(byte)).join(""));
};
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The scripts of the page in a folder: those that are written by hand, and those of the build below ``live``."""
    folder = tmp_path_factory.mktemp("live") / "static"
    shutil.copytree(STATIC, folder)
    live.write(folder / "live")
    return folder


@pytest.fixture(scope="module")
def bare(browser, written):
    """A page that has loaded the scripts and shows nothing."""
    tags = "".join(f'<script src="{name}.js"></script>' for name in SCRIPTS)
    path = written / "bare.html"
    path.write_text(f'<!DOCTYPE html><meta charset="utf-8">{tags}<script>{HELPERS}</script>', encoding="utf-8")
    page, said = browser.new_page(), []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    assert not said, said
    yield page
    page.close()


def packed(signal):
    return base64.b64encode(np.ascontiguousarray(signal, dtype="<f4").tobytes()).decode()


# --- the network -----------------------------------------------------------------------------------------------------

ANSWER = """([packed, fs, name, whole]) => {
  const input = EcgInput.prepare(signals(packed, 12), fs), {windows, members} = LocalEvidence.answer(name, input);
  return {
    logits: windows.map((one) => one.logits), members, parts: input.parts && input.parts.part.join(""),
    beats: input.parts && input.parts.beats, terms: whole && windows.map((one) => text(one.terms)),
    at: windows.map((one) => one.at),
  };
}"""
# Rate in Hz, seconds, how many: longer than a window, shorter, another rate, an odd one, one that is no short fraction.
KINDS = (
    (125, 10, 40), (500, 10, 20), (250, 10, 10), (360, 10, 5), (257, 9.5, 5), (1000, 10, 3), (100, 10, 5),
    (125, 4.2, 4), (500, 23.3, 4), (128, 7.3, 3), (333.3, 10, 1),
)  # fmt: skip


def simulated_records():
    index = 0
    for fs, seconds, count in KINDS:
        for _ in range(count):
            one = synthetic.simulate(index, 77, fs=fs, seconds=max(seconds, 6), balance=1).record
            one = dataclasses.replace(one, signal=one.signal[:, : round(seconds * fs)])
            index += 1
            if index % 10 == 0:  # gaps, one at the end
                signal = one.signal.copy()
                signal[index % 12, 30:90] = signal[3, -20:] = np.nan
                one = dataclasses.replace(one, signal=signal)
            yield one


def asked(record, ships):
    """Logits (windows, members, 9) by torch, and the prepared signal."""
    signal = prepared(record, ships.system.fs)
    x = torch.from_numpy(np.stack(ships.system.windows(signal)))
    with torch.inference_mode():
        return torch.stack([network(x) for network in ships.networks], dim=1).double().numpy(), signal


def compared(page, records, name):
    """Largest difference of a logit between page and torch; how many records have other parts of beats."""
    ships, worst, other = shipped(live.NETWORKS[name]), 0.0, 0
    for record in records:
        logits, signal = asked(record, ships)
        got = page.evaluate(ANSWER, [packed(record.signal), record.fs, name, False])
        worst = max(worst, np.abs(np.array(got["logits"]) - logits).max())
        parts = delineate(signal, ships.system.fs)
        if parts is None:
            assert got["parts"] is None
        else:
            other += got["beats"] != parts.beats.tolist() or got["parts"] != "".join(map(str, parts.of_sample))
    return worst, other


def test_the_page_answers_as_torch_does_on_100_simulated_records(bare):
    records = list(simulated_records())
    assert len(records) == 100
    worst, other = compared(bare, records, "simulated")
    assert worst <= 1e-4 and other == 0, (worst, other)
    worst, _ = compared(bare, records[::10], "real")
    assert worst <= 1e-4, worst


def test_the_page_answers_as_torch_does_on_100_real_records(bare, real_data):
    """Of every data set at hand; its noise and gaps are real, so a beat may be found a sample beside."""
    folders = ("ludb/data", "ptb-xl", "cpsc-2018-original", "challenge-2021")
    records = []
    for folder in folders:
        paths = list(find_records(real_data / folder))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = [read_record(path) for path in paths[:: max(1, len(paths) // 50)][:50]]
        records += [one for one in read if tuple(one.leads) == LEADS and one.seconds >= 2]
    assert len(records) >= 100
    worst, other = compared(bare, records[:100], "simulated")
    assert worst <= 1e-4 and other == 0, (worst, other)
    worst, _ = compared(bare, records[:100:10], "real")
    assert worst <= 1e-4, worst


def test_probabilities_and_terms_are_those_of_explain(bare):
    for record, name in ((read_record(live.EXAMPLE), "real"), (live.record(live.STILL, 125), "simulated")):
        answer = explain(record, system=live.NETWORKS[name], even_if_unfit=True)
        got = bare.evaluate(ANSWER, [packed(record.signal), record.fs, name, True])
        window = np.frombuffer(base64.b64decode(got["terms"][0]), "<f4").reshape(len(CLASSES), -1)
        np.testing.assert_allclose(got["members"], answer.members, atol=1e-4)
        for c, label in enumerate(CLASSES):
            terms = answer.terms(label).iloc[:-1]
            expected = terms[list(range(1, len(answer.members) + 1))].mean(axis=1)
            np.testing.assert_allclose(window[c], expected, atol=1e-4)
        np.testing.assert_allclose(np.array(got["at"][0]) / 125, terms["seconds"])
        assert [PARTS[int(got["parts"][i])] for i in got["at"][0]] == terms["part"].tolist()


def test_numbers_are_handed_over_whole(written):
    """As many as the network has, less what folding batch normalisation saves; a file of float16 would not do."""
    for name, title in live.NETWORKS.items():
        ships = shipped(title)
        layers, numbers = live.folded(ships.networks[0])
        weights = sum(m.weight.numel() for m in ships.networks[0].modules() if isinstance(m, torch.nn.Conv1d))
        assert len(numbers) == weights + sum(layer["filters"] for layer in layers) + 3 * len(CLASSES)
        text = (written / "live" / f"{name}.js").read_text(encoding="utf-8")
        about = json.loads(text[text.index(",") + 1 : text.rindex(")")])
        back = np.frombuffer(base64.b64decode(about["weights"][-1]), "<f4")
        np.testing.assert_array_equal(back, live.folded(ships.networks[-1])[1].astype(np.float32))


# --- the heart -------------------------------------------------------------------------------------------------------


def drawn(page, settings):
    """ECG (12, samples) of settings, by the page's script."""
    made = page.evaluate("(settings) => text(ModelHeart.draw(settings).signal)", dataclasses.asdict(settings))
    return np.frombuffer(base64.b64decode(made), "<f4").reshape(12, -1)


def some_settings():
    yield from (live.default(form) for form in live.FORMS)
    yield from (step.settings for one in live.TRIES for step in (one.step, one.other))
    rng = np.random.default_rng(5)
    for number in range(30):
        chosen = {
            name: round(rng.uniform(low, high) / step) * step / factor
            for name, (_, _, factor, low, high, step) in live.SLIDERS.items()
        }
        chosen |= {"early": chosen["early"] * (number % 3 > 0), "p": chosen["p"] * (number % 7 > 0)}
        yield live.Settings(form=live.FORMS[number % 3], origin=("atria", "ventricles")[number % 2], **chosen)


def test_the_small_heart_draws_what_the_simulator_draws(bare):
    for settings in some_settings():
        got = drawn(bare, settings)
        np.testing.assert_allclose(got, live.draw(settings, 125), atol=2e-5, err_msg=str(settings))
        assert got.std() > 0.02


HEARTS = {
    "NSR": {},
    "I-AVB": {"pr": live.typical(frozenset({"I-AVB"})).pr},
    "RBBB": {},
    "LBBB": {},
    "PAC": {"early": 1 - live.typical().pac_coupling, "origin": "atria"},
    "PVC": {"early": 1 - live.typical().pvc_coupling, "origin": "ventricles"},
    "STD": {"st": live.st_level("normal", "depression")},
    "STE": {"st": live.st_level("normal", "elevation")},
}


@pytest.mark.parametrize("name", HEARTS)
def test_a_typical_record_of_the_simulator_is_one_of_the_settings(name, bare, monkeypatch):
    """``simulate`` itself, with the middle of each distribution drawn. AF is left out: it has fibrillatory waves."""
    form = name if name in live.FORMS else "normal"
    qrs = live.typical(frozenset({name}) if name == form else frozenset()).qrs_duration
    settings = live.Settings(form=form, qrs=qrs, noise=0.0, **HEARTS[name])
    first = bare.evaluate(
        "(s) => ModelHeart.draw({...s, early: 0}).beats.findIndex((b) => b.movable)", dataclasses.asdict(settings)
    )
    draws = {"beats": live.Typical(live.jitter(), first), "st": live.Typical(share=0)}
    monkeypatch.setattr(synthetic, "_stream", lambda seed, purpose, number: draws.get(purpose, live.Typical()))
    record = synthetic.simulate(0, 0, fs=125, labels=frozenset({name}), noise=0).record
    assert record.labels == {name}
    got = drawn(bare, settings)
    np.testing.assert_allclose(got, record.signal, atol=1.1e-3)  # whole microvolts, and sums of two
    assert np.abs(got - record.signal).mean() < 4e-4


def test_the_sliders_start_at_the_simulators_typical_heart():
    heart, start = live.typical(), live.Settings()
    assert (start.rate, start.pr, start.irregular) == (heart.rate, heart.pr, heart.irregularity)
    assert start.qrs == pytest.approx(heart.qrs_duration) and start.p == heart.p_factor and start.form == heart.qrs_form
    for name, (_, _, factor, low, high, step) in live.SLIDERS.items():
        steps = (getattr(start, name) * factor - low) / step
        assert low < high and 0 <= steps == pytest.approx(round(steps))


@pytest.mark.parametrize("one", live.TRIES, ids=lambda one: one.first)
def test_what_the_page_says_of_a_try_happens(one):
    assert not live.ask(live.Settings()).called[CLASSES.index(one.step.about)]
    for step in (one.step, one.other):
        answer, c = live.ask(step.settings), CLASSES.index(step.about)
        assert answer.called[c] == step.called and percent(answer.probabilities[c]) in live.tries()


def growth(step):
    """What each part of the beat adds to the sum, more than in the typical heart."""
    sums = [
        live.ask(settings).terms(step.about).groupby("part")[1].sum() for settings in (live.Settings(), step.settings)
    ]
    return (sums[1] - sums[0]).sort_values(ascending=False)


def test_the_sum_grows_where_the_page_says_it_does():
    block, branch, ectopic, fibrillation = live.TRIES
    assert set(growth(block.step).index[:2]) == {"P", "PR"}
    assert growth(branch.other).index[0] == "QRS"
    assert set(growth(fibrillation.step).index[:3]) >= {"P", "PR"}
    terms = live.ask(ectopic.step.settings).terms("PVC").iloc[:-1]
    positive = terms[terms[1] > 0]
    near = positive["seconds"].between(live.EARLY_AT - 0.7, live.EARLY_AT + 0.5)
    assert positive[1][near].sum() > 0.9 * positive[1].sum()


# --- files -----------------------------------------------------------------------------------------------------------

READ = """async (files) => {
  const made = files.map(([name, text]) => new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name));
  try {
    const {leads, fs, unit} = await EcgFiles.read(made);
    return {leads: text(leads), fs, unit};
  } catch (error) {
    if (!(error instanceof EcgFiles.Unreadable)) throw error;
    return {error: error.message};
  }
}"""


def files_of(**contents):
    """Names and contents as the page's script gets them; ``_`` stands for the dot."""
    return [
        [name.replace("_", "."), base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()]
        for name, text in contents.items()
    ]


def read_in(page, **contents):
    got = page.evaluate(READ, files_of(**contents))
    return (
        got if "error" in got else got | {"leads": np.frombuffer(base64.b64decode(got["leads"]), "<f4").reshape(12, -1)}
    )


@pytest.mark.parametrize("fmt", ["16", "24", "32", "212"])
def test_wfdb_records_are_read_as_wfdb_reads_them(fmt, bare, tmp_path):
    import wfdb

    rng = np.random.default_rng(int(fmt))
    digital = rng.integers(-2000, 2000, (751, 12))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wfdb.wrsamp(
            "r", fs=360, units=["mV", "uV"] * 6, sig_name=list(LEADS[::-1]), d_signal=digital, fmt=[fmt] * 12,
            adc_gain=[200.0, 0.25] * 6, baseline=[17, -3] * 6, write_dir=str(tmp_path),
        )  # fmt: skip
        record = read_record(tmp_path / "r")
    got = read_in(bare, r_hea=(tmp_path / "r.hea").read_bytes(), r_dat=(tmp_path / "r.dat").read_bytes())
    assert got["fs"] == 360 and got["unit"] == "mV"
    np.testing.assert_allclose(got["leads"], record.signal, atol=1e-5)


def table(separator=",", names=LEADS, rows=400, first="", **columns):
    """A CSV and its values (leads, rows)."""
    values = np.round(np.random.default_rng(1).normal(size=(len(names), rows)), 4)
    head = separator.join([*columns, *names])
    lines = [
        separator.join([*(str(column[i]) for column in columns.values()), *(f"{v:g}" for v in values[:, i])])
        for i in range(rows)
    ]
    return "\n".join([head, *([first] if first else []), *lines]) + "\n", values


def test_tables_are_read_in_the_ways_they_are_written(bare):
    text, values = table(time=[i / 500 for i in range(400)])
    got = read_in(bare, a_csv=text)
    assert got["fs"] == 500 and got["unit"] is None
    np.testing.assert_allclose(got["leads"], values, atol=1e-6)
    text, values = table(names=[f"{lead} (µV)" for lead in LEADS])
    got = read_in(bare, a_csv="# fs: 250 Hz\n" + text)
    assert got["fs"] == 250 and got["unit"] == "mV"
    np.testing.assert_allclose(got["leads"], values / 1000, atol=1e-6)
    text, values = table(separator=";", first="ms;" + ";".join(["uV"] * 12), Time=[4 * i for i in range(400)])
    got = read_in(bare, a_csv="\ufeff" + text.replace(".", ",").replace("\n", "\r\n"))
    assert got["fs"] == 250 and got["unit"] == "mV"
    np.testing.assert_allclose(got["leads"], values / 1000, atol=1e-6)
    text, values = table(separator="\t", names=[*LEADS[:2], *LEADS[6:]])  # the others follow
    got = read_in(bare, a_txt=text)
    one, two = values[:2]
    expected = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2, *values[2:]]
    np.testing.assert_allclose(got["leads"], expected, atol=1e-6)
    text, values = table()
    lines = text.splitlines()
    lines[5] = ",".join(["", "nan", *lines[5].split(",")[2:]])
    got = read_in(bare, a_csv="\n".join(lines))
    assert np.isnan(got["leads"][:2, 4]).all() and np.isnan(got["leads"]).sum() == 2 and got["fs"] is None


def test_leads_are_known_by_every_spelling_that_the_study_knows(bare):
    got = bare.evaluate("(names) => names.map((name) => EcgFiles.leadOf(name))", list(CANONICAL))
    assert dict(zip(CANONICAL, got, strict=True)) == CANONICAL
    assert bare.evaluate("() => ['time', 'C3', 'V7', 'x', '1', ''].map(EcgFiles.leadOf)") == [None] * 6


HEAD = "r 12 500 1000\n" + "".join(f"r.dat 16 1000/mV 16 0 0 0 0 {lead}\n" for lead in LEADS)
BAD = {
    "no header": ({"a_csv": "1,2\n3,4\n"}, "a.csv has no header of lead names in its first line: write one"),
    "numbers only": ({"a_csv": ",".join("123456789012") + "\n"}, "a.csv names no lead in its first line"),
    "leads lacking": ({"a_csv": table(names=LEADS[:11])[0]}, "a.csv lacks V6: .*export the others"),
    "a lead twice": ({"a_csv": table(names=[*LEADS, "lead II"])[0]}, "a.csv has lead II twice"),
    "a column more": ({"a_csv": table()[0].replace("\n", "\nx,", 2)}, "line 2 has 13 columns, and the header 12"),
    "no number": ({"a_csv": ",".join(LEADS) + "\n" + ",".join(["0.1"] * 11 + ["high"])}, "line 2: high is no number"),
    "a pressure": ({"a_csv": table(first=",".join(["mV"] * 11 + ["mmHg"]))[0]}, "a.csv has a lead in mmhg"),
    "empty": ({"a_csv": "\n\n"}, "a.csv is empty: export it again"),
    "half a record": ({"r_dat": b"12"}, "r.dat is half of a record: choose its .hea together with it"),
    "the other half": ({"r_hea": HEAD}, "r.hea keeps its samples in r.dat, which was not given: choose both"),
    "cut off": ({"r_hea": HEAD, "r_dat": bytes(500)}, "r.dat is shorter than r.hea says: copy it again"),
    "segments": ({"r_hea": HEAD.replace("r 12", "r/3 12")}, "r.hea is in segments, .*ecgstudy explain"),
    "a format": ({"r_hea": HEAD.replace(" 16 ", " 310 ")}, "r.hea is stored in format 310, .*ecgstudy explain"),
    "no header at all": ({"r_hea": "hello"}, "r.hea is no WFDB header"),
    "leads of a header": ({"r_hea": HEAD[: HEAD.index("aVF") - 30]}, "r.hea describes . of 12 leads|describes no lead"),
    "a breath": ({"r_hea": HEAD.replace("/mV", "/l"), "r_dat": bytes(24000)}, "a lead in l, which is no voltage"),
    "several": ({"a_csv": "I\n", "b_csv": "I\n"}, "a.csv, b.csv are several records: choose one"),
    "another kind": ({"a_dcm": b"DICM"}, "a.dcm is neither a .csv nor a .hea with its .dat; .*ecgstudy explain"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_cannot_be_read_is_named_with_the_remedy(kind, bare):
    contents, message = BAD[kind]
    got = read_in(bare, **contents)
    assert "error" in got and re.search(message, got["error"]), got.get("error", "it was read")


# --- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """A book of this page alone, as the theme renders it; what it links to is missing."""
    folder = tmp_path_factory.mktemp("book")
    source = folder / "source"
    (source / "book" / "computed").mkdir(parents=True)
    shutil.copytree(STATIC, source / "book" / "static")
    shutil.copy(REPOSITORY / "book" / "references.bib", source / "book")
    shutil.copy(REPOSITORY / "book" / "live_network.md", source / "book")
    shutil.copy(REPOSITORY / "_config.yml", source)
    (source / "_toc.yml").write_text("format: jb-book\nroot: book/live_network\n", encoding="utf-8")
    for name in ("live_networks", "live_tries"):
        text = computed.COMPUTED[name]()
        (source / "book" / "computed" / f"{name}.md").write_text(text, encoding="utf-8")
    live.write(source / "book" / "static" / "live")
    program = Path(sys.executable).with_name("jupyter-book")
    made = subprocess.run(
        [program, "build", source, "--path-output", folder, "--quiet"], capture_output=True, encoding="utf-8"
    )
    page = folder / "_build" / "html" / "book" / "live_network.html"
    assert page.exists(), made.stderr[-2000:]
    return page


BAR = "parseFloat(document.querySelectorAll('.live-fill')[k].style.width) / 100"
FONTS = re.compile("Access to font|Failed to load resource: net::ERR_FAILED")


class Opened:
    """The page in a context of its own, with all that it said and asked for."""

    def __init__(self, browser, path, width=1400, **context):
        self.context = browser.new_context(viewport={"width": width, "height": 900}, **context)
        self.page, self.said, self.requests = self.context.new_page(), [], []
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        # The theme's fonts of symbols do not load from a file, and the browser complains.
        self.page.on(
            "console", lambda m: self.said.append(m.text) if m.type == "error" and not FONTS.search(m.text) else None
        )
        self.page.on("requestfailed", lambda r: None if r.url.endswith(".woff2") else self.said.append(r.url))
        self.page.goto(path.as_uri())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def probability(self, name):
        """Of a class, as its bar is drawn: so that nothing is rounded."""
        row = self.page.locator(".live-class").nth(CLASSES.index(name))
        return float(row.locator(".live-fill").evaluate("bar => parseFloat(bar.style.width)")) / 100

    def changed(self, name, before):
        """Wait until the probability of a class is another."""
        self.page.wait_for_function(
            f"([k, before]) => Math.abs({BAR} - before) > 0.01",
            arg=[CLASSES.index(name), before],
        )
        return self.probability(name)


def test_it_opens_from_a_file_asks_nobody_and_fits_every_screen(browser, book):
    with Opened(browser, book) as opened:
        assert not opened.said, opened.said
        root = book.parents[1].as_uri()
        assert all(url.startswith((root, "data:", "blob:")) for url in opened.requests), opened.requests
        assert not [url for url in opened.requests if "real.js" in url or "example.js" in url]  # only on demand
        for width in (360, 390, 768, 1400):
            opened.page.set_viewport_size({"width": width, "height": 900})
            wider = opened.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wider <= 0, f"{wider} px wider than a screen of {width} px"
        expected = live.ask(live.Settings())
        np.testing.assert_allclose([opened.probability(name) for name in CLASSES], expected.probabilities, atol=1e-4)
        assert "normal sinus rhythm" in opened.page.locator(".live-said").inner_text()


def test_by_mouse_a_slider_and_a_beat_are_pulled(browser, book):
    with Opened(browser, book) as opened:
        page, before = opened.page, opened.probability("I-AVB")
        page.locator("#live-pr").scroll_into_view_if_needed()
        box = page.locator("#live-pr").bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.17, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2, steps=4)
        page.mouse.up()
        assert opened.changed("I-AVB", before) > before + 0.3
        page.get_by_role("button", name="Typical heart").click()
        page.locator("#live-origin").select_option("ventricles")
        before = opened.probability("PVC")
        page.locator("canvas.ecg-paper").scroll_into_view_if_needed()
        box, place = page.locator("canvas.ecg-paper").bounding_box(), place_of_the_beat(page)
        page.mouse.move(box["x"] + place["x"], box["y"] + place["y"])
        page.mouse.down()
        page.mouse.move(box["x"] + place["x"] - 0.25 * place["second"], box["y"] + place["y"], steps=5)
        page.mouse.up()
        assert opened.changed("PVC", before) > before + 0.3
        assert 20 <= int(page.locator("#live-early").input_value()) <= 40
        page.locator(".live-class", has_text="PVC").click()
        assert "premature ventricular beat" in page.locator(".live-sum caption").inner_text()
        assert not opened.said, opened.said


def place_of_the_beat(page):
    """Where the beat that can be pulled stands on the canvas, by the bracket's colour: its middle, and px a second."""
    return page.evaluate(
        """() => {
          const {beats} = ModelHeart.draw(ModelHeart.constants.typical.normal);
          const {onset} = beats.find((one) => one.movable), chart = window.LiveChart;
          const first = chart.place(onset + 0.047, 'II');
          return {...first, second: chart.place(1, 'II').x - chart.place(0, 'II').x};
        }"""
    )


def test_the_sum_on_the_page_adds_up(browser, book):
    with Opened(browser, book) as opened:
        page = opened.page
        for name in ("NSR", "AF", "PVC"):
            page.locator(".live-class", has_text=name).click()
            texts = page.locator(".live-sum tbody tr").all_inner_texts()
            values = [float(text.split()[-1].replace("−", "-")) for text in texts]
            assert len(values) == 2 + len(PARTS)
            assert sum(values[:-1]) == pytest.approx(values[-1], abs=0.04)
            terms = live.ask(live.Settings()).terms(name)
            assert values[-1] == pytest.approx(terms[1].sum(), abs=0.011)
            assert values[3] == pytest.approx(terms.loc[terms["part"] == "QRS", 1].sum(), abs=0.011)


def test_by_keyboard_everything_is_reached(browser, book):
    with Opened(browser, book) as opened:
        page, before = opened.page, opened.probability("STE")
        reached = set()
        page.locator("#live").focus()
        for _ in range(40):
            page.keyboard.press("Tab")
            reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
        wanted = {f"live-{name}" for name in (*live.SLIDERS, "form", "origin", "network", "file")} | {"ecg-paper"}
        assert wanted <= reached, wanted - reached
        page.locator("#live-st").focus()
        page.keyboard.press("End")
        assert opened.changed("STE", before) > before + 0.3
        page.locator(".live-class input").first.focus()
        page.keyboard.press("ArrowDown")
        assert page.locator(".live-sum caption").inner_text().startswith("The sum for atrial fibrillation")
        page.locator("[data-try='0']").focus()
        page.keyboard.press("Enter")
        page.wait_for_function("document.querySelector('#live-pr').value === '240'")
        assert page.evaluate("document.activeElement.id") == "live"
        page.wait_for_function("document.querySelector('#live > [role=status]').textContent.includes('I-AVB')")


@pytest.mark.parametrize("width", [360, 390])
def test_by_touch_on_a_phone(browser, book, width):
    with Opened(browser, book, width=width, has_touch=True, is_mobile=True) as opened:
        page = opened.page
        for number, one in enumerate(live.TRIES):
            page.locator(f"[data-try='{number}']").tap()
            c = CLASSES.index(one.step.about)
            expected = live.ask(one.step.settings).probabilities[c]
            page.wait_for_function(
                f"([k, p]) => Math.abs({BAR} - p) < 1e-3",
                arg=[c, float(expected)],
            )
            assert page.locator(".live-class input:checked").input_value() == one.step.about
        page.locator(".live-class", has_text="NSR").tap()
        assert "normal sinus rhythm" in page.locator(".live-sum caption").inner_text()
        small = page.eval_on_selector_all(
            "#live :is(button, select, input[type=range], .live-class)",
            "all => all.filter(e => e.offsetParent && e.getBoundingClientRect().height < 24).map(e => e.outerHTML)",
        )
        assert not small, small
        assert not opened.said, opened.said


def test_a_file_is_read_in_the_page_and_nothing_leaves_it(browser, book):
    files = [live.EXAMPLE, live.EXAMPLE.with_suffix(".dat")]
    expected = explain(read_record(live.EXAMPLE)).members.mean(axis=0)
    with Opened(browser, book) as opened:
        page = opened.page
        page.locator("#live-file").set_input_files(files)
        page.wait_for_function("document.querySelector('#live').classList.contains('live-reads-file')")
        np.testing.assert_allclose([opened.probability(name) for name in CLASSES], expected, atol=1e-4)
        assert page.locator(".live-said").inner_text().startswith("ludb-96.hea: atrial fibrillation")
        asked_for = [url for url in opened.requests if url.endswith("real.js")]
        root = book.parents[1].as_uri()
        assert len(asked_for) == 1 and all(url.startswith((root, "data:", "blob:")) for url in opened.requests)
        page.get_by_role("button", name="Back to the model heart").click()
        page.wait_for_function("!document.querySelector('#live').classList.contains('live-reads-file')")
        assert page.locator("#live-network").input_value() == "simulated"
        page.get_by_role("button", name="A real ECG").click()
        page.wait_for_function("document.querySelector('#live').classList.contains('live-reads-file')")
        np.testing.assert_allclose([opened.probability(name) for name in CLASSES], expected, atol=1e-4)
        assert not opened.said, opened.said


def test_a_dropped_table_is_asked_for_its_rate_and_unit(browser, book):
    record = read_record(live.EXAMPLE)
    rows = "\n".join(",".join(f"{v:.0f}" for v in row) for row in 1000 * record.signal.T)
    text = ",".join(LEADS) + "\n" + rows + "\n"
    drop = """(text) => {
      const data = new DataTransfer();
      data.items.add(new File([text], 'mine.csv'));
      const event = new DragEvent('drop', {dataTransfer: data, bubbles: true, cancelable: true});
      document.querySelector('.live-chart').dispatchEvent(event);
    }"""
    with Opened(browser, book) as opened:
        page = opened.page
        page.evaluate(drop, text)
        page.wait_for_selector("#live-hz:visible")
        assert page.locator(".live-error").inner_text() == "mine.csv does not state its rate and its unit: say it here."
        assert page.locator("#live-unit").input_value() == "0.001"
        page.get_by_role("button", name="Read it").click()
        assert "mine.csv cannot have no samples a second: give a rate" in page.locator(".live-error").inner_text()
        page.locator("#live-hz").fill("500")
        page.get_by_role("button", name="Read it").click()
        page.wait_for_function("document.querySelector('#live').classList.contains('live-reads-file')")
        expected = explain(record).members.mean(axis=0)
        np.testing.assert_allclose([opened.probability(name) for name in CLASSES], expected, atol=2e-3)  # whole µV
        page.evaluate(drop, "no,ecg\n1,2\n")
        page.wait_for_function("document.querySelector('.live-error').textContent.includes('mine.csv has no header')")
        assert page.locator(".live-said").inner_text().startswith("mine.csv: ")  # what was read before stays
        assert not opened.said, opened.said


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(browser, book, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python")
    with Opened(browser, book, color_scheme=scheme) as opened:
        page = opened.page
        assert page.evaluate("document.documentElement.dataset.theme") == scheme
        for width in (390, 1400):
            page.set_viewport_size({"width": width, "height": 900})
            page.locator("#live-file").set_input_files(
                files=[{"name": "a.csv", "mimeType": "text/csv", "buffer": table()[0].encode()}]
            )
            page.wait_for_selector("#live-hz:visible")
            found = axe.Axe().run(page, context=".bd-article")
            assert not found.response["violations"], found.generate_report()


def test_without_scripts_a_picture_stands_there_and_motion_is_left_out_where_asked(browser, book):
    with Opened(browser, book, java_script_enabled=False) as opened:
        picture = opened.page.locator("noscript img")
        assert picture.count() == 1 and picture.bounding_box()["height"] > 200
        assert "needs JavaScript" in opened.page.locator("noscript").inner_text()
        assert not opened.page.locator("[data-try]:visible").count()
    with Opened(browser, book, reduced_motion="reduce") as opened:
        times = opened.page.eval_on_selector_all(
            ".live *", "all => all.map(e => getComputedStyle(e).transitionDuration)"
        )
        assert set(times) == {"0s"}
