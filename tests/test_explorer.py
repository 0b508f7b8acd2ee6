"""The page to move the transmitter in: what is computed, what is packed, and what the page does."""

import base64
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from traitlets import TraitError

from radiodiff import units
from radiodiff.explorer import (
    RadioMapExplorer,
    TransmitterGrid,
    covered_share,
    nearest_transmitter,
    predict_grid,
    spread_cells,
    static_page,
)
from radiodiff.explorer.grid import ExplorerTile
from radiodiff.explorer.page import outdoor_bytes
from radiodiff.models import AutoencoderKL, UNet
from radiodiff.plots.colours import colour_table
from radiodiff.predictors.pipeline import RadioDiffPipeline
from radiodiff.sampler import SamplerConfig
from radiodiff.scene import make_scene
from radiodiff.simulate import DominantPath, trace_outlines

SIZE, CELL_SIZE_M = 32, 2.0


@pytest.fixture
def pipeline(tiny):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return RadioDiffPipeline(AutoencoderKL(tiny.autoencoder), UNet(tiny.network), 1.0, tiny)


def two_buildings():
    result = np.zeros((SIZE, SIZE), dtype=bool)
    result[4:12, 6:20] = True
    result[20:28, 18:26] = True
    return result


@pytest.fixture
def mask():
    return two_buildings()


def options(**changes):
    return {"sampler": SamplerConfig(steps=1), "samples": 2} | changes


@pytest.fixture
def explorer(pipeline, mask):
    return RadioMapExplorer(pipeline, mask, CELL_SIZE_M, **options())


def four_transmitters():
    """A grid without a network: transmitter k predicts 10 k dB above the floor everywhere."""
    mask = two_buildings()
    cells = np.array([[1, 1], [16, 16], [30, 30], [2, 30]])
    maps = np.full((4, SIZE, SIZE), units.FLOOR_DB) + 10.0 * np.arange(4)[:, None, None]
    maps[:, mask] = np.nan
    return TransmitterGrid(
        building_mask=mask,
        cell_size_m=CELL_SIZE_M,
        samples=3,
        cells=cells,
        mean_db=maps,
        std_db=np.where(np.isnan(maps), np.nan, 1.26),
        truth_db=maps + 5,
        rmse_db=np.full(4, 5.0),
    )


@pytest.fixture
def grid():
    return four_transmitters()


# Covered share and places


def test_covered_share_counts_outdoor_cells_from_the_threshold_on():
    """Known answers of eq. ``covered-share``."""
    gain_db = np.array([[-80.0, -90.0, -100.0, -110.0], [np.nan, np.nan, np.nan, np.nan]])
    shares = {-147.0: 1.0, -100.0: 0.75, -99.9: 0.5, -80.0: 0.25, -50.0: 0.0}
    assert {db: covered_share(gain_db, db) for db in shares} == shares
    stacked = np.stack([gain_db, gain_db + 10])
    assert covered_share(stacked, -90.0).tolist() == [0.5, 0.75]


def test_median_covers_half():
    """The threshold of eq. ``covered-share`` that covers half is the median."""
    gain_db = np.random.default_rng(0).normal(-100, 20, (10, 10))
    assert covered_share(gain_db, np.median(gain_db)) == 0.5


def test_covered_share_needs_an_outdoor_cell():
    with pytest.raises(ValueError, match="outdoor cell in each map"):
        covered_share(np.full((2, 2), np.nan), -100.0)


def test_spread_cells_are_outdoors_distinct_and_nested(mask):
    cells = spread_cells(mask, 40)
    assert not mask[tuple(cells.T)].any()
    assert len(np.unique(cells, axis=0)) == 40
    assert (spread_cells(mask, 15) == cells[:15]).all()


def test_spread_cells_begin_in_the_middle_and_go_far():
    cells = spread_cells(np.zeros((9, 9), dtype=bool), 5)
    assert cells[0].tolist() == [4, 4]
    assert {tuple(cell) for cell in cells[1:].tolist()} == {(0, 0), (0, 8), (8, 0), (8, 8)}


