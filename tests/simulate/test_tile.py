"""What both engines do with the buildings of a tile and with bad requests."""

import numpy as np
import pytest
import shapely

from radiodiff.simulate import DominantPath, RayTracing, rasterize

from .conftest import make_tile

#: Each engine with the options of its ``path_gain_db``.
ENGINES = pytest.mark.parametrize(
    ("build", "options"),
    [(DominantPath, {}), (RayTracing, {"interactions": 2})],
    ids=["dominant_path", "ray_tracing"],
)


@ENGINES
@pytest.mark.parametrize(
    ("matrix", "turn_map"),
    [
        ([-1, 0, 0, 1, 192, 0], lambda gain: gain[:, ::-1]),
        ([0, -1, 1, 0, 192, 0], np.rot90),
    ],
    ids=["mirror", "rotate"],
)
def test_mirror_and_rotation(build, options, matrix, turn_map):
    buildings, engine, positions = make_tile("florence", seed=4, build=build)
    turned = [shapely.affinity.affine_transform(b, matrix) for b in buildings]
    other = build(turned, 96, 2.0)
    tolerance_db = 1e-9 if build is DominantPath else 1e-6
    for position in positions:
        point = shapely.affinity.affine_transform(shapely.Point(position), matrix)
        expected = turn_map(engine.path_gain_db(position, **options))
        gain = other.path_gain_db((point.x, point.y), **options)
        np.testing.assert_allclose(gain, expected, atol=tolerance_db)


@ENGINES
def test_nan_exactly_in_buildings(build, options):
    buildings, engine, positions = make_tile("paris", seed=6, build=build)
    np.testing.assert_array_equal(engine.building_mask, rasterize(buildings, 96, 2.0))
    for position in positions:
        gain = engine.path_gain_db(position, **options)
        assert gain.dtype == np.float64
        np.testing.assert_array_equal(np.isnan(gain), engine.building_mask)


def test_overlaps_are_merged_and_overhangs_clipped():
    overlapping = [shapely.box(20, 20, 40, 30), shapely.box(30, 25, 70, 45)]
    merged = [shapely.union_all(overlapping).intersection(shapely.box(0, 0, 64, 64))]
    one = DominantPath(overlapping, 64, 1.0).path_gain_db((10.5, 40.5))
    np.testing.assert_array_equal(one, DominantPath(merged, 64, 1.0).path_gain_db((10.5, 40.5)))


@ENGINES
@pytest.mark.parametrize(
    ("position", "message"),
    [
        ((30.0, 30.0), "outdoors"),
        ((20.0, 30.0), "outdoors"),
        ((-1.0, 5.0), "between 0 and 64"),
        ((5.0, 64.5), "between 0 and 64"),
        ((float("nan"), 5.0), "between 0 and 64"),
    ],
)
def test_bad_transmitters(build, options, position, message):
    engine = build([shapely.box(20, 20, 40, 40)], 64, 1.0)
    with pytest.raises(ValueError, match=message):
        engine.path_gain_db(position, **options)


@ENGINES
def test_bad_raster(build, options):
    with pytest.raises(ValueError, match="size >= 1"):
        build([], 0, 1.0)
    with pytest.raises(ValueError, match="cell_size_m > 0"):
        build([], 64, 0.0)
