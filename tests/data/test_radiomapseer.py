"""RadioMapSeer's layout, fake and real: what is read, how it is split, what is refused."""

import dataclasses
import json
import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from radiodiff import units
from radiodiff.conditions import k2_map, network_range
from radiodiff.data import DatasetError, RadioMapOptions, RadioMapSeer, path_gain_db
from radiodiff.predictors import Kriging, dominant_path
from radiodiff.scene import stack_scenes

from ..conftest import SHARED, TEST_MAPS, TRAIN_MAPS

REAL = SHARED / "data" / "radiomapseer_sample"


def test_sample(dataset_root):
    dataset = RadioMapSeer(dataset_root, "train")
    assert dataset.maps == list(TRAIN_MAPS)
    assert len(dataset) == 6
    sample = dataset[4]
    assert sample.name == "501_1"
    assert sample.radio_map.shape == (1, 32, 32)
    assert sample.condition.shape == (2, 32, 32)
    gray = np.array(Image.open(dataset_root / "gain/DPM/501_1.png"))
    assert torch.allclose(
        units.model_to_gray(sample.radio_map[0]) * 255, torch.tensor(gray).float()
    )
    buildings = np.array(Image.open(dataset_root / "png/buildings_complete/501.png")) > 0
    assert (sample.condition[0].numpy() == buildings).all()
    assert (sample.outdoor_mask[0].numpy() == ~buildings).all()


def test_y_is_flipped_and_agrees_with_the_antenna_image(dataset_root):
    """antenna [x, y] is pixel row h - 1 - y, column x."""
    for sample in RadioMapSeer(dataset_root, "all"):
        image = np.array(Image.open(dataset_root / f"png/antennas/{sample.name}.png"))
        assert (sample.condition[1].numpy() == image / 255).all()


def test_antenna_image_serves_where_there_is_no_list(dataset_root):
    expected = [sample.condition for sample in RadioMapSeer(dataset_root, "all")]
    for path in (dataset_root / "antenna").iterdir():
        path.unlink()
    found = [sample.condition for sample in RadioMapSeer(dataset_root, "all")]
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_missing_gain_of_a_simulated_dataset_is_named(dataset_root):
    rows = [{"id": m, "split": "train"} for m in TRAIN_MAPS]
    manifest = {"maps": rows, "parameters": {"transmitters": 3, "cell_size_m": 1.0}}
    (dataset_root / "dataset.json").write_text(json.dumps(manifest), encoding="utf-8")
    assert len(RadioMapSeer(dataset_root, "train")) == 6
    (dataset_root / "gain/DPM/501_1.png").unlink()
    with pytest.raises(DatasetError, match=r"lacks 1 maps, first 501_1\.png"):
        RadioMapSeer(dataset_root, "train")


def test_batches_collate(dataset_root):
    batch = next(iter(DataLoader(RadioMapSeer(dataset_root, "test"), batch_size=4)))
    assert batch.radio_map.shape == (4, 1, 32, 32)
    assert batch.outdoor_mask.dtype == torch.bool
    first = min(TEST_MAPS)
    assert list(batch.name) == [f"{first}_0", f"{first}_1", f"{first}_2", f"{max(TEST_MAPS)}_0"]


def test_max_maps(dataset_root):
    assert RadioMapSeer(dataset_root, "all", max_maps=1).maps == [min(TEST_MAPS)]


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(DatasetError, match=r"gain.DPM.*radiodiff simulate"):
        RadioMapSeer(tmp_path / "nowhere", "train")


def test_missing_cars_folder_is_named(dataset_root):
    with pytest.raises(DatasetError, match="carsDPM"):
        RadioMapSeer(dataset_root, "train", RadioMapOptions(cars=True))


def test_empty_split_is_an_error(dataset_root):
    with pytest.raises(DatasetError, match="no val map"):
        RadioMapSeer(dataset_root, "val")


def break_file(root, kind):
    path = root / "gain/DPM/159_1.png"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:60])
    elif kind == "text":
        path.write_text("not an image", encoding="utf-8")
    elif kind == "rgb":
        Image.open(path).convert("RGB").save(path)
    elif kind == "16 bit":
        Image.fromarray(np.zeros((32, 32), np.uint16)).save(path)
    elif kind == "size":
        Image.fromarray(np.zeros((16, 16), np.uint8)).save(path)
    return path


