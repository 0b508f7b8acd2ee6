"""Files are those that ``SHA256SUMS`` lists, or are named."""

import hashlib

import numpy as np
from PIL import Image

from radiodiff.data import check_digests

from .conftest import GAIN, check, faults, missing


def write_digests(root):
    files = sorted(p for p in root.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = [
        f"{hashlib.sha256(p.read_bytes()).hexdigest()}  {p.relative_to(root).as_posix()}\n"
        for p in files
    ]
    (root / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")
    return len(files)


def test_digests(root):
    assert check_digests(root) is None
    count = write_digests(root)
    assert check_digests(root) == {"listed": count, "checked": count, "faults": [], "missing": []}
    assert check(root)["verdict"] == "sound"

    image = np.array(Image.open(root / GAIN))
    image[0, 0] ^= 1
    Image.fromarray(image).save(root / GAIN)  # in order but for its content
    report = check(root)
    assert report["verdict"] == "broken"
    assert faults(report) == {GAIN: "is not the file that SHA256SUMS lists"}
    (root / "polygon/buildings_complete/0.json").unlink()
    row = missing(check(root))["SHA256SUMS"]
    assert row["first"] == ["polygon/buildings_complete/0.json"]
    with (root / "SHA256SUMS").open("a", encoding="utf-8") as file:
        file.write(f"{'0' * 64}  ../outside\nnonsense\n")
    told = [row["fault"] for row in check(root)["faults"] if row["file"] == "SHA256SUMS"]
    assert told == [f"line {count + n} is no digest and path" for n in (1, 2)]
