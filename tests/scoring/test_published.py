"""Published numbers: cited, plausible, and never taken for ours."""

import re

import pytest

from radiodiff.scoring.protocols import PROTOCOLS, fingerprint, likely_scale
from radiodiff.scoring.published import PUBLISHED, SURE, format_published

from ..test_repository import ROOT


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row.method}-{row.key}-{row.maps}")
def test_row_is_cited_and_plausible(row):
    keys = re.findall(
        r"^@\w+\{([\w-]+),", (ROOT / "book/references.bib").read_text(encoding="utf-8"), re.M
    )
    assert row.key in keys
    assert row.protocol in PROTOCOLS
    assert row.sure in SURE
    assert 0 < row.nmse < row.rmse < 0.05
    assert row.ssim is None or 0.9 < row.ssim < 1
    # NMSE, RMSE and PSNR hang together: PSNR with range 1 is -20 log10 RMSE, within the averaging.
    assert row.psnr_db is None or 28 < row.psnr_db < 41


def test_fingerprints_tell_the_tables_apart():
    """RadioUNet, RMDM and RadioFlow are on the thresholded scale, RadioDiff's table is not."""
    scales = {}
    for row in PUBLISHED:
        scale = likely_scale(fingerprint(nmse=row.nmse, rmse=row.rmse))
        scales.setdefault(row.key, set()).add(scale)
    assert scales["jia2025rmdm"] == scales["jia2025radioflow"] == {"thresholded"}
    assert "thresholded" not in scales["wang2025radiodiff"]
    thresholded = {row.key for row in PUBLISHED if PROTOCOLS[row.protocol].scale == "thresholded"}
    assert thresholded == {"levie2021radiounet", "jia2025rmdm", "jia2025radioflow"}


def test_table_shows_every_row_and_what_sure_means():
    lines = format_published().splitlines()
    sources = list(dict.fromkeys(row.key for row in PUBLISHED))
    assert len(lines) == 1 + len(sources) + len(PUBLISHED) + len(SURE)
    for row in PUBLISHED:
        (line,) = (line for line in lines if f"{row.nmse:.4f}{row.rmse:>8.4f}" in line)
        assert row.method in line
        assert line.endswith(row.sure)
    assert [line.split(",")[0] for line in lines if "protocol" in line] == sources
