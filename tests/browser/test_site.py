"""The built book, opened from the disk without a network, at the width of a desk and of a phone."""

import importlib
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from playwright.sync_api import Locator

from ..test_repository import PUBLIC_MODULES
from .conftest import CHAPTERS, PAGES, ROOT, SITE, WIDTHS

#: Text that only a reader of a broken page sees.
LEFTOVERS = re.compile(
    r"\{(?:glue|eq|numref|ref|doc|cite)[:}]|\$\$|\\\(|\\\[|\\begin\{|[Uu]nknown (?:role|directive)"
    r"|Traceback|\[object Object\]"
)

#: The search page asks for excerpts of its results, which a browser grants to no page opened from
#: the disk: it shows the titles alone.
NO_EXCERPTS = (
    "not loaded: file:",
    "console: Access to fetch at 'file:",
    "console: Failed to load resource: net::ERR_FAILED",
    "script: Failed to fetch",
)

READ_PAGE = """() => {
    const root = document.scrollingElement;
    const article = document.querySelector('article.bd-article');
    const words = article.cloneNode(true);
    words.querySelectorAll('pre, code, script, style, mjx-container').forEach(e => e.remove());
    const beyond = [...document.body.querySelectorAll('.bd-main *')]
        .filter(e => e.getBoundingClientRect().right > root.clientWidth + 1)
        .slice(0, 5).map(e => e.tagName + '.' + e.className);
    return {
        text: words.textContent,
        overflow: root.scrollWidth - root.clientWidth,
        beyond,
        unrendered: [...article.querySelectorAll('.math')]
            .filter(e => !e.querySelector('mjx-container')).map(e => e.textContent),
        tex: [...(window.MathJax?.startup.document.math ?? [])].map(item => item.math),
        mathErrors: [...article.querySelectorAll('mjx-merror, [data-mjx-error]')]
            .map(e => e.textContent || e.dataset.mjxError),
        warnings: [...article.querySelectorAll('.output.stderr')].map(e => e.textContent),
        images: [...document.images].map(e => ({
            name: e.getAttribute('src'), alt: e.getAttribute('alt'), width: e.naturalWidth,
            isFigure: article.contains(e),
        })),
    };
}"""

# Every colour of text on the background it stands on; a background may be see-through.
READ_CONTRAST = """() => {
    const parse = text => {
        const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
        const unit = text.startsWith('color(') ? 255 : 1;
        return [r * unit, g * unit, b * unit, a];
    };
    const over = (top, below) => {
        const a = top[3];
        return [0, 1, 2].map(i => top[i] * a + below[i] * (1 - a)).concat(1);
    };
    const behind = element => {
        const layers = [];
        for (let e = element; e; e = e.parentElement) {
            const color = parse(getComputedStyle(e).backgroundColor);
            if (color[3] > 0) layers.push(color);
            if (color[3] === 1) break;
        }
        const dark = document.documentElement.dataset.theme === 'dark';
        return layers.reverse().reduce((below, top) => over(top, below),
            dark ? [0, 0, 0, 1] : [255, 255, 255, 1]);
    };
    const luminance = color => {
        const [r, g, b] = color.slice(0, 3).map(value => {
            value /= 255;
            return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const low = {};
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement;
        if (!node.data.trim() || element.closest('script, style, svg, noscript')) continue;
        if (!element.checkVisibility({opacityProperty: true, visibilityProperty: true})) continue;
        const style = getComputedStyle(element);
        const size = parseFloat(style.fontSize);
        const isLarge = size >= 24 || (size >= 18.6 && parseInt(style.fontWeight) >= 700);
        const background = behind(element);
        const a = luminance(over(parse(style.color), background)), b = luminance(background);
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (ratio >= (isLarge ? 3 : 4.5)) continue;
        const key = [style.color, 'on', background.slice(0, 3).map(Math.round)].join(' ');
        low[key] ??= `${ratio.toFixed(2)}: ${key}: ${element.tagName}.${element.className} `
            + JSON.stringify(node.data.trim().slice(0, 40));
    }
    return Object.values(low);
}"""

# A transparent figure with black axes would vanish in the dark.
READ_FIGURE_GROUNDS = """() => [...document.querySelectorAll('article img')]
    .filter(e => !e.closest('a.reference') && e.naturalWidth > 64)
    .filter(e => {
        const ground = getComputedStyle(e).backgroundColor.match(/[\\d.]+/g).map(Number);
        return (ground[3] ?? 1) < 1 || Math.min(...ground.slice(0, 3)) < 200;
    })
    .map(e => e.getAttribute('src'))"""

SET_THEME = """theme => {
    document.documentElement.dataset.theme = theme;
    document.documentElement.dataset.mode = theme;
}"""