@pytest.mark.parametrize("count", [0, 10_000])
def test_spread_cells_refuses_a_count(mask, count):
    with pytest.raises(ValueError, match=rf"between 1 and the {(~mask).sum()} outdoor.*{count}"):
        spread_cells(mask, count)


def test_nearest_transmitter():
    cells = np.array([[0, 0], [10, 0], [0, 4]])
    assert nearest_transmitter(cells, (6, 1)) == 1
    assert nearest_transmitter(cells, (0, 2)) == 0  # the first of two
    with pytest.raises(ValueError, match="at least one cell"):
        nearest_transmitter(np.zeros((0, 2), int), (0, 0))


# Maps of a transmitter


def test_grid_agrees_with_one_transmitter_after_the_other(pipeline, mask):
    arguments = (pipeline, mask, CELL_SIZE_M)
    grid = predict_grid(*arguments, transmitters=11, **options())
    tile = ExplorerTile(*arguments, **options())
    for k in (0, 10):
        alone = tile.maps(grid.cells[k : k + 1])
        np.testing.assert_allclose(alone.mean_db[0], grid.mean_db[k], atol=1e-2)
        np.testing.assert_allclose(alone.std_db[0], grid.std_db[k], atol=1e-2)
        np.testing.assert_array_equal(alone.truth_db[0], grid.truth_db[k])
    assert grid.mean_db.shape == grid.std_db.shape == grid.truth_db.shape == (11, SIZE, SIZE)


def test_maps_are_nan_in_buildings_and_held_at_the_floor(pipeline, mask):
    grid = predict_grid(pipeline, mask, CELL_SIZE_M, transmitters=3, **options())
    for maps in (grid.mean_db, grid.std_db, grid.truth_db):
        assert (np.isnan(maps) == mask).all()
    assert np.nanmin(grid.truth_db) >= units.FLOOR_DB


def test_spread_is_that_of_the_pipelines_samples(pipeline, mask):
    tile = ExplorerTile(pipeline, mask, CELL_SIZE_M, **options(samples=3, seed=7))
    generators = [torch.Generator().manual_seed(seed) for seed in (7, 8, 9)]
    scene = make_scene(mask, (16, 3), cell_size_m=CELL_SIZE_M)
    sampler = SamplerConfig(steps=1)
    samples = pipeline(scene, sampler=sampler, samples=3, generator=generators)
    maps = tile.maps([(16, 3)])
    np.testing.assert_allclose(maps.mean_db[0], samples.mean(0), atol=1e-3)
    np.testing.assert_allclose(maps.std_db[0], samples.std(0), atol=1e-3)


def test_any_predictor_may_be_explored(mask):
    """By name or as a callable; one that draws nothing has no spread."""
    grid = predict_grid("dominant_path", mask, CELL_SIZE_M, transmitters=2, samples=2)
    np.testing.assert_allclose(grid.mean_db, grid.truth_db, atol=30)  # the same engine, a raster
    assert np.nanmedian(np.abs(grid.mean_db - grid.truth_db)) < 0.1
    assert np.nanmax(grid.std_db) == 0
    assert (np.isnan(grid.std_db) == mask).all()

    def two(scenes, *, samples, seed):
        return torch.tensor([-90.0, -80.0]).view(1, 2, 1, 1).expand(2, 2, SIZE, SIZE).double()

    grid = predict_grid(two, mask, CELL_SIZE_M, transmitters=2, samples=2)
    assert np.nanmin(grid.std_db) == pytest.approx(np.sqrt(50))


def test_error_is_root_mean_square_outdoors(pipeline, mask):
    grid = predict_grid(pipeline, mask, CELL_SIZE_M, transmitters=2, **options())
    expected = np.sqrt(np.nanmean((grid.mean_db - grid.truth_db) ** 2, axis=(1, 2)))
    np.testing.assert_allclose(grid.rmse_db, expected, rtol=1e-5)


