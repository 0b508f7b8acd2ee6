"""The explorer alone in a file, as wide as a phone: frozen, and beside a kernel played here."""

import base64
import json
from contextlib import contextmanager

import numpy as np
import pytest

from radiodiff.explorer import RadioMapExplorer, static_page
from radiodiff.explorer.page import tile_message

from ..test_explorer import CELL_SIZE_M, SIZE, four_transmitters

# The model that a notebook hands to a widget: bytes arrive as views, at any offset. It asks nobody:
# the test answers, with the maps of transmitter k for every cell.
MODEL = """
const viewOf = (text) => {
  const bytes = Uint8Array.from("x" + atob(text), (character) => character.charCodeAt(0));
  return new DataView(bytes.buffer, 1);
};
const revive = (_, value) => (value?.base64 === undefined ? value : viewOf(value.base64));
const { script, values, maps } = JSON.parse(DATA, revive);
const listeners = {};
const set = (name, value) => {
  values[name] = value;
  for (const listener of listeners[`change:${name}`] ?? []) listener();
};
const model = {
  sent: [],
  get: (name) => values[name],
  set: (name, value) => { values[name] = value; model.sent.push([name, value]); },
  save_changes() {},
  on: (event, listener) => { (listeners[event] ??= new Set()).add(listener); },
  off: (event, listener) => listeners[event].delete(listener),
};
window.sent = () => model.sent;
window.python = set;
window.answer = (cell, k) => set("_result", { ...maps[k], cell, rmse_db: 5, seconds: 0.25 });
window.listening = () => Object.values(listeners).reduce((sum, { size }) => sum + size, 0);
const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
const widget = (await import(url)).default;
values._result = { ...maps[1], cell: [16, 16], rmse_db: 5, seconds: 0.25 };
window.close_widget = widget.render({ model, el: document.querySelector("main") });
"""


@contextmanager
def opening(browser, file, html):
    """Open a page as wide as a phone, which must ask for nothing but itself."""
    file.write_text(f"<!doctype html><meta charset='utf-8'><body>{html}</body>", encoding="utf-8")
    page = browser.new_page(viewport={"width": 390, "height": 844})
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(file.as_uri())
    page.get_by_test_id("explorer").and_(page.locator("[data-state=ready]")).first.wait_for()
    yield page
    assert [url for url in requests if not url.startswith("blob:")] == [file.as_uri()]
    assert not errors
    page.close()


@pytest.fixture
def opened(browser, tmp_path):
    """The frozen page, twice in one document."""
    html = static_page(four_transmitters(), transmitter_cell=(16, 16), threshold_db=-120.0)
    with opening(browser, tmp_path / "page.html", html + html) as page:
        yield page


@pytest.fixture
def live(browser, tmp_path):
    """The widget, with the maps of the transmitter in the middle."""
    grid = four_transmitters()
    maps = {
        name: getattr(grid, f"{name}_db").astype(np.float32) for name in ("mean", "std", "truth")
    }
    tile = tile_message(grid.building_mask, CELL_SIZE_M, samples=grid.samples)
    data = {
        "script": str(RadioMapExplorer._esm),
        "values": {"_tile": tile, "threshold_db": -120.0},
        "maps": [{name: maps[name][k].tobytes() for name in maps} for k in range(len(grid.cells))],
    }
    text = json.dumps(data, default=lambda value: {"base64": base64.b64encode(value).decode()})
    html = (
        f"<style>{RadioMapExplorer._css}</style><main></main>"
        f'<script type="module">const DATA = {json.dumps(text)};{MODEL}</script>'
    )
    with opening(browser, tmp_path / "widget.html", html) as page:
        yield page


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


# The widget


def test_widget_asks_for_one_cell_at_a_time(live):
    assert text(live, "status") == "Done in 0.25 s: row 16, column 16."
    assert text(live, "rmse") == "5.00 dB"
    for col in (2, 3, 4):
        click_cell(live, 1, col)
    assert live.evaluate("sent()") == [["transmitter_cell", [1, 2]]]
    assert text(live, "status").startswith("Computing row 1, column 2")
    assert live.get_by_test_id("explorer").get_attribute("data-state") == "busy"
    assert shown(live) == (16, 16)
    live.evaluate("answer([1, 2], 2)")
    assert shown(live) == (1, 2)
    assert live.evaluate("sent()")[1:] == [["transmitter_cell", [1, 4]]]
    live.evaluate("answer([1, 4], 3)")
    assert shown(live) == (1, 4)
    assert text(live, "status").startswith("Done in")
    assert live.get_by_test_id("explorer").get_attribute("data-state") == "ready"


def test_widget_moves_by_cells(live):
    live.get_by_test_id("explorer-canvas").focus()
    for key, cell in (("ArrowLeft", [16, 15]), ("Shift+ArrowRight", [16, 20])):
        live.keyboard.press(key)
        assert live.evaluate("sent().at(-1)") == ["transmitter_cell", cell]
        live.evaluate("cell => answer(cell, 2)", cell)
    live.keyboard.press("Shift+ArrowUp")
    assert live.evaluate("sent().at(-1)") == ["transmitter_cell", [11, 20]]
    live.evaluate("answer([11, 20], 2)")
    live.keyboard.press("ArrowLeft")
    assert text(live, "status").startswith("Row 11, column 19 is inside a building")
    for _ in range(2):
        live.keyboard.press("Shift+ArrowUp")
        live.evaluate("answer(sent().at(-1)[1], 2)")
    live.keyboard.press("Shift+ArrowUp")
    assert "beyond the edge" in text(live, "status")
    assert shown(live) == (1, 20)


def test_widget_follows_python(live):
    live.evaluate("answer([30, 30], 3)")
    assert shown(live) == (30, 30)
    assert live.get_by_test_id("explorer-x").input_value() == "61"
    live.evaluate("python('threshold_db', -115)")
    # The last map predicts -117 dB and simulates -112 dB everywhere.
    assert (text(live, "covered"), text(live, "covered-simulator")) == ("0.0 %", "100.0 %")
    assert live.evaluate("sent()") == []


def test_widget_tells_python_of_a_threshold(live):
    live.get_by_test_id("explorer-threshold").fill("-134")
    assert live.evaluate("sent()") == [["threshold_db", -134]]
    assert (text(live, "covered"), text(live, "covered-simulator")) == ("0.0 %", "100.0 %")


def test_widget_says_what_went_wrong(live):
    click_cell(live, 1, 2)
    live.evaluate("python('_result', {error: 'RuntimeError: out of memory'})")
    assert text(live, "status").endswith("could not compute this map. RuntimeError: out of memory")
    assert live.get_by_test_id("explorer-x").input_value() == "33"


def test_widget_lets_go_of_its_model(live):
    assert live.evaluate("listening()") == 2
    live.evaluate("close_widget()")
    assert live.evaluate("listening()") == 0
