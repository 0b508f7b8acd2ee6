"""Arrays as people have them: taken for what they are, or refused in one line."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from radiodiff.cli.main import main
from radiodiff.conditions import make_condition
from radiodiff.explorer import predict_grid
from radiodiff.predictors import PREDICTORS
from radiodiff.predictors.baselines import DistanceLaw
from radiodiff.scene import Scene, make_scene, resample_scene, stack_scenes
from radiodiff.simulate import occlusion_m, raster_gain_db

from ..conftest import write_radiomapseer

MASK = np.zeros((6, 9), bool)
MASK[1:3, 2:5] = True
CELL = (4, 7)


def read_only(array):
    array.flags.writeable = False
    return array


MASKS = {
    "floats of 0 and 1": MASK.astype(float),
    "half floats": MASK.astype(np.float16),
    "bytes of 0 and 255": 255 * MASK.astype(np.uint8),
    "bytes of 0 and 1": MASK.astype(np.uint8),
    "long integers": MASK.astype(np.int64),
    "16 bits, unsigned": MASK.astype(np.uint16),
    "other byte order": MASK.astype(">i4"),
    "nested lists": MASK.tolist(),
    "lists of numbers": MASK.astype(int).tolist(),
    "negative strides": MASK[::-1, ::-1][::-1, ::-1],
    "columns first": np.asfortranarray(MASK),
    "every other cell": np.repeat(np.repeat(MASK, 2, 0), 2, 1)[::2, ::2],
    "read only": read_only(MASK.copy()),
    "tensor": torch.tensor(MASK),
    "tensor with gradient": torch.tensor(MASK, dtype=torch.float32, requires_grad=True),
    "bfloat16": torch.tensor(MASK, dtype=torch.bfloat16),
    "transposed tensor": torch.tensor(MASK.T.copy()).T,
    "gray image": Image.fromarray(255 * MASK.astype(np.uint8)),
    "image of one bit": Image.fromarray(255 * MASK.astype(np.uint8)).convert("1"),
    "masked, nothing hidden": np.ma.array(MASK, mask=np.zeros_like(MASK)),
}


@pytest.mark.parametrize("kind", MASKS)
def test_a_mask_of_any_kind_makes_the_same_scene(kind):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scene = make_scene(MASKS[kind], CELL, cell_size_m=1.0, cars_mask=MASKS[kind])
    assert scene.building_mask.dtype == torch.bool
    assert scene.building_mask.device.type == "cpu"
    assert np.array_equal(scene.building_mask, MASK)
    assert np.array_equal(scene.cars_mask, MASK)


def test_a_scene_does_not_change_with_what_it_was_made_of():
    mask, gains = MASK.copy(), np.full(MASK.shape, -90.0)
    tensor = torch.tensor(MASK)
    scenes = [
        make_scene(given, CELL, cell_size_m=1.0, measured_gain_db=gains) for given in (mask, tensor)
    ]
    mask[:], gains[:] = True, 0
    tensor[:] = True
    for scene in scenes:
        assert np.array_equal(scene.building_mask, MASK)
        assert (scene.measured_gain_db == -90).all()


REFUSED = {
    "gray levels": (np.full((6, 9), 128, np.uint8), "got 128: compare it first"),
    "heights": (12.5 * MASK, "got 12.5: compare it first"),
    "not a number": (np.where(MASK, np.nan, 0), "got nan"),
    "negative": (-1.0 * MASK, "got -1"),
    "1 beside 255": (MASK.astype(int) + 255 * np.eye(6, 9, dtype=int), "got"),
    "a path": ("buildings.png", "got a path or text"),
    "colour image": (Image.new("RGB", (9, 6)), "got mode RGB"),
    "palette image": (Image.new("P", (9, 6)), "got mode P"),
    "text": (np.full((6, 9), "x"), "array of numbers"),
    "objects": (np.full((6, 9), None), "array of numbers"),
    "ragged lists": ([[0, 1], [0]], "array of numbers"),
    "nothing": (None, "array of numbers"),
    "no cells": (np.zeros((0, 9)), r"shape \(h, w\)"),
    "colours": (np.zeros((6, 9, 3)), r"shape \(h, w\)"),
    "complex": (MASK.astype(complex), "real numbers"),
    "sparse": (torch.tensor(MASK).float().to_sparse(), "dense array"),
    "hidden entries": (np.ma.array(MASK, mask=MASK), "masked entries"),
    "meta device": (torch.zeros(6, 9, device="meta"), "array of numbers"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_mask_is_refused_in_one_line(kind):
    values, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message) as error:
        make_scene(values, CELL, cell_size_m=1.0)
    assert "building_mask" in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "cell",
    [
        [4, 7],
        (4.0, 7.0),
        np.array([4, 7], np.int32),
        np.array([4.0, 7.0]),
        torch.tensor([4, 7]),
        torch.tensor([4.0, 7.0], requires_grad=True),
        (np.uint8(4), np.float32(7)),
    ],
)
def test_a_position_of_any_kind_is_the_same_cell(cell):
    scene = make_scene(MASK, cell, cell_size_m=1)
    assert scene.transmitter_cell.tolist() == [4, 7]
    assert scene.transmitter_cell.dtype == torch.int64


@pytest.mark.parametrize(
    "cell",
    [(4.5, 7), (4, np.nan), (4, np.inf), (4,), (4, 7, 1), "47", 4, None, (None, 7), ([4], 7)],
)
def test_what_is_no_position_is_refused_in_one_line(cell):
    with pytest.raises(ValueError, match=r"transmitter_cell must be .*\(row, col\), got"):
        make_scene(MASK, cell, cell_size_m=1)


@pytest.mark.parametrize("size", ["1", None, np.nan, np.inf, 0, -1, [1, 2], 1j])
def test_what_is_no_cell_size_is_refused_in_one_line(size):
    with pytest.raises(ValueError, match="cell_size_m must be positive, got"):
        make_scene(MASK, CELL, cell_size_m=size)
    with pytest.raises(ValueError, match="cell_size_m must be positive, got"):
        resample_scene(make_scene(MASK, CELL, cell_size_m=1), size)


def test_measurements_are_finite_or_absent():
    gains = np.full(MASK.shape, np.nan)
    gains[0, 0] = -np.inf
    with pytest.raises(ValueError, match="measured_gain_db must be finite, NaN where"):
        make_scene(MASK, CELL, cell_size_m=1, measured_gain_db=gains)
    gains[0, 0] = -90
    found = make_scene(MASK, CELL, cell_size_m=1, measured_gain_db=gains[::-1].tolist())
    assert found.measured_gain_db[5, 0] == -90
    with pytest.raises(ValueError, match="name must be text"):
        make_scene(MASK, CELL, cell_size_m=1, name=3)


def by_hand(**changes):
    """A scene that somebody made without `make_scene`."""
    fields = {
        "building_mask": MASK.astype(np.float32)[None],
        "transmitter_cell": np.array([[4.0, 7.0]]),
        "cell_size_m": [1.0],
        "cars_mask": torch.zeros(1, 6, 9),
        "cars_known": [0],
        "measured_gain_db": np.full((1, 6, 9), np.nan, np.float32),
        "name": ["1_0"],
    }
    return Scene(**fields | changes)


SOUND = stack_scenes([make_scene(MASK, CELL, cell_size_m=1.0, name="1_0")])
ANSWERS = {
    "dominant_path": PREDICTORS["dominant_path"](None),
    "ray_tracing": PREDICTORS["ray_tracing"](None),
    "distance law": DistanceLaw(-50.0, -25.0),
    "channels": lambda scenes: make_condition(
        scenes, ("buildings", "transmitter", "distance_law", "line_of_sight", "cars_known")
    ),
    "resampled": lambda scenes: (
        resample_scene(Scene(*(field[0] for field in scenes)), 0.5).building_mask
    ),
}


@pytest.mark.parametrize("asked", ANSWERS)
def test_a_scene_made_by_hand_gets_the_same_answer_or_a_line(asked):
    answer = ANSWERS[asked]
    assert torch.equal(answer(by_hand()), answer(SOUND))
    for change, message in (
        ({"transmitter_cell": np.array([[4.5, 7.0]])}, "transmitter_cell must be whole numbers"),
        ({"transmitter_cell": torch.tensor([[4, 9]])}, "transmitter_cell lies outside"),
        ({"transmitter_cell": torch.tensor([[-1, 3]])}, "transmitter_cell lies outside"),
        ({"building_mask": np.full((1, 6, 9), 0.5)}, "building_mask must hold"),
        ({"cars_mask": torch.zeros(1, 9, 6)}, "cars_mask has shape"),
        ({"measured_gain_db": "none"}, "measured_gain_db must be an array"),
    ):
        with pytest.raises(ValueError, match=message):
            answer(by_hand(**change))


@pytest.mark.parametrize(
    "kind", ["floats of 0 and 1", "bytes of 0 and 255", "nested lists", "tensor"]
)
def test_the_explorer_takes_masks_of_any_kind(kind):
    expected = predict_grid("dominant_path", MASK, 1.0, transmitters=2)
    found = predict_grid("dominant_path", MASKS[kind], np.float32(1), transmitters=2)
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_explorer_refuses_what_is_no_mask():
    with pytest.raises(ValueError, match="buildings must hold False and True"):
        predict_grid("dominant_path", np.full((6, 9), 0.5), 1.0)
    with pytest.raises(ValueError, match="buildings must be an array, got a path"):
        predict_grid("dominant_path", "buildings.png", 1.0)


@pytest.mark.parametrize("engine", [raster_gain_db, occlusion_m])
def test_an_engine_takes_a_raster_or_says_in_one_line_why_not(engine):
    for mask, cell in ((MASK, (4.0, 7.0)), (MASK[::-1][::-1], np.array(CELL)), (MASK, CELL)):
        assert np.array_equal(engine(mask, cell, 1.0), engine(MASK, CELL, 1.0))
    for mask, cell, message in (
        (MASK, (4.5, 7), "on the raster"),
        (MASK, (6, 0), "on the raster"),
        (MASK, (np.nan, 0), "on the raster"),
        (MASK, None, "mask of NumPy and its"),
        (np.full((6, 9), 0.5), CELL, "to be bool"),
        (MASK[None], CELL, r"of shape \(h, w\)"),
        ([[0, 1], [0]], CELL, "mask of NumPy and its"),
    ):
        with pytest.raises(ValueError, match=message):
            engine(mask, cell, 1.0)


@pytest.mark.parametrize("asked", [None, "a picture", "view.png", "view.PDF", "v.1/x"])
def test_the_name_of_a_picture_is_the_one_that_was_written(tmp_path, monkeypatch, capsys, asked):
    monkeypatch.chdir(tmp_path)
    root = write_radiomapseer(tmp_path / "maps", (3,))
    command = ["data", "show", str(root), "3_1", *(["--out", asked] if asked else [])]
    assert main(command) == 0
    written = Path(capsys.readouterr().out.removeprefix("picture: ").strip())
    assert written.is_file()
    files = [path for path in tmp_path.rglob("*") if path.is_file() and root not in path.parents]
    assert [path.resolve() for path in files] == [written.resolve()]


def test_a_picture_of_no_known_format_is_refused(tmp_path, capsys):
    root = write_radiomapseer(tmp_path / "maps", (3,))
    assert main(["data", "show", str(root), "3_1", "--out", str(tmp_path / "x.npy")]) == 2
    assert "x.npy must end in one of" in capsys.readouterr().err
    assert not (tmp_path / "x.npy").exists()
