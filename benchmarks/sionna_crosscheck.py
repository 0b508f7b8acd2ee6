"""Compare reflections of our ray tracing with those of Sionna RT, an independent code.

    .venv/bin/python -m benchmarks.sionna_crosscheck --out sionna.json

It needs sionna-rt 2.2 (``pip install sionna-rt``) and a shared library of LLVM 17 or newer, which
on Debian is the package libllvm19; DRJIT_LIBLLVM_PATH names the library if it is not found.
Without sionna-rt the script says so and ends well.

Sionna's maps count rays that pierce a plane. Rays of an antenna in that plane never do, so its
transmitter is lifted by ``LIFT_M``, walls reach above it and roofs and ground are left out. The
direct path is left out on both sides, and so is diffraction, which Sionna does not mix with
reflections.
"""

import argparse
import importlib.util
import time
from typing import Any

import numpy as np
from scipy import ndimage

from benchmarks.common import Row, make_parser, make_report, provenance, publish
from radiodiff.simulate import (
    CITY_NAMES,
    RayTracing,
    RayTracingConstants,
    city_tile,
    place_transmitters,
)
from radiodiff.units import CARRIER_HZ, NOISE_THRESHOLD_DB, cell_to_m

#: Height of Sionna's transmitter above the plane of the map [m].
LIFT_M = 10.0
#: Height of the plane of the map [m].
PLANE_M = 1.5
#: Cells nearer than this to the transmitter feel that it was lifted [m].
MIN_DISTANCE_M = 30.0
#: Cells nearer than this to a wall are partly built [m].
WALL_DISTANCE_M = 1.5


def sionna_scene(walls: np.ndarray) -> Any:
    """Return a Sionna scene of upright walls of concrete.

    Args:
        walls: Segments ``(x_0, y_0, x_1, y_1)`` [m], shape ``(walls, 4)``.
    """
    import mitsuba as mi
    import sionna.rt as rt

    scene = rt.load_scene()
    scene.frequency = CARRIER_HZ
    scene.tx_array = rt.PlanarArray(num_rows=1, num_cols=1, pattern="iso", polarization="V")
    scene.rx_array = scene.tx_array
    count = len(walls)
    top_m = PLANE_M + LIFT_M + 2
    corners = np.repeat(walls.reshape(-1, 2, 2), 2, axis=1)  # begin twice, end twice
    heights = np.broadcast_to([[0.0], [top_m], [0.0], [top_m]], (count, 4, 1))
    vertices = np.concatenate([corners, heights], axis=2)
    faces = 4 * np.arange(count)[:, None, None] + np.array([[0, 2, 3], [0, 3, 1]])
    mesh = mi.Mesh("walls", vertex_count=4 * count, face_count=2 * count)
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = mi.Float(vertices.ravel())
    parameters["faces"] = mi.UInt32(faces.ravel())
    parameters.update()
    material = rt.ITURadioMaterial("walls-material", "concrete", thickness=0.5)
    scene.edit(add=[rt.SceneObject(mi_mesh=mesh, name="walls", radio_material=material)])
    return scene


def sionna_map(
    scene: Any, transmitter_m: tuple[float, float], size: int, reflections: int, samples: int
) -> np.ndarray:
    """Return Sionna's power gain over reflected paths [1], shape ``(size, size)``, cells of 1 m."""
    import mitsuba as mi
    import sionna.rt as rt

    scene.add(rt.Transmitter("transmitter", [*map(float, transmitter_m), PLANE_M + LIFT_M]))
    radio_map = rt.RadioMapSolver()(
        scene,
        center=mi.Point3f(size / 2, size / 2, PLANE_M),
        orientation=mi.Point3f(0, 0, 0),
        size=mi.Point2f(size, size),
        cell_size=mi.Point2f(1, 1),
        samples_per_tx=samples,
        max_depth=reflections,
        los=False,
        specular_reflection=True,
        diffuse_reflection=False,
        refraction=False,
        diffraction=False,
    )
    gain = np.array(radio_map.path_gain.numpy()[0, ::-1], np.float64)
    scene.remove("transmitter")
    return gain


