"""Shared by the tests that use the built book as a reader does: `make browser-test`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tools.print_pdf import BROWSER_OPTIONS, DRAWN, book_pages, find_browser

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
SCREENSHOTS = ROOT / "_build" / "screenshots"
PAGES = [page for _, pages in book_pages(ROOT / "book" / "_toc.yml") for page in pages]
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
WIDTHS = {"desktop": (1300, 900), "phone": (390, 844)}


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Debian's Chromium, which finds no host."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find_browser(), args=list(BROWSER_OPTIONS)
        )
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page of the site in a fresh window, with all that went wrong there."""

    page: Page
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("request", self._see_request)
        self.page.on("requestfailed", lambda r: self.faults.append(f"not loaded: {r.url}"))

    def _hear(self, message) -> None:
        if message.type in ("error", "warning"):
            self.faults.append(f"console: {message.text}")

    def _see_request(self, request) -> None:
        if not request.url.startswith(("file:", "data:", "blob:")):
            self.faults.append(f"outside request: {request.url}")

    def open(self, name: str) -> None:
        """Open a page by its path below the site, and wait until all of it is drawn."""
        self.page.goto((SITE / name).as_uri())
        self.page.evaluate(DRAWN)

    def keep(self, name: str, *, whole: bool = True) -> None:
        """Keep a picture of the window, or of the whole page."""
        keep(self.page, name, whole=whole)


def keep(page: Page, name: str, *, whole: bool = False) -> None:
    """Keep a picture for the eye, ``_build/screenshots/<name>.png``.

    A whole page is cut where a browser cannot draw it in one piece.
    """
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    if not whole:
        page.screenshot(path=path)
        return
    height = page.evaluate("document.scrollingElement.scrollHeight")
    area = {"x": 0, "y": 0, "width": page.viewport_size["width"], "height": min(height, 16000)}
    page.screenshot(path=path, full_page=True, clip=area)


@pytest.fixture
def visit(browser, request) -> Iterator[Visit]:
    """A fresh window, 1300 px wide unless a test is parametrised by `width`."""
    if not (SITE / "index.html").exists():
        pytest.fail("the book is not built: run `make browser-test`")
    parameters = getattr(getattr(request.node, "callspec", None), "params", {})
    width, height = WIDTHS[parameters.get("width", "desktop")]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        offline=True,
        has_touch=width < 500,
        reduced_motion="reduce",  # colours change at once
    )
    context.set_default_timeout(20_000)
    yield Visit(context.new_page())
    context.close()
