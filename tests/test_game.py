"""The game: a reader's marks go through the trial of maps, as the systems' maps do, and it can be played."""

import re

import numpy as np
import pytest

from ecgstudy.book import explorer, game
from ecgstudy.data.labels import CLASSES
from ecgstudy.data.simulator import synthetic
from ecgstudy.explain import evaluation, trials
from ecgstudy.explain.cases import Cases
from ecgstudy.reading.shipped import ENTRIES, shipped
from ecgstudy.systems.catalogue import of_papers
from tests.interactive import STATIC, blocks, check_layout_and_axe, settle, touch, visit, write_page
from tests.test_book import browser as browser


@pytest.fixture(scope="module")
def rounds():
    """Three rounds that stand for ten."""
    return (game.rounds()[0], game.rounds()[5], game.rounds()[-1])


@pytest.fixture(scope="module")
def site(tmp_path_factory, rounds):
    folder = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECGSTUDY_CACHE", str(folder / "cache"))
        patch.setattr(game, "rounds", lambda: rounds)
        body = blocks(game.still()) + blocks((STATIC.parent / "game.md").read_text(encoding="utf-8"))
        page = write_page(folder, "game", body)
        game.write(folder / "_static" / "game")
    return page


def test_ten_rounds_ask_for_what_can_be_marked():
    rounds = game.rounds()
    assert len(rounds) == 10
    for one in rounds:
        assert one.finding in one.shown.findings
        share = game.key_of(one).mean()
        assert 0 < share <= trials.FULLEST
        assert not any(shipped(name).seen(one.shown.record).any() for name in ENTRIES)
    assert [synthetic.parsed(one.shown.record.name) is None for one in rounds] == [False] * 9 + [True]
    assert {one.finding for one in rounds} == set(CLASSES) - {"NSR"}


def test_the_systems_scores_are_those_of_the_trial(rounds):
    """The trial's own way: ``evaluation.make_maps`` of a case, at its rate."""
    one = rounds[1]
    finding, findings, index, noise = game.SIMULATED[5]
    c, found = CLASSES.index(finding), {s["name"]: s for s in game.about_round(one)["systems"]}
    for cls in of_papers()[:2]:
        ships = shipped(cls.name)
        signal = one.shown.record.signal
        key = synthetic.simulate(index, 1000, labels=frozenset(findings), noise=noise).evidence
        key = synthetic.answer_key(key, signal.shape[1], stride=4)[c]
        resampled = explorer.resample(signal, 500, ships.system.fs)
        nothing = np.zeros((1, key.shape[1]), dtype=bool)
        labels, names = np.isin(CLASSES, findings)[None], np.array(["x"])
        about = (nothing, nothing, labels, names, names)
        cases = Cases(resampled[None], np.array([c]), key[None], *about, ships.system.fs)
        made = evaluation.make_maps(next(iter(ships.system.own_maps)), ships.system, ships.networks[0], cases)
        excess = trials.localisation(made, cases.any_lead)["excess mass"][0]
        assert found[cls.name]["excess"] == pytest.approx(excess, abs=1e-3)


def test_marks_are_a_map_of_ones():
    made = game.marked([(0.1, 0.2), (0.196, 0.3), (9.999, 10)], 125, 1250)
    assert np.flatnonzero(made).tolist() == [*range(13, 38), 1249]
    assert game.marked([(1, 1.0001)], 125, 1250).sum() == 1 and game.marked([], 125, 1250).sum() == 0


# --- in a browser ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def opened(browser, site):
    page, said = visit(browser, site)
    page.wait_for_selector("canvas")
    yield page
    assert not said
    page.context.close()