def faults_of(state: dict) -> list[str]:
    """What a reader would miss on a page."""
    faults = [f"not rendered: {text}" for text in state["unrendered"]]
    faults += [f"error in an equation: {text}" for text in state["mathErrors"]]
    faults += [f"Markdown in an equation: {tex}" for tex in state["tex"] if "`" in tex]
    faults += [f"printed to standard error: {text[:200]}" for text in state["warnings"]]
    if state["overflow"] > 1:
        faults.append(f"{state['overflow']} px beyond the window: {state['beyond']}")
    for found in LEFTOVERS.finditer(state["text"]):
        near = state["text"][max(found.start() - 30, 0) : found.end() + 30]
        faults.append(f"left over: {' '.join(near.split())!r}")
    for image in state["images"]:
        if not image["width"]:
            faults.append(f"empty image: {image['name']}")
        alt = (image["alt"] or "").strip()
        if image["isFigure"] and (len(alt) < 10 or re.search(r"\.(png|svg|jpe?g)$|_images/", alt)):
            faults.append(f"no alternative text: {image['name']}, {alt!r}")
    return faults


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_page(visit, name, width):
    """One page in both themes: complete, legible, nothing outside, nothing beside the window."""
    visit.open(f"{name}.html")
    state = visit.page.evaluate(READ_PAGE)
    faults = faults_of(state)
    for theme in ("light", "dark"):
        visit.page.evaluate(SET_THEME, theme)
        faults += [f"{theme}: {fault}" for fault in visit.page.evaluate(READ_CONTRAST)]
        visit.keep(f"{name.replace('/', '-')}-{WIDTHS[width][0]}-{theme}")
    grounds = visit.page.evaluate(READ_FIGURE_GROUNDS)
    faults += [f"dark: see-through figure: {name}" for name in grounds]
    faults += visit.faults
    assert not faults, "\n".join(dict.fromkeys(faults))


def test_checks_see_faults(visit):
    """A broken page is reported: each check above can fail."""
    visit.open("book/intro.html")
    visit.page.evaluate(r"""() => {
        document.querySelector('article').insertAdjacentHTML('beforeend', `
            <p>{glue:text}\`x:.2f\`</p>
            <p class="math">\\(x\\)</p>
            <p style="width: 3000px">wide</p>
            <p style="color: rgb(200, 200, 200); background: white">pale</p>
            <img alt="figure.png" src="../_static/missing.png">`);
        console.error('a fault');
        fetch('https://example.com/').catch(() => null);
    }""")
    visit.page.wait_for_timeout(300)
    faults = "\n".join(faults_of(visit.page.evaluate(READ_PAGE)))
    for expected in ("not rendered", "px beyond", "left over", "empty image", "no alternative"):
        assert expected in faults, faults
    assert "pale" in "\n".join(visit.page.evaluate(READ_CONTRAST))
    heard = "\n".join(visit.faults)
    assert "console: a fault" in heard
    assert "outside request: https://example.com/" in heard


def test_theme_is_switched_and_kept(visit):
    visit.open("book/intro.html")
    theme = "document.documentElement.dataset.theme"
    for _ in range(3):
        if visit.page.evaluate(theme) == "dark":
            break
        visit.page.locator("button.theme-switch-button:visible").first.click()
    assert visit.page.evaluate(theme) == "dark"
    visit.open(f"{PAGES[-1]}.html")
    assert visit.page.evaluate(theme) == "dark"
    assert not visit.faults


@pytest.mark.parametrize("width", WIDTHS)
def test_search_finds_a_word_and_opens_its_page(visit, width):
    visit.open("notebooks/radio_maps.html")
    title = visit.page.title()
    visit.open("book/intro.html")
    visit.page.locator(".search-button:visible, .search-button-field:visible").first.click()
    visit.page.locator("input[type=search]:visible").first.fill("dominant")
    visit.page.keyboard.press("Enter")
    result = visit.page.locator("#search-results li a[href*='notebooks/radio_maps.html']").first
    result.wait_for()
    visit.keep(f"search-{WIDTHS[width][0]}-light", whole=False)
    result.click()
    visit.page.locator("article.bd-article").wait_for()
    assert visit.page.title() == title
    assert [f for f in visit.faults if not f.startswith(NO_EXCERPTS)] == []


# Links