def test_truth_is_the_simulator_at_the_transmitters_cell(pipeline, mask):
    outlines = trace_outlines(mask, CELL_SIZE_M)
    tile = ExplorerTile(pipeline, outlines, CELL_SIZE_M, size=SIZE, **options())
    assert (tile.building_mask == mask).all()
    truth_db = tile.maps([(2, 30)]).truth_db[0]
    engine = DominantPath(outlines, SIZE, CELL_SIZE_M)
    # Column 30 is at x = 61 m; row 2 of 32, counted from the top, at y = 59 m.
    expected = engine.path_gain_db((61.0, 59.0)).clip(units.FLOOR_DB, units.PEAK_DB)
    np.testing.assert_allclose(truth_db, expected, rtol=1e-6)
    assert np.unravel_index(np.nanargmax(truth_db), truth_db.shape) == (2, 30)


def test_outlines_and_mask_give_the_same_tile(pipeline, mask):
    from_mask = ExplorerTile(pipeline, mask, CELL_SIZE_M, **options())
    outlines = trace_outlines(mask, CELL_SIZE_M)
    from_outlines = ExplorerTile(pipeline, outlines, CELL_SIZE_M, size=SIZE, **options())
    for one, other in zip(from_mask.maps([(1, 1)]), from_outlines.maps([(1, 1)]), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("buildings", "changes", "message"),
    [
        (np.zeros((2, 32, 48), bool), {}, r"map of .* cells, got shape \(2, 32, 48\)"),
        (np.zeros((32, 32), bool), {"size": 64}, r"map of \(64, 64\) cells"),
        ([], {}, "expected size"),
        (np.ones((32, 32), bool), {}, "buildings only"),
        (np.zeros((32, 32), bool), {"samples": 1}, "expected 2 samples or more"),
        (np.zeros((30, 30), bool), {}, "multiples? of 4"),
    ],
)
def test_tile_refuses(pipeline, buildings, changes, message):
    with pytest.raises(ValueError, match=message):
        ExplorerTile(pipeline, buildings, CELL_SIZE_M, **options(**changes))


# The widget


def test_widget_computes_once_for_each_change_of_cell(explorer, monkeypatch):
    asked = []
    maps = ExplorerTile.maps
    monkeypatch.setattr(
        ExplorerTile, "maps", lambda self, cells: asked.append(cells) or maps(self, cells)
    )
    explorer.transmitter_cell = (1, 2)
    explorer.transmitter_cell = (1, 2)
    explorer.threshold_db = -90.0
    explorer.transmitter_cell = (3, 2)
    assert asked == [[(1, 2)], [(3, 2)]]


def test_widget_sends_what_it_computed(explorer, mask):
    explorer.transmitter_cell = (1, 2)
    result, maps = explorer._result, explorer.maps
    assert result["cell"] == [1, 2]
    assert result["seconds"] > 0
    for name in ("mean", "std", "truth"):
        sent = np.frombuffer(result[name], np.float32).reshape(SIZE, SIZE)
        np.testing.assert_array_equal(sent, getattr(maps, f"{name}_db")[0])
    sent = np.frombuffer(explorer._tile["building_mask"], np.uint8)
    assert (sent.reshape(SIZE, SIZE) == mask).all()
    assert len(explorer._tile["colours"]["gain"]) == 3 * 256


def test_widget_takes_a_cell_from_the_page_as_a_list(explorer):
    explorer.set_state({"transmitter_cell": [1, 2]})  # as it arrives from the script
    assert explorer.transmitter_cell == (1, 2)
    assert explorer._result["cell"] == [1, 2]


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ((5, 7), "row 5, column 7 is inside a building: choose a street"),
        ((32, 0), "between row 0 and 31, column 0 and 31, got row 32, column 0"),
        ((0, -1), "column -1"),
    ],
)
def test_widget_keeps_its_transmitter_where_another_cannot_stand(explorer, cell, message):
    before = explorer.transmitter_cell
    with pytest.raises(TraitError, match=message):
        explorer.transmitter_cell = cell
    with pytest.raises(TraitError, match=message):
        explorer.set_state({"transmitter_cell": list(cell)})
    assert explorer.transmitter_cell == before
    assert explorer._result["cell"] == list(before)


