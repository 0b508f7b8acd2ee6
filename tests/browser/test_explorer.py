"""The frozen explorer alone in a file, twice in one document, at the width of a phone."""

import pytest

from radiodiff.explorer import static_page

from ..test_explorer import SIZE, four_transmitters


@pytest.fixture
def opened(browser, tmp_path):
    """Open the page, twice in one document, as wide as a phone; yields it and what it asked for."""
    file = tmp_path / "page.html"
    html = static_page(four_transmitters(), transmitter_cell=(16, 16), threshold_db=-120.0)
    file.write_text(f"<!doctype html><meta charset='utf-8'><body>{html}{html}</body>")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(file.as_uri())
    page.get_by_test_id("explorer").and_(page.locator("[data-state=ready]")).first.wait_for()
    yield page
    assert requests == [file.as_uri()]
    assert not errors
    page.close()


def click_cell(page, row, col):
    box = page.get_by_test_id("explorer-canvas").first.bounding_box()
    cell = box["width"] / SIZE
    page.mouse.click(box["x"] + (col + 0.5) * cell, box["y"] + (row + 0.5) * cell)


def shown(page, which=0):
    data = page.get_by_test_id("explorer").nth(which)
    return int(data.get_attribute("data-row")), int(data.get_attribute("data-col"))


def text(page, name):
    return page.get_by_test_id(f"explorer-{name}").first.inner_text().replace("\u00a0", " ")


def test_page_moves_by_mouse_keys_and_typing(opened):
    assert shown(opened) == (16, 16)
    click_cell(opened, 28, 29)
    assert shown(opened) == (30, 30)
    assert "nearest; 4 m from where you pointed" in text(opened, "status")
    opened.get_by_test_id("explorer-canvas").first.focus()
    opened.keyboard.press("ArrowUp")
    assert shown(opened) == (2, 30)
    opened.keyboard.press("ArrowUp")
    assert shown(opened) == (2, 30)
    assert "farther that way" in text(opened, "status")
    opened.get_by_test_id("explorer-x").first.fill("3")
    opened.keyboard.press("Enter")
    assert shown(opened) == (1, 1)
    # Row 1 of 32 cells of 2 m, counted from the top.
    assert opened.get_by_test_id("explorer-y").first.input_value() == "61"
    assert shown(opened, 1) == (16, 16)  # the other page did not move


def test_page_stays_and_says_so_in_a_building(opened):
    click_cell(opened, 5, 7)
    assert shown(opened) == (16, 16)
    assert text(opened, "status").startswith("Row 5, column 7 is inside a building; the trans")
    opened.get_by_test_id("explorer-x").first.fill("65")
    opened.keyboard.press("Enter")
    assert "between 0 and 64 m" in text(opened, "status")
    assert opened.get_by_test_id("explorer-x").first.input_value() == "33"


def test_page_counts_coverage(opened):
    """Eq. ``covered-share``: the second map predicts -137 dB and simulates -132 dB everywhere."""
    assert (text(opened, "covered"), text(opened, "covered-simulator")) == ("0.0 %", "0.0 %")
    slider = opened.get_by_test_id("explorer-threshold").first
    slider.fill("-134")
    assert (text(opened, "covered"), text(opened, "covered-simulator")) == ("0.0 %", "100.0 %")
    assert text(opened, "agreement") == "0.0 %"
    slider.fill("-140")
    assert (text(opened, "covered"), text(opened, "agreement")) == ("100.0 %", "100.0 %")
    assert text(opened, "rmse") == "5.00 dB"
    assert text(opened, "uncertainty") == "1.30 dB"


def test_pages_of_one_document_choose_their_views_alone(opened):
    views = opened.get_by_test_id("explorer-view-simulator")
    views.first.check(force=True)
    assert views.first.is_checked()
    assert opened.get_by_test_id("explorer-view-prediction").nth(1).is_checked()


def test_number_inputs_step_by_cells(opened):
    """In the static page a step goes on to the next transmitter that way."""
    opened.get_by_test_id("explorer-y").first.focus()
    opened.keyboard.press("ArrowDown")
    assert shown(opened) == (30, 30)


def test_page_fits_a_phone(opened):
    assert opened.evaluate("document.documentElement.scrollWidth") <= 390
