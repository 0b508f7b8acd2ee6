"""The book as one PDF, as `make pdf` prints it."""

import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader
from pypdf.generic import Destination

from tools.print_pdf import target_in_book

from .conftest import PAGES, ROOT, SITE

PDF = ROOT / "_build" / "radiodiff.pdf"


@pytest.fixture(scope="module")
def book():
    return PdfReader(PDF)


@pytest.fixture(scope="module")
def headings():
    """First heading of every page of the site."""
    found = []
    for page in PAGES:
        html = (SITE / f"{page}.html").read_text(encoding="utf-8")
        heading = BeautifulSoup(html, "html.parser").select_one("article h1")
        heading.select_one("a.headerlink").decompose()
        found.append(heading.get_text().strip())
    return found


def test_every_page_is_printed_with_a_bookmark(book, headings):
    """In the order of the table of contents, each on a new page."""
    marks = [mark for mark in book.outline if isinstance(mark, Destination)]
    chapters = marks[1:]  # the first is the cover
    assert [mark.title.strip() for mark in chapters] == headings
    numbers = [book.get_destination_page_number(mark) for mark in chapters]
    assert numbers == sorted(set(numbers))
    assert len(book.pages) >= len(PAGES)


def test_text_is_there_and_nothing_is_raw(book):
    """On the first pages and every fifth: reading them all takes longer than printing them."""
    pages = [*book.pages[:5], *book.pages[5::5]]
    text = " ".join(" ".join(page.extract_text().split()) for page in pages)
    assert "This book rebuilds that method from its equations" in text
    for left_over in (r"\(", r"\[", "$$", "{glue", "{eq}", "{numref}", "Math Processing Error"):
        assert left_over not in text


def test_links_stay_in_the_book_or_lead_to_the_web(book):
    addresses = {
        annotation.get_object()["/A"]["/URI"]
        for page in book.pages
        for annotation in page.get("/Annots", [])
        if "/URI" in annotation.get_object().get("/A", {})
    }
    assert addresses, "the references link their papers"
    assert all(address.startswith("http") for address in addresses), sorted(addresses)


def test_pages_are_numbered(book):
    for number in (1, len(book.pages) // 2, len(book.pages)):
        assert book.pages[number - 1].extract_text().split()[-1] == str(number)


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("#eq-x", "#notebooks/train:eq-x"),
        ("sample.html", "#notebooks/sample"),
        ("../book/api.html#radiodiff.units", "#book/api:radiodiff.units"),
        ("../_modules/radiodiff/units.html", None),
        ("https://doi.org/10.1", "https://doi.org/10.1"),
    ],
)
def test_target_in_book(address, target):
    pages = ["notebooks/train", "notebooks/sample", "book/api"]
    assert target_in_book("notebooks/train", address, pages) == target
