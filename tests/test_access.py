"""The built book for readers with a keyboard, a screen reader, a phone, dark colours, or no scripts (profile smoke)."""

import re
from itertools import groupby

import pytest
from axe_playwright_python.sync_playwright import Axe

from ecgstudy.book import build
from tests import page_sizes
from tests.test_book import browser as browser
from tests.test_book import built as built
from tests.test_book import served as served

pytestmark = pytest.mark.slow

# WCAG 2.2 AA and what axe-core thinks good practice; the first rule is one that it still tries out. Contrast, which
# takes most of the time, is measured once for each pair of colours and size that is not yet known.
AXE = """async ([narrow, known]) => {
    const some = new Map();
    for (const e of document.querySelectorAll('body *')) {
        const text = [...e.childNodes].some(node => node.nodeType === Node.TEXT_NODE && node.data.trim());
        if (!text || !e.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
        const style = getComputedStyle(e), look = [style.color, style.fontSize, style.fontWeight];
        for (let around = e; around; around = around.parentElement) {
            const {backgroundColor, opacity} = getComputedStyle(around);
            if (backgroundColor !== 'rgba(0, 0, 0, 0)' || opacity !== '1') look.push(backgroundColor, opacity);
        }
        some.set(look.join(), e);
    }
    known.forEach(look => some.delete(look));
    document.querySelectorAll('[data-measured]').forEach(e => e.removeAttribute('data-measured'));
    for (const e of some.values()) e.dataset.measured = '';
    axe.configure({rules: [{id: 'color-contrast', selector: '[data-measured]'}]});
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    // What has no look is the same on a narrow screen.
    const looks = ['color-contrast', 'link-in-text-block', 'region', 'scrollable-region-focusable', 'target-size'];
    const found = await axe.run(document, {
        runOnly: narrow ? {type: 'rule', values: looks} : tags,
        rules: narrow ? {} : {'label-content-name-mismatch': {enabled: true}},
        resultTypes: ['violations'],
        iframes: false,
        preload: {assets: ['media']},  // style sheets, which no rule here reads, would be asked for where they are not
    });
    return [[...some.keys()], found.violations.map(one => [one.id, one.nodes.slice(0, 5).map(n => n.html)])];
}"""
SCREENS = {"light": (1400, 900), "dark": (390, 844)}