def test_the_page_scores_as_the_trial_does(opened):
    rng = np.random.default_rng(0)
    keys, marks = [], []
    for number in range(150):
        edges = np.sort(rng.choice(1251, size=2 * rng.integers(1, 12), replace=False))
        keys.append({"fs": 125, "samples": 1250, "edges": edges.tolist()})
        begins = rng.uniform(0, 10, size=number % 6)
        marks.append(np.column_stack([begins, np.minimum(begins + rng.exponential(0.3, len(begins)), 10)]).tolist())
    keys[0]["edges"], keys[1]["edges"], keys[2]["edges"] = [], [0, 1250], [100, 1245]  # none, all, too much
    marks[3] = [[8.5 / 125, 9.5 / 125], [0.02, 0.02], [10, 10]]  # halves of samples, and marks of no length
    found = opened.evaluate("([marks, keys]) => marks.map((m, i) => EcgGame.excess(m, keys[i]))", [marks, keys])
    inside = np.zeros((len(keys), 1250), dtype=bool)
    for row, key in zip(inside, keys, strict=True):
        for begin, end in zip(key["edges"][::2], key["edges"][1::2], strict=True):
            row[begin:end] = True
    made = np.stack([game.marked(one, 125, 1250) for one in marks])
    expected = trials.localisation(made, inside)["excess mass"]
    assert np.isnan(expected[:3]).all() and np.isfinite(expected[3:]).all() and np.ptp(expected[3:]) > 0.5
    np.testing.assert_allclose(np.array(found, dtype=float), expected, atol=1e-12)


def place(page, seconds, span=None):
    """Where a time is on the screen, in the first lead: a view of ``span`` s that begins at 0, or what fits."""
    box = page.locator("canvas").bounding_box()
    across = box["width"] / (2 if box["width"] >= 640 else 1)
    mm = min(max(across / 140, 2.2), 3.78)
    second = (across - 8 * mm) / span if span else 25 * mm
    return box["x"] + 8 * mm + seconds * second, box["y"] + 30


def spans(one):
    """Where the evidence is, in seconds."""
    edges = np.flatnonzero(np.diff(game.key_of(one), prepend=False, append=False)) / game.rate()
    return edges.reshape(-1, 2)


def test_it_is_played_by_mouse_keyboard_and_touch_to_the_end(browser, site, rounds):
    size = {"width": 1400, "height": 900}
    page, said = visit(browser, site, viewport=size, has_touch=True)
    page.wait_for_selector("canvas")
    scored = page.get_by_role("button", name="Score my marks")
    assert scored.is_disabled() and page.locator(".ecg-of-key").count() == 0  # nothing is given away
    # By mouse: the first place of evidence, exactly; and a mark that is taken back.
    begin, end = next(span for span in spans(rounds[0]))
    page.get_by_role("button", name="Whole record").click()
    settle(page)
    page.locator("canvas").scroll_into_view_if_needed()
    for first, last in ((begin + 0.03, end - 0.03), (0.2, 0.4)):
        page.mouse.move(*place(page, first, 10))
        page.mouse.down()
        page.mouse.move(*place(page, last, 10), steps=3)
        page.mouse.up()
    assert page.locator(".ecg-said", has_text="Your marks").text_content().count("–") == 2
    page.get_by_role("button", name="Undo").click()
    assert page.locator(".ecg-said", has_text="Your marks").text_content().count("–") == 1
    scored.click()
    assert "Your excess mass is 1.00" in page.locator(".ecg-said", has_text="excess").text_content()
    rows = page.locator("table.ecg-answers tbody tr")
    assert rows.count() == len(ENTRIES) + 2 and rows.first.locator("th").text_content() == "You"
    systems = {s["name"]: s["excess"] for s in game.about_round(rounds[0])["systems"]}
    for row in rows.all():
        name = row.locator("th").text_content()
        if name in systems:
            said_to_be = float(row.locator("td").first.text_content().replace("−", "-"))
            assert said_to_be == pytest.approx(systems[name], abs=0.0051)
    assert page.locator(".ecg-of-key").count() == 1
    page.get_by_label("Show the map of").select_option(next(iter(ENTRIES)))
    assert page.locator(".ecg-box").count() == 4
    page.get_by_role("button", name="Next round").click()
    # By keyboard: one mark, from the middle on.
    page.wait_for_function("document.querySelector('.ecg-round').textContent.startsWith('Round 2 of 3')")
    assert page.locator(".ecg-of-key").count() == 0 and page.locator(".ecg-box").count() == 0
    assert page.evaluate("document.activeElement.className") == "ecg-round"
    page.locator("canvas").focus()
    for key in ["0", "Space", "Shift+ArrowRight", "Space"]:
        page.keyboard.press(key)
    assert page.locator(".ecg-said", has_text="Your marks").text_content().endswith("5.00–5.20")
    expected = trials.localisation(game.marked([(5, 5.2)], 125, 1250)[None], game.key_of(rounds[1])[None])
    scored.click()
    shown = f"{expected['excess mass'][0]:.2f}".replace("-", "−")
    assert f"Your excess mass is {shown}," in page.locator(".ecg-said", has_text="excess").text_content()
    page.get_by_role("button", name="Next round").click()
    # By touch.
    page.wait_for_function("document.querySelector('.ecg-round').textContent.startsWith('Round 3 of 3')")
    page.set_viewport_size({"width": 390, "height": 800})
    page.locator("canvas").scroll_into_view_if_needed()
    settle(page)
    (x0, y), (x1, _) = place(page, 1.0), place(page, 2.0)
    touch(page, [(x0, y)], [((x0 + x1) / 2, y)], [(x1, y)])
    marked = page.locator(".ecg-said", has_text="Your marks").text_content()
    begin, end = map(float, re.search(r"(\d\.\d\d)–(\d\.\d\d)", marked).groups())
    assert (begin, end) == pytest.approx((1, 2), abs=0.05)
    scored.click()
    page.get_by_role("button", name="See the result").click()
    result = page.get_by_label("Your result, to share").input_value()
    numbers = re.fullmatch(r"ecgstudy: where would you look\? (\S+) (\S+) (\S+) \(mean (\S+)\)", result).groups()
    assert numbers[0] == "1.00" and numbers[1] == shown.replace("−", "-")
    assert float(numbers[3]) == pytest.approx(np.mean([float(v) for v in numbers[:3]]), abs=0.01)
    page.get_by_role("button", name="Copy").click()
    page.wait_for_selector(".ecg-said:has-text('Cop')")
    check_layout_and_axe(page, widths=(390,))
    page.get_by_role("button", name="Play again").click()
    page.wait_for_function("document.querySelector('.ecg-round').textContent.startsWith('Round 1 of 3')")
    assert not said
    page.context.close()


