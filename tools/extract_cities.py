"""Make ``radiodiff/simulate/cities.npz`` from the city scenes in the sionna-rt wheel.

A maintainer runs this once; the result is part of the package. The wheel is read as a zip file:
neither sionna-rt nor its dependencies are installed or imported.

    python tools/extract_cities.py                      # downloads the wheel with pip
    python tools/extract_cities.py --wheel sionna_rt-2.2.0-py3-none-any.whl

The same wheel gives the same bytes. Terms of the outlines: ``radiodiff/simulate/CITIES.md``.
"""

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

REQUIREMENT = "sionna-rt==2.2.0"
#: Folder of the scene in the wheel for each of our city names.
SCENES = {
    "munich": "munich",
    "florence": "florence",
    "san_francisco": "san_francisco",
    "paris": "etoile",
}
#: Meshes that are no buildings.
GROUND = {"ground", "Plane", "Terrain"}
#: Coordinates are stored as whole multiples of this length [m].
UNIT_M = 0.1
#: Outlines keep every feature larger than this [m].
TOLERANCE_M = 0.15
#: Smaller polygons and holes are dropped [m^2].
MIN_AREA_M2 = 4.0

PLY_TYPES = {"float": "<f4", "double": "<f8", "int": "<i4", "uint": "<u4", "uchar": "u1"}


def download_wheel(folder: Path) -> Path:
    """Download the wheel with pip into ``folder`` and return its path."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    subprocess.run([*command, "--dest", str(folder), REQUIREMENT], check=True)
    return next(folder.glob("*.whl"))


def read_ply(data: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices (n, 3) and triangles (m, 3) of a little-endian binary PLY file.

    Args:
        data: The file; faces must be stored as a ``uchar`` count of 3 and three integers.

    Returns:
        Vertex positions [m], shape ``(n, 3)``, and vertex indices, shape ``(m, 3)``.

    Raises:
        ValueError: If the header or the face records have another form.
    """
    header, _, body = data.partition(b"end_header\n")
    lines = header.decode("ascii").split("\n")
    if "format binary_little_endian 1.0" not in lines:
        raise ValueError("expected a binary_little_endian PLY file")
    counts: dict[str, int] = {}
    vertex_fields: list[tuple[str, str]] = []
    face_type = ""
    for words in (line.split() for line in lines):
        if words[:1] == ["element"]:
            counts[words[1]] = int(words[2])
        elif words[:2] == ["property", "list"]:
            face_type = PLY_TYPES[words[3]]
        elif words[:1] == ["property"]:
            vertex_fields.append((words[2], PLY_TYPES[words[1]]))
    vertices = np.frombuffer(body, np.dtype(vertex_fields), counts["vertex"])
    face_dtype = np.dtype([("count", "u1"), ("index", face_type, 3)])
    faces = np.frombuffer(body, face_dtype, counts["face"], offset=vertices.nbytes)
    if (faces["count"] != 3).any():
        raise ValueError("expected triangles only")
    return np.stack([vertices[axis] for axis in "xyz"], axis=-1), faces["index"]


def footprint(triangles: np.ndarray) -> BaseGeometry:
    """Return the union of triangles, shape ``(m, 3, 2)`` [m]; vertical faces vanish."""
    edge_1, edge_2 = triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]
    double_area = edge_1[:, 0] * edge_2[:, 1] - edge_1[:, 1] * edge_2[:, 0]
    flat = shapely.polygons(triangles[np.abs(double_area) > 2e-4])
    return shapely.union_all(shapely.set_precision(flat, 0.01))


def city_outlines(wheel: zipfile.ZipFile, scene: str) -> list[shapely.Polygon]:
    """Return the building outlines of a scene [m], in a fixed order, centred on the origin."""
    folder = f"sionna/rt/scenes/{scene}/meshes/"
    names = sorted(n for n in wheel.namelist() if n.startswith(folder) and n.endswith(".ply"))
    footprints = []
    for name in names:
        if PurePosixPath(name).stem in GROUND:
            continue
        vertices, faces = read_ply(wheel.read(name))
        footprints.append(footprint(vertices[faces][:, :, :2].astype(np.float64)))
    city = shapely.union_all(footprints)
    x_min, y_min, x_max, y_max = city.bounds
    shift = np.round([(x_min + x_max) / 2, (y_min + y_max) / 2], 1)
    city = shapely.transform(city, lambda points: points - shift)
    # Close hairline gaps between neighbours, then thin the outlines and snap them to the unit.
    city = city.buffer(TOLERANCE_M, join_style="mitre").buffer(-TOLERANCE_M, join_style="mitre")
    city = shapely.set_precision(city.simplify(TOLERANCE_M), UNIT_M).normalize()
    return [without_small_holes(p) for p in city.geoms if p.area >= MIN_AREA_M2]


def without_small_holes(polygon: shapely.Polygon) -> shapely.Polygon:
    """Return the polygon without holes smaller than ``MIN_AREA_M2``."""
    holes = [r for r in polygon.interiors if shapely.Polygon(r).area >= MIN_AREA_M2]
    return shapely.Polygon(polygon.exterior, holes)


def pack(polygons: list[shapely.Polygon]) -> dict[str, np.ndarray]:
    """Return points, points per ring and rings per polygon (outline first) as integer arrays."""
    rings = [ring for p in polygons for ring in (p.exterior, *p.interiors)]
    points = np.concatenate([shapely.get_coordinates(ring)[:-1] for ring in rings])
    units = np.rint(points / UNIT_M)
    assert np.abs(units).max() < np.iinfo(np.int16).max
    return {
        "points": units.astype(np.int16),
        "ring_sizes": np.array([len(r.coords) - 1 for r in rings], np.uint16),
        "polygon_rings": np.array([1 + len(p.interiors) for p in polygons], np.uint16),
    }


def main() -> None:
    """Read the wheel, write the archive and print one line per city."""
    default_out = Path(__file__).resolve().parents[1] / "radiodiff" / "simulate" / "cities.npz"
    parser = argparse.ArgumentParser(description="Extract building outlines from sionna-rt.")
    parser.add_argument("--wheel", type=Path, help=f"wheel of {REQUIREMENT}; default: download")
    parser.add_argument("--out", type=Path, default=default_out, help="archive to write")
    arguments = parser.parse_args()
    arrays: dict[str, np.ndarray] = {"unit_m": np.array(UNIT_M)}
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.wheel or download_wheel(Path(folder))
        with zipfile.ZipFile(path) as wheel:
            for city, scene in SCENES.items():
                polygons = city_outlines(wheel, scene)
                packed = pack(polygons)
                arrays |= {f"{city}_{key}": value for key, value in packed.items()}
                hectares = sum(p.area for p in polygons) / 1e4
                print(
                    f"{city}: {len(polygons)} polygons, {len(packed['points'])} points, "
                    f"{hectares:.1f} ha"
                )
    np.savez_compressed(arguments.out, **arrays)
    print(f"{arguments.out}: {arguments.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