class Links(HTMLParser):
    """Anchors of a page and the addresses it names."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors, self.addresses = {""}, []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.anchors |= {values[key] for key in ("id", "name") if values.get(key)}
        self.addresses += [values[key] for key in ("href", "src") if values.get(key)]


def test_every_link_inside_the_site_leads_somewhere():
    pages = {path: Links(path) for path in SITE.rglob("*.html") if "_static" not in path.parts}
    assert len(pages) > len(PAGES)
    faults = []
    for path, links in pages.items():
        for address in links.addresses:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.exists():
                faults.append(f"{path.relative_to(SITE)}: {address} is missing")
            elif "_modules" in path.parts:
                pass  # "[docs]" names the package of a module that is exported only in part
            elif target in pages and anchor not in pages[target].anchors:
                faults.append(f"{path.relative_to(SITE)}: {address} has no such anchor")
    assert not faults, "\n".join(sorted(set(faults)))


@pytest.mark.parametrize("module", sorted(PUBLIC_MODULES))
def test_package_page_documents_every_public_name(module):
    documented = {anchor.split(".")[-1] for anchor in Links(SITE / "book/api.html").anchors}
    missing = set(importlib.import_module(module).__all__) - documented
    assert not missing, f"add them to book/api.md: {sorted(missing)}"


def test_buttons_open_the_notebook():
    """Binder and Colab get the .ipynb of each chapter; pages of prose have no such buttons."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    repository, branch = config["repository"]["url"], config["repository"]["branch"]
    owner = urlsplit(repository).path.strip("/")
    for page in PAGES:
        addresses = Links(SITE / f"{page}.html").addresses
        buttons = [a for a in addresses if "mybinder.org" in a or "colab.research" in a]
        if page not in CHAPTERS:
            assert not buttons, f"{page}: {buttons}"
            continue
        assert (ROOT / f"{page}.ipynb").exists()
        assert buttons == [
            f"https://mybinder.org/v2/gh/{owner}/{branch}?urlpath=lab/tree/{page}.ipynb",
            f"https://colab.research.google.com/github/{owner}/blob/{branch}/{page}.ipynb",
        ]


# The explorer: a map whose transmitter moves


@dataclass
class Explorer:
    """The frozen explorer of a page, seen and used from outside."""

    root: Locator

    def part(self, name: str) -> Locator:
        return self.root.get_by_test_id(f"explorer-{name}")

    def state(self) -> tuple[str, ...]:
        """Cell of the transmitter, its position as written, the error, and the picture."""
        return (
            self.root.get_attribute("data-row"),
            self.root.get_attribute("data-col"),
            self.part("x").input_value(),
            self.part("y").input_value(),
            self.part("rmse").inner_text(),
            self.part("canvas").evaluate("canvas => canvas.toDataURL()"),
        )

    def click(self, across: float, down: float) -> str:
        """Click the map at shares of its sides; returns what the page says to it."""
        canvas = self.part("canvas")
        box = canvas.bounding_box()
        canvas.click(position={"x": across * box["width"], "y": down * box["height"]})
        return self.part("status").inner_text()


@pytest.fixture
def explorer(visit) -> Explorer:
    visit.open("notebooks/explore.html")
    root = visit.page.get_by_test_id("explorer").first
    root.get_by_test_id("explorer-canvas").scroll_into_view_if_needed()
    return Explorer(root)


@pytest.mark.parametrize("width", WIDTHS)
def test_explorer_follows_the_mouse(visit, explorer, width):
    """Clicks in streets move the transmitter, clicks in buildings are refused with a word."""
    states = [explorer.state()]
    refused = 0
    for across, down in product((0.1, 0.3, 0.5, 0.7, 0.9), repeat=2):
        said = explorer.click(across, down)
        if "inside a building" in said:
            refused += 1
            assert explorer.state()[:5] == states[-1][:5]
        else:
            states.append(explorer.state())
    assert refused > 0
    for part in (0, 2, 5):  # cell, position, picture
        assert len({state[part] for state in states}) > 3
    visit.keep(f"explorer-{WIDTHS[width][0]}-mouse", whole=False)
    assert not visit.faults, "\n".join(visit.faults)


def test_explorer_follows_the_keyboard(visit, explorer):
    """Tab leads to the map, each arrow key moves the transmitter its way."""
    explorer.click(0.5, 0.5)
    explorer.part("canvas").focus()
    for key, part, sign in (
        ("ArrowLeft", 1, -1),
        ("ArrowUp", 0, -1),
        ("ArrowRight", 1, 1),
        ("ArrowDown", 0, 1),
    ):
        before = explorer.state()
        visit.page.keyboard.press(key)
        after = explorer.state()
        assert sign * (int(after[part]) - int(before[part])) > 0, key
        assert after[5] != before[5], key
    assert not visit.faults, "\n".join(visit.faults)


def test_threshold_changes_the_covered_share(visit, explorer):
    def covered() -> float:
        return float(explorer.part("covered").inner_text().strip(" %\u00a0\u2009"))

    shares = [covered()]
    explorer.part("threshold").focus()
    for _ in range(3):
        for _ in range(8):
            visit.page.keyboard.press("ArrowRight")
        shares.append(covered())
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < shares[0]
    assert not visit.faults, "\n".join(visit.faults)