def compare(arguments: argparse.Namespace) -> list[Row]:
    """Return times and differences [dB] of both codes, one row per map."""
    rows = []
    size = arguments.size
    RayTracing([], 8, 1.0).path_gain_db((4.0, 4.0), interactions=1)  # compile
    for city in arguments.cities:
        rng = np.random.default_rng(arguments.seed)
        buildings = city_tile(city, rng, float(size))
        engine = RayTracing(
            buildings, size, 1.0, RayTracingConstants(interaction_model="theory", corners=0)
        )
        scene = sionna_scene(engine._scene.grid.walls)
        is_clear = ndimage.distance_transform_edt(~engine.building_mask) > WALL_DISTANCE_M + 0.5
        for cell in place_transmitters(engine.building_mask, arguments.transmitters, rng):
            position = cell_to_m(cell, size=size, cell_size_m=1.0)
            began = time.process_time()
            ours = reflected_gain(engine, position, arguments.reflections)
            ours_s = time.process_time() - began
            began = time.process_time()
            theirs = sionna_map(scene, position, size, arguments.reflections, arguments.samples)
            theirs_s = time.process_time() - began
            cell = [int(index) for index in cell]
            rows.append(
                Row(
                    name=f"{city}, transmitter in cell {cell[0]}, {cell[1]}",
                    what="CPU time of the reflections of one map",
                    unit="s",
                    ours=round(ours_s, 3),
                    peer=round(theirs_s, 3),
                    peer_name="Sionna RT",
                    details={
                        "city": city,
                        "transmitter_cell": cell,
                        **differences(ours, theirs, is_clear, cell),
                    },
                )
            )
    return rows


def reflected_gain(
    engine: RayTracing, position: tuple[float, float], reflections: int
) -> np.ndarray:
    """Return our power gain over reflected paths [1], shape ``(size, size)``."""
    direct, total = (
        10 ** (engine.path_gain_db(position, interactions=r) / 10) for r in (0, reflections)
    )
    return np.nan_to_num(total - direct)


def differences(
    ours: np.ndarray, theirs: np.ndarray, is_clear: np.ndarray, cell: list[int]
) -> dict[str, Any]:
    """Return how two maps of power gain [1] differ.

    Args:
        ours: Ours, shape ``(size, size)``.
        theirs: Theirs, shape ``(size, size)``.
        is_clear: Cells that no wall is near, shape ``(size, size)``.
        cell: Row and column of the transmitter.
    """
    rows, cols = np.indices(ours.shape)
    distance_m = np.hypot(rows - cell[0], cols - cell[1])
    noise = 10 ** (NOISE_THRESHOLD_DB / 10)
    compared = is_clear & (distance_m > MIN_DISTANCE_M)
    heard_by_both = compared & (ours > noise) & (theirs > noise)
    heard_by_one = compared & ((ours > noise) != (theirs > noise))
    error_db = 10 * np.log10(ours[heard_by_both] / theirs[heard_by_both])
    total_db = 10 * np.log10(ours[compared].sum() / theirs[compared].sum())
    return {
        "cells": int(heard_by_both.sum()),
        "cells_heard_by_one": int(heard_by_one.sum()),
        "median_db": round(float(np.median(error_db)), 3),
        "mean_absolute_error_db": round(float(np.abs(error_db).mean()), 3),
        "total_power_db": round(float(total_db), 3),
    }


def main() -> None:
    """Compare both codes on tiles of several cities and publish."""
    parser = make_parser(__doc__)
    parser.add_argument("--cities", nargs="+", default=["munich", "san_francisco", "procedural"])
    parser.add_argument("--transmitters", type=int, default=2, help="maps per tile")
    parser.add_argument("--size", type=int, default=256, help="side of a tile [m]")
    parser.add_argument("--reflections", type=int, default=4)
    parser.add_argument("--samples", type=int, default=50_000_000, help="Sionna's rays per map")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if unknown := set(arguments.cities) - set(CITY_NAMES):
        parser.error(f"expected cities among {', '.join(CITY_NAMES)}, got {', '.join(unknown)}")
    if importlib.util.find_spec("sionna") is None:
        print("sionna-rt is not installed: nothing compared; get it with: pip install sionna-rt")
        return
    made = provenance("numba", "sionna-rt", "drjit")
    rows = compare(arguments)
    details = {
        "median_db": round(float(np.median([row.details["median_db"] for row in rows])), 3),
        "mean_absolute_error_db": round(
            float(np.mean([row.details["mean_absolute_error_db"] for row in rows])), 3
        ),
    }
    report = make_report(
        "sionna_crosscheck",
        "reflections of our ray tracing against those of Sionna RT",
        rows,
        made=made,
        parameters={key: value for key, value in vars(arguments).items() if key != "out"},
        details=details,
    )
    publish(report, arguments.out)


if __name__ == "__main__":
    main()