def test_a_class_sees_its_results(opened):
    page = opened
    lines = [f"ecgstudy: where would you look? {a:.2f} −0.10 {a / 2:.2f} (mean 0.00)" for a in (0.2, 0.4, 0.9, 1)]
    text = f"Anna\n{lines[0]}\nhello 0.99 0.99 0.99\n> {lines[1]}\n\n{lines[2]} {lines[3]}\n"
    text += "where would you look? 0.10 0.20"
    assert page.evaluate("text => EcgGame.results(text)", text) == [
        *([a, -0.1, a / 2] for a in (0.2, 0.4, 0.9, 1)), [0.1, 0.2],
    ]  # fmt: skip
    page.get_by_label("Results, pasted").fill(text)
    page.get_by_role("button", name="Show the class").click()
    assert page.get_by_text("4 results.").count() == 1
    tables = page.locator("#ecg-class table")
    cells = [row.locator("td").first.text_content() for row in tables.nth(0).locator("tbody tr").all()]
    assert cells == ["0", "2", "0", "2", "0", "0"]  # means of .07, .17, .42 and .47
    first = tables.nth(1).locator("tbody tr").first.locator("td").all_text_contents()
    assert first == ["0.65", "0.20", "1.00"]
    page.get_by_label("Results, pasted").fill("nothing")
    page.get_by_role("button", name="Show the class").click()
    assert page.get_by_text("No results.").count() == 1 and tables.count() == 0


def test_it_fits_every_screen_and_axe_finds_nothing(opened):
    opened.get_by_label("Results, pasted").fill("where would you look? 0.10 0.20 0.30")
    opened.get_by_role("button", name="Show the class").click()
    check_layout_and_axe(opened)


def test_without_scripts_there_is_a_table(browser, site, rounds):
    page, _ = visit(browser, site, java_script_enabled=False)
    rows = page.locator("table tbody tr")
    assert rows.count() == len(rounds)
    first = rows.first.locator("td").all_text_contents()[2:]
    expected = [system["excess"] for system in game.about_round(rounds[0])["systems"]]
    assert [float(v.replace("−", "-")) for v in first] == pytest.approx(expected, abs=0.0051)
    page.context.close()