@pytest.mark.parametrize("kind", ["truncated", "text", "rgb", "16 bit", "size"])
def test_broken_file_is_named(dataset_root, kind):
    break_file(dataset_root, kind)
    with pytest.raises(DatasetError, match=r"159_1\.png"):
        RadioMapSeer(dataset_root, "train")[1]


def test_missing_building_file_is_named(dataset_root):
    (dataset_root / "png/buildings_complete/159.png").unlink()
    with pytest.raises(DatasetError, match=r"159\.png"):
        RadioMapSeer(dataset_root, "train")[0]


@pytest.mark.parametrize("text", ["[[1, 2", "[[1, 2]]", "[[1, 2], [400, 2], [3, 3]]"])
def test_bad_antenna_list_is_named(dataset_root, text):
    (dataset_root / "antenna/159.json").write_text(text, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"159\.json"):
        RadioMapSeer(dataset_root, "train")[1]


def test_stray_file_is_named(dataset_root):
    (dataset_root / "gain/DPM/thumb.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"thumb\.png"):
        RadioMapSeer(dataset_root, "train")


def gray_of(root, simulation, name):
    return np.array(Image.open(root / "gain" / simulation / f"{name}.png"))


def levels(sample):
    """Gray levels of a sample's map, 0 to 255."""
    return 255 * units.model_to_gray(sample.radio_map[0])


@pytest.mark.parametrize("cars", [False, True])
@pytest.mark.parametrize("simulation", ["DPM", "IRT2", "IRT4"])
def test_simulations(variants_root, simulation, cars):
    dataset = RadioMapSeer(variants_root, "all", RadioMapOptions(simulation=simulation, cars=cars))
    assert len(dataset) == 4 * (2 if simulation == "IRT4" else 3)
    assert dataset.names == [sample.name for sample in dataset]
    folder = f"cars{simulation}" if cars else simulation
    for sample in dataset:
        expected = torch.from_numpy(gray_of(variants_root, folder, sample.name)).float()
        torch.testing.assert_close(levels(sample), expected, atol=1e-4, rtol=0)
        assert len(sample.condition) == 2 + cars


def mix_weights(root, **choice):
    """Weight of IRT2 in each map of a mix; every cell must tell the same."""
    weights = []
    for sample in RadioMapSeer(root, "all", RadioMapOptions(simulation="mix", **choice)):
        dpm, irt2 = (gray_of(root, kind, sample.name).astype(float) for kind in ("DPM", "IRT2"))
        inside = irt2 > 0
        ratio = (dpm - levels(sample).numpy())[inside] / (dpm - irt2)[inside]
        assert np.ptp(ratio) < 1e-4
        weights.append(ratio.mean())
    return np.array(weights)


def test_mix_is_a_mean_of_two_simulations(variants_root):
    """Its weight is uniform up to the largest."""
    half, whole = (mix_weights(variants_root, irt2_max_weight=most) for most in (0.5, 1.0))
    np.testing.assert_allclose(2 * half, whole, atol=1e-4)
    assert 0 <= whole.min() < 0.3
    assert 0.7 < whole.max() <= 1
    assert len(np.unique(whole.round(3))) == len(whole)
    assert abs(mix_weights(variants_root, irt2_max_weight=0.0)).max() < 1e-5
    (variants_root / "gain/IRT2/103_1.png").unlink()
    with pytest.raises(DatasetError, match=r"IRT2 lacks 1 maps .* first 103_1\.png"):
        RadioMapSeer(variants_root, "all", RadioMapOptions(simulation="mix"))


def test_cars_may_be_unknown_to_the_network(variants_root):
    told, untold = (
        RadioMapSeer(variants_root, "all", RadioMapOptions(cars=True, hide_cars=hide))[0]
        for hide in (False, True)
    )
    assert torch.equal(told.radio_map, untold.radio_map)
    assert torch.equal(told.condition[:2], untold.condition)
    cars = np.array(Image.open(variants_root / "png/cars/103.png")) / 255
    assert (told.condition[2].numpy() == cars).all()


@pytest.mark.parametrize("missing", [1, 4])
def test_missing_buildings(variants_root, missing):
    """The condition lacks buildings, one of six versions; where the map is defined stays."""
    whole = RadioMapSeer(variants_root, "all")
    dataset = RadioMapSeer(variants_root, "all", RadioMapOptions(missing_buildings=missing))
    versions = set()
    for sample, complete in zip(dataset, whole, strict=True):
        found = sample.condition[0].numpy()
        files = [
            variants_root
            / f"png/buildings_missing{missing}/{k}"
            / f"{sample.name.split('_')[0]}.png"
            for k in range(1, 7)
        ]
        same = [(np.array(Image.open(file)) / 255 == found).all() for file in files]
        assert sum(same) == 1
        versions.add(same.index(True))
        assert torch.equal(sample.outdoor_mask, complete.outdoor_mask)
        assert torch.equal(sample.radio_map, complete.radio_map)
    assert len(versions) > 2


@pytest.mark.parametrize("threshold", [0.0, 0.2])
def test_measurements(dataset_root, threshold):
    plain = RadioMapSeer(dataset_root, "all", RadioMapOptions(threshold=threshold))
    dataset = RadioMapSeer(
        dataset_root, "all", RadioMapOptions(measurements=(5, 30), threshold=threshold)
    )
    counts = []
    for sample, before in zip(dataset, plain, strict=True):
        measured = sample.condition[2] > 0
        counts.append(int(measured.sum()))
        assert not (measured & ~sample.outdoor_mask[0]).any()
        gray = units.model_to_gray(sample.radio_map[0])
        assert torch.equal(sample.condition[2][measured], gray[measured].clamp_min(1 / 255))
        assert torch.equal(sample.condition[:2], before.condition)
        assert torch.equal(sample.radio_map, before.radio_map)
    assert 5 <= min(counts) < max(counts) <= 30
    assert all(
        (sample.condition[2] > 0).sum() == 7
        for sample in RadioMapSeer(dataset_root, "all", RadioMapOptions(measurements=(7, 7)))
    )


def test_measurements_inside_buildings(dataset_root):
    """As RadioUNet measures: a cell in a building has gray level 0 and reads as one step."""
    sample = RadioMapSeer(
        dataset_root, "all", RadioMapOptions(measurements=(600, 600), measure_anywhere=True)
    )[0]
    inside = sample.condition[2][~sample.outdoor_mask[0]]
    assert (inside > 0).any()
    assert set(inside.unique().tolist()) <= {0.0, float(torch.tensor(1 / 255))}
    with pytest.raises(DatasetError, match="2000 cells are to be measured, but it has 1024"):
        RadioMapSeer(
            dataset_root, "all", RadioMapOptions(measurements=(2000, 2000), measure_anywhere=True)
        )[0]


MASKED = ("buildings", "transmitter", "measurements", "measured")


def test_scattered_cells_are_those_of_earlier_versions(dataset_root):
    """The draw of a sample written out: number, then cells, of a generator that its name seeds."""
    dataset = RadioMapSeer(dataset_root, "all", RadioMapOptions(measurements=(5, 30), seed=3))
    for sample in dataset:
        rng = np.random.default_rng((3, zlib.crc32(f"measurements/{sample.name}".encode())))
        count = int(rng.integers(5, 31))
        cells = rng.choice(np.flatnonzero(sample.outdoor_mask), count, replace=False)
        found = np.flatnonzero(~sample.scene.measured_gain_db.isnan())
        assert found.tolist() == sorted(cells.tolist())


@pytest.mark.parametrize("along_streets", [False, True])
def test_a_map_may_have_no_measured_cell_at_all(dataset_root, along_streets):
    """The mask tells none from cells that were measured at the floor."""
    options = {"condition": MASKED, "measure_along_streets": along_streets}
    none = RadioMapSeer(dataset_root, "all", RadioMapOptions(measurements=(0, 0), **options))
    for sample in none:
        assert sample.scene.measured_gain_db.isnan().all()
        assert not sample.condition[2:].any()
    few = RadioMapSeer(dataset_root, "all", RadioMapOptions(measurements=(0, 2), **options))
    counts = {int(sample.condition[3].sum()) for sample in few}
    assert counts == {0, 1, 2}
    assert all(torch.equal(s.condition[2] > 0, s.condition[3] > 0) for s in few)


def test_without_a_measurement_kriging_gives_its_mean(dataset_root):
    options = RadioMapOptions(measurements=(0, 0), condition=MASKED)
    sample = RadioMapSeer(dataset_root, "all", options)[0]
    scenes = stack_scenes([sample.scene])
    mean = dominant_path(scenes)
    assert torch.equal(Kriging()(scenes), mean)


def test_cells_measured_along_streets(dataset_root):
    options = RadioMapOptions(measurements=(12, 12), measure_along_streets=True)
    dataset = RadioMapSeer(dataset_root, "all", options)
    for sample in dataset:
        cells = np.argwhere(~sample.scene.measured_gain_db.isnan().numpy())
        assert len(cells) == 12
        assert sample.outdoor_mask[0][tuple(cells.T)].all()
        gaps = np.abs(cells[:, None] - cells[None]).max(2) + 99 * np.eye(12, dtype=int)
        assert gaps.min(1).max() <= 4  # the next measured cell of a route is four steps away
    again = RadioMapSeer(dataset_root, "all", options)
    assert all(torch.equal(a.condition, b.condition) for a, b in zip(dataset, again, strict=True))
    other = RadioMapSeer(dataset_root, "all", dataclasses.replace(options, seed=1))
    assert not torch.equal(dataset[0].condition, other[0].condition)


ALL_RANDOM = {
    "simulation": "mix",
    "cars": True,
    "missing_buildings": 2,
    "measurements": (5, 30),
}


@pytest.mark.parametrize(("workers", "batch_size"), [(0, 1), (0, 5), (2, 3)])
def test_what_is_drawn_depends_on_seed_and_name_alone(variants_root, workers, batch_size):
    """Not on workers, batches, order, epoch or a global generator."""
    one = RadioMapSeer(variants_root, "all", RadioMapOptions(**ALL_RANDOM))
    expected = {sample.name: sample for sample in reversed([one[k] for k in range(len(one))])}
    torch.manual_seed(workers + batch_size)
    state = torch.random.get_rng_state()
    for sample in RadioMapSeer(variants_root, "train", RadioMapOptions(**ALL_RANDOM)):
        assert torch.equal(sample.condition, expected[sample.name].condition)
    assert torch.equal(torch.random.get_rng_state(), state)
    for batch in DataLoader(one, batch_size=batch_size, num_workers=workers):
        for name, condition, radio_map in zip(
            batch.name, batch.condition, batch.radio_map, strict=True
        ):
            assert torch.equal(condition, expected[name].condition)
            assert torch.equal(radio_map, expected[name].radio_map)
    other = RadioMapSeer(variants_root, "all", RadioMapOptions(seed=1, **ALL_RANDOM))
    for k, sample in enumerate(other):
        assert not torch.equal(sample.condition[3], one[k].condition[3])
        assert not torch.equal(sample.radio_map, one[k].radio_map)


def test_five_channels_in_their_ranges(variants_root):
    """Buildings, transmitter, cars and twice the k² map, all in [0, 1] (X2 is a fault)."""
    dataset = RadioMapSeer(variants_root, "all", RadioMapOptions(cars=True, k2_channels=2))
    for sample in dataset:
        assert sample.condition.shape == (5, 32, 32)
        assert all(set(channel.unique().tolist()) == {0, 1} for channel in sample.condition[:3])
        assert torch.equal(sample.condition[3], sample.condition[4])
        (cell,) = np.argwhere(Image.open(variants_root / f"png/antennas/{sample.name}.png"))
        k2 = k2_map(gray_of(variants_root, "carsDPM", sample.name), tuple(cell))
        assert np.allclose(sample.condition[3].numpy() * 255, k2, atol=1e-4)
    network = network_range(sample.condition[None])
    assert (network.min(), network.max()) == (-1, 1)
    assert (variants_root / "features/k2/carsDPM/103_0.png").is_file()


def test_channels_of_the_condition_in_order(variants_root):
    dataset = RadioMapSeer(
        variants_root,
        "all",
        RadioMapOptions(cars=True, measurements=(9, 9), k2_channels=1, threshold=0.2),
    )
    sample = dataset[0]
    assert len(sample.condition) == 5
    assert (sample.condition[3] > 0).sum() == 9
    unthresholded = RadioMapSeer(variants_root, "all", RadioMapOptions(cars=True, k2_channels=1))[0]
    assert torch.equal(sample.condition[4], unthresholded.condition[3])


def test_threshold_is_radiounets(dataset_root):
    """max(g - t, 0) / (1 - t); in dB it holds the map at the threshold or more."""
    raw, scaled = (
        RadioMapSeer(dataset_root, "all", RadioMapOptions(threshold=t))[0] for t in (0.0, 0.2)
    )
    gray, held = (units.model_to_gray(sample.radio_map) for sample in (raw, scaled))
    assert torch.allclose(held, (gray - 0.2).clamp_min(0) / 0.8, atol=1e-6)
    assert held.max() == pytest.approx(float((gray.max() - 0.2) / 0.8))
    threshold_db = units.gray_to_path_gain_db(0.2)
    assert threshold_db == pytest.approx(units.NOISE_THRESHOLD_DB, abs=0.2)
    expected = np.maximum(path_gain_db(raw), threshold_db)
    np.testing.assert_allclose(path_gain_db(scaled), expected, atol=1e-4)
    assert units.thresholded(gray, 0.0) is gray
    batch = next(iter(DataLoader([raw, scaled], batch_size=2)))
    assert batch.threshold.tolist() == pytest.approx([0, 0.2])


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"irt2_max_weight": 1.5}, r"irt2_max_weight must be in \[0, 1\], got 1.5"),
        ({"hide_cars": True}, "nothing to hide"),
        ({"missing_buildings": 5}, "must be 0 to 4, got 5"),
        ({"k2_channels": 3}, "must be 0, 1 or 2, got 3"),
        ({"threshold": 1.0}, r"must be in \[0, 1\), got 1"),
        ({"measurements": (5, 4)}, r"fewest <= most, got \(5, 4\)"),
        ({"measurements": (-1, 5)}, r"measurements must be at least 0, got \(-1, 5\)"),
        ({"measurements": (0, 300)}, r"\(0, 300\) may be none, .*: list measured in condition"),
        ({"measure_along_streets": True}, "needs measurements: how many cells"),
        (
            {"measurements": (1, 9), "measure_along_streets": True, "measure_anywhere": True},
            "contradicts measure_anywhere",
        ),
        ({"k2_channels": 1, "simulation": "mix"}, "k2_channels needs one simulation"),
    ],
)
def test_choices_without_meaning_are_refused(variants_root, choice, message):
    with pytest.raises(ValueError, match=message):
        RadioMapSeer(variants_root, "all", RadioMapOptions(**choice))