def test_widget_tells_the_page_why_a_map_failed(explorer, monkeypatch):
    def fail(self, cells):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(ExplorerTile, "maps", fail)
    with pytest.raises(RuntimeError):
        explorer.transmitter_cell = (1, 2)
    assert explorer._result == {"error": "RuntimeError: out of memory"}


def test_widget_starts_where_it_is_told(pipeline, mask):
    arguments = (pipeline, mask, CELL_SIZE_M)
    told = RadioMapExplorer(*arguments, transmitter_cell=(0, 0), **options())
    assert told._result["cell"] == [0, 0]
    with pytest.raises(TraitError, match="inside a building"):
        RadioMapExplorer(*arguments, transmitter_cell=(5, 7), **options())
    with pytest.raises(ValueError, match="threshold between"):
        RadioMapExplorer(*arguments, threshold_db=10.0, **options())


def test_package_does_not_need_the_widget():
    code = "import sys, radiodiff; sys.exit('anywidget' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# The static page


def page_data(page: str) -> dict:
    return json.loads(re.search(r"\nmountStatic\(\"\w+\", (.+)\);\n", page)[1])


def test_packing_is_exact_to_half_a_step(grid):
    packed = {name: np.frombuffer(data, np.uint8) for name, data in outdoor_bytes(grid).items()}
    outdoors = ~grid.building_mask
    step_db = (units.PEAK_DB - units.FLOOR_DB) / 255
    for name, maps in (("mean", grid.mean_db), ("truth", grid.truth_db)):
        values_db = units.gray_to_path_gain_db(packed[name].reshape(4, -1) / 255)
        assert abs(values_db - maps[:, outdoors]).max() <= step_db / 2 + 1e-9
    assert (packed["std"] == 13).all()  # 1.26 dB in steps of 0.1 dB


def test_page_holds_the_grid(grid):
    data = page_data(static_page(grid, transmitter_cell=(3, 28), threshold_db=-90.0))
    assert data["cells"] == grid.cells.tolist()
    assert data["start"] == 3
    assert data["threshold_db"] == -90.0
    assert base64.b64decode(data["maps"]["mean"]) == outdoor_bytes(grid)["mean"]
    sent = np.frombuffer(base64.b64decode(data["tile"]["building_mask"]), np.uint8)
    assert (sent.reshape(SIZE, SIZE) == grid.building_mask).all()


def test_page_needs_nothing_from_outside(grid):
    page = static_page(grid, note="<b>outlines</b>")
    assert not re.search(r"https?:|//[\w-]+\.\w|@import|url\(|\bimport\b|fetch\(", page)
    assert page.count("</script>") == 1  # no text can end the script early
    assert "prefers-color-scheme" not in page  # the site's theme decides


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold_db": 0.0}, "threshold between -147 and -47.84 dB, got 0"),
        ({"transmitter_cell": (5, 7)}, "outdoors.*row 5, column 7"),
        ({"transmitter_cell": (32, 0)}, "row 32, column 0"),
    ],
)
def test_page_refuses(grid, changes, message):
    with pytest.raises(ValueError, match=message):
        static_page(grid, **changes)


def test_colours_run_like_the_figures():
    gain, error = colour_table("gain").astype(int), colour_table("error").astype(int)
    assert gain.shape == (256, 3)
    luminance = gain @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > -1).all()  # brighter with more gain
    assert error[0, 2] > error[0, 0]  # blue below
    assert error[-1, 0] > error[-1, 2]  # red above
    assert error[128].min() > 240  # and white at none