def faults(page, known=None):
    """What axe-core finds on a page: the rule and where; looks of text in ``known``, to which this page's are added."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(Axe().axe_script)
    looks, found = page.evaluate(AXE, [page.viewport_size["width"] < 400, sorted(known or ())])
    if known is not None:
        known.update(looks)
    return found


@pytest.fixture(scope="module", params=SCREENS)
def screen(request, browser, served):
    """A page on a wide light screen, and on a narrow dark one, where nothing moves."""
    width, height = SCREENS[request.param]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=request.param,
        reduced_motion="reduce",
        base_url=served,
    )
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def reader(browser, served):
    """What opens pages in one tab, which keeps the scripts and fonts that they share, and lists what goes wrong."""
    reader = Reader(browser, served)
    yield reader
    reader.tab.context.close()


class Reader:
    def __init__(self, browser, served):
        self.tab, self.served = browser.new_context(base_url=served).new_page(), served
        self.errors, self.requests = [], []
        self.looks = {scheme: set() for scheme in SCREENS}  # whose contrast has been measured
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("console", self.heard)
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("requestfailed", lambda request: self.errors.append(f"failed: {request.url}"))

    def heard(self, message):
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location['url']})")

    def open(self, name, scheme):
        """Open a page on one of the screens, with all that it shows."""
        self.errors.clear()
        self.requests.clear()
        self.turn_to(scheme, reduced_motion="no-preference")
        self.tab.goto(name)
        self.tab.evaluate(LOAD_ALL)
        images = self.tab.eval_on_selector_all("img", "all => all.map(i => [i.src, i.alt, i.naturalWidth])")
        assert all(loaded for _, _, loaded in images), (name, images)

    def turn_to(self, scheme, reduced_motion="reduce"):
        """Go to one of the screens with the page that is open."""
        width, height = SCREENS[scheme]
        self.tab.emulate_media(color_scheme=scheme, reduced_motion=reduced_motion)
        self.tab.set_viewport_size({"width": width, "height": height})

    def found(self, name, scheme):
        """What axe-core finds on a screen, and what the keyboard does not reach; nothing may be wider than it."""
        self.turn_to(scheme)
        # The page hears of the other scheme by an event, which comes later on a busy machine.
        heard = "scheme => document.documentElement.dataset.theme === scheme"
        self.tab.wait_for_function(heard, arg=scheme, polling=20)
        found = faults(self.tab, self.looks[scheme]) + self.tab.evaluate(UNREACHED)
        for width in sorted({SCREENS[scheme][0], 390}, reverse=True):
            self.tab.set_viewport_size({"width": width, "height": SCREENS[scheme][1]})
            wider = self.tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
            assert wider <= 1, (name, f"{wider} px wider than a screen of {width} px")
        return found

    def close(self, name):
        """What a page asks for late has been asked for by now."""
        self.tab.wait_for_load_state("networkidle")
        assert not self.errors, (name, self.errors)
        elsewhere = [url for url in self.requests if not url.startswith((self.served, "data:", "blob:"))]
        assert not elsewhere, (name, elsewhere)


def test_every_page_opens_cleanly_and_axe_finds_nothing(reader, built):
    """Nor is there anything that scrolls sideways and that the keyboard cannot reach, on either screen."""
    pages, wrong = page_sizes.pages(built), {}
    assert len(pages) >= 3 + len(build.notebook_names())
    for name in pages:
        reader.open(name, "light")
        figures = reader.tab.eval_on_selector_all("article img", "all => all.map(i => i.alt)")
        assert all(len(alt) > 15 and not alt.endswith(".png") for alt in figures), (name, figures)
        assert reader.tab.locator("h1").count() or name in {"genindex.html", "search.html"}, name
        for scheme in SCREENS:
            if found := reader.found(name, scheme):
                wrong[name, scheme] = found
        reader.close(name)
    assert not wrong


def test_what_has_scripts_of_its_own_opens_narrow_and_dark_too(reader, built):
    """What a page does when it opens is its scripts: one page of each folder and set of scripts is enough."""
    different = {}
    for name in page_sizes.pages(built):
        scripts = SCRIPT.findall((built / "_build" / "html" / name).read_text(encoding="utf-8"))
        different.setdefault((name.rpartition("/")[0], *sorted(set(scripts))), name)
    assert {"book/explorer.html", "book/game.html", "book/live_network.html", "search.html"} <= set(different.values())
    for name in different.values():
        reader.open(name, "dark")
        assert not reader.found(name, "dark"), name
        reader.close(name)


SCRIPT = re.compile(r'<script[^>]*\bsrc="([^"?]+)')


# Pictures further down are loaded when one comes near them.
LOAD_ALL = """() => Promise.all([...document.images].map(image => {
    image.loading = "eager";
    return image.decode().catch(() => {});
}))"""


def test_axe_finds_what_is_planted(browser):
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.set_content(
        "<html lang=en><title>a</title><main><h1>b</h1><p style='color: #bbb'>pale</p><p style='color: #bbb'>pale</p>"
        "<p>a <a href='#' style='color: #111; text-decoration: none'>link</a> like its text</p>"
    )
    once = [["color-contrast", ['<p style="color: #bbb" data-measured="">pale</p>']]]
    known = set()
    assert [one for one in faults(page, known) if one[0] == "color-contrast"] == once
    assert len(known) > 1 and {rule for rule, _ in faults(page, known)} == {"link-in-text-block"}
    assert {rule for rule, _ in faults(page)} == {"color-contrast", "link-in-text-block"}
    page.set_viewport_size({"width": 1400, "height": 900})
    page.evaluate("document.querySelector('main').append(document.createElement('img'))")
    assert {rule for rule, _ in faults(page)} == {"color-contrast", "link-in-text-block", "image-alt"}
    page.close()


def test_axe_finds_nothing_in_what_was_folded(screen):
    screen.goto("notebooks/05_butt.html")
    screen.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    assert not faults(screen)


UNREACHED = """() => [...document.querySelectorAll('main *')].filter(e =>
    /auto|scroll/.test(getComputedStyle(e).overflowX) && e.scrollWidth > e.clientWidth + 1 && e.clientWidth
    && e.checkVisibility({checkVisibilityCSS: true}) && e.tabIndex < 0
    && !e.querySelector('a[href], button, input, select, [tabindex="0"]')).map(e => e.outerHTML.slice(0, 200))"""


def test_nothing_moves_for_whom_asks_for_it(screen):
    screen.goto("notebooks/05_butt.html")
    moving = """() => [...document.querySelectorAll('*')].filter(e => {
        const style = getComputedStyle(e);
        return style.animationName !== 'none' || parseFloat(style.transitionDuration) > 0;
    }).length"""
    assert screen.evaluate(moving) == 0


# Where the focus is, and whether one sees it.
FOCUS = """() => {
    const e = document.activeElement, style = getComputedStyle(e);
    const parts = {skip: '.skip-link', search: '.search-button-field', sidebar: '.bd-sidebar-primary',
                   header: '.bd-header-article', article: 'article'};
    const where = Object.keys(parts).find(name => e.closest(parts[name]));
    return [where || e.outerHTML.slice(0, 80), style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2];
}"""


def test_the_keyboard_meets_all_parts_in_order_and_sees_where_it_is(browser, served):
    page = browser.new_page(viewport={"width": 1400, "height": 900}, base_url=served)
    page.goto("notebooks/05_butt.html")
    stops = []
    while len(stops) < 80 and (not stops or stops[-1][0] != "article"):
        page.keyboard.press("Tab")
        stops.append(page.evaluate(FOCUS))
    assert [where for where, _ in groupby(where for where, _ in stops)] == [
        "skip", "sidebar", "search", "sidebar", "header", "article",
    ]  # fmt: skip
    assert all(seen for _, seen in stops)
    # The way there is short: the first stop leads to the text.
    page.goto("notebooks/05_butt.html")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("location.hash") == "#main-content"
    assert page.evaluate("document.querySelectorAll('math[tabindex], math [tabindex]').length") == 0
    page.close()


def test_a_figure_opens_at_its_own_size_and_escape_closes_it(browser, served):
    page = browser.new_page(viewport={"width": 390, "height": 844}, base_url=served)
    page.goto("notebooks/05_butt.html")
    link = page.locator("a.enlarge").first
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    assert dialog.locator("img").get_attribute("alt") == link.locator("img").get_attribute("alt")
    shown, small = dialog.locator("img").bounding_box(), link.locator("img").bounding_box()
    assert shown["width"] > small["width"]
    assert not faults(page)
    page.keyboard.press("Escape")
    assert dialog.count() == 0 and page.evaluate("document.activeElement.className") == "enlarge"
    # And with the mouse, by the button.
    link.click()
    dialog.get_by_role("button", name="Close").click()
    assert dialog.count() == 0
    page.close()


def test_a_figure_leads_to_its_code(browser, served):
    page = browser.new_page(base_url=served)
    page.goto("notebooks/05_butt.html")
    mark = page.locator("a.figure-code").first
    code = page.locator(mark.get_attribute("href"))
    assert code.get_attribute("open") is None
    mark.click()
    assert code.get_attribute("open") is not None and code.locator("pre").is_visible()
    page.close()


def test_a_word_of_the_glossary_says_what_it_means(browser, served):
    page = browser.new_page(viewport={"width": 1400, "height": 900}, base_url=served)
    page.goto("notebooks/05_butt.html")
    words = page.locator("article a.term")
    texts = words.evaluate_all("all => all.map(a => a.href)")
    assert len(texts) >= 5 and len(set(texts)) == len(texts)
    box = page.get_by_role("tooltip")
    assert box.count() == 0
    words.first.hover()
    box.wait_for()
    assert box.inner_text() == words.first.get_attribute("data-definition")
    box.hover()  # it stays under the pointer
    page.wait_for_timeout(500)
    assert box.is_visible()
    page.keyboard.press("Escape")
    assert box.count() == 0
    page.mouse.move(0, 0)
    words.nth(1).focus()
    assert box.inner_text() == words.nth(1).get_attribute("data-definition")
    assert words.nth(1).get_attribute("aria-describedby") == box.get_attribute("id")
    assert not faults(page)
    words.nth(1).click()
    assert "/book/glossary.html#term-" in page.url
    page.close()


def test_without_scripts_nothing_is_missing(browser, served):
    context = browser.new_context(java_script_enabled=False, base_url=served)
    page = context.new_page()
    page.goto("notebooks/05_butt.html")
    assert page.locator("article math").count() > 3 and "\\(" not in page.locator("article").inner_text()
    link = page.locator("a.enlarge").first
    link.click()
    assert page.url.endswith(".png")
    page.go_back()
    page.locator("details.hide > summary").first.click()
    assert page.locator("details.hide pre").first.is_visible()
    context.close()


def test_no_page_is_heavy(built):
    heavy = {name: size for name in page_sizes.pages(built) if (size := page_sizes.html_bytes(built, name)) > 200_000}
    assert not heavy