@pytest.mark.parametrize(
    ("choice", "folder"),
    [
        ({"simulation": "IRT2"}, "gain/IRT2"),
        ({"simulation": "mix"}, "gain/IRT2"),
        ({"missing_buildings": 3}, "png/buildings_missing3/1"),
        ({"cars": True}, "gain/carsDPM"),
    ],
)
def test_missing_folder_of_a_variant_is_named(dataset_root, choice, folder):
    with pytest.raises(DatasetError, match=f"no folder .*{folder}"):
        RadioMapSeer(dataset_root, "train", RadioMapOptions(**choice))


@pytest.mark.parametrize(
    ("file", "choice"),
    [
        ("png/cars/103.png", {"cars": True}),
        ("gain/IRT2/103_0.png", {"simulation": "mix"}),
        ("png/buildings_complete/103.png", {}),
    ],
)
def test_image_of_another_size_is_named(variants_root, file, choice):
    Image.fromarray(np.zeros((16, 32), np.uint8)).save(variants_root / file)
    dataset = RadioMapSeer(variants_root, "all", RadioMapOptions(**choice))
    for _ in range(2):  # a kept image is looked at again
        with pytest.raises(DatasetError, match=rf"{file} is \(16, 32\)"):
            dataset[0]


@pytest.mark.skipif(not REAL.is_dir(), reason=f"needs the real RadioMapSeer sample at {REAL}")
def test_real_radiomapseer():
    """Seven real maps: the transmitter is where the gain peaks, and line of sight obeys the law."""
    dataset = RadioMapSeer(REAL, "all")
    assert len(dataset) == 7
    for sample in dataset:
        assert sample.radio_map.shape == (1, 256, 256)
        place = np.array(divmod(int(sample.condition[1].argmax()), 256))
        peak = np.array(divmod(int(sample.radio_map[0].argmax()), 256))
        assert abs(place - peak).max() <= 1, sample.name
    sample = dataset[0]
    row, col = divmod(int(sample.radio_map[0].argmax()), 256)
    gain_db = units.model_to_path_gain_db(sample.radio_map[0]).numpy()
    distances = np.arange(5, 12)
    law = units.line_of_sight_gain_db(distances)
    assert gain_db[row, col + distances] == pytest.approx(law, abs=0.5)
