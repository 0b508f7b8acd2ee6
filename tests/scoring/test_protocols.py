"""Protocols: every rule against a formula written out, and numbers that refuse to be mixed."""

import re

import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import peak_signal_noise_ratio as tm_psnr
from torchmetrics.functional.image import structural_similarity_index_measure

from radiodiff import units
from radiodiff.data import RadioMapSeer
from radiodiff.scoring.protocols import (
    NMSE_RULES,
    PROTOCOLS,
    MapSums,
    Protocol,
    Score,
    fingerprint,
    likely_scale,
    map_sums,
    read_score,
    reduce_sums,
)
from radiodiff.simulate import simulate_dataset

SPAN_DB = units.PEAK_DB - units.FLOOR_DB


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    """Simulated gray levels of three tiles, and a prediction: blurred, with noise, as in a file."""
    root = simulate_dataset(
        tmp_path_factory.mktemp("data") / "sim",
        maps=3,
        transmitters=2,
        size=64,
        cell_size_m=2.0,
        seed=3,
    )
    samples = list(RadioMapSeer(root, "train"))
    target = torch.stack([units.model_to_gray(s.radio_map.double()) for s in samples])
    outdoor = torch.stack([s.outdoor_mask for s in samples])
    noise = np.random.default_rng(0).normal(0, 0.01, target.shape)
    blurred = ndimage.gaussian_filter(target.numpy(), (0, 0, 1, 1)) + noise
    prediction = torch.from_numpy(np.rint(255 * blurred.clip(0, 1)) / 255)
    return prediction, target, outdoor, [s.name.split("_")[0] for s in samples]


def numbers(maps, protocol):
    prediction, target, outdoor, tiles = maps
    found = reduce_sums(map_sums(prediction, target, outdoor, protocol), tiles, protocol)
    return {name: values[0] for name, values in found.items()}


def hand_written(rule, p, g, outdoor):
    """NMSE and RMSE of each rule as a reader would write it; arrays of shape (n, h, w)."""
    thresholded = [np.clip((x - 0.2) / 0.8, 0, 1) for x in (p, g)]
    decibels = [-147 + 99.16 * x for x in (p, g)]
    power = [10 ** (x / 10) for x in decibels]
    pixels = [np.rint(255 * x).astype(np.uint8) for x in (p, g)]

    def of_sums(p, g):
        return ((p - g) ** 2).sum() / (g**2).sum(), np.sqrt(((p - g) ** 2).mean())

    def of_maps(p, g):
        error, square = ((p - g) ** 2).mean((1, 2)), (g**2).mean((1, 2))
        return (error / square).mean(), np.sqrt(error).mean()

    return {
        "gray, all cells, ratio of sums": lambda: of_sums(p, g),
        "gray, all cells, mean of ratios": lambda: of_maps(p, g),
        "gray, outdoors, ratio of sums": lambda: of_sums(p[outdoor], g[outdoor]),
        "thresholded, ratio of sums": lambda: of_sums(*thresholded),
        "thresholded, mean of ratios": lambda: of_maps(*thresholded),
        "decibels in the ratio": lambda: of_sums(*decibels),
        "linear power": lambda: of_sums(*power),
        "8-bit arithmetic that wraps": lambda: (
            ((pixels[0] - pixels[1]) ** 2).mean() / (pixels[1] ** 2).mean(),
            np.sqrt(((pixels[0] - pixels[1]) ** 2).mean()),
        ),
    }[rule]()


@pytest.mark.parametrize("rule", NMSE_RULES, ids=lambda rule: rule.name)
def test_rule_is_the_formula(maps, rule):
    """Eqs. ``nmse`` and ``rmse`` under every rule, on simulated maps."""
    p, g, outdoor = (x[:, 0].numpy() for x in maps[:3])
    nmse, rmse = hand_written(rule.name, p, g, outdoor)
    found = numbers(maps, rule)
    assert found["nmse"] == pytest.approx(nmse, rel=1e-9)
    assert found["rmse"] == pytest.approx(rmse, rel=1e-9)


def test_rules_disagree_about_one_prediction(maps):
    """The reason for all this: the largest NMSE is more than a hundred times the smallest."""
    values = [numbers(maps, rule)["nmse"] for rule in NMSE_RULES]
    assert len({round(value, 6) for value in values}) == len(values)
    assert max(values) > 100 * min(values)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_zero_map_has_nmse_one(maps, name):
    """Eq. ``nmse``."""
    _, target, outdoor, tiles = maps
    protocol = PROTOCOLS[name]
    found = reduce_sums(map_sums(0 * target, target, outdoor, protocol), tiles, protocol)
    assert found["nmse"][0] == pytest.approx(1)


def test_constant_error():
    """Eqs. ``rmse`` and ``psnr``: 0.1 everywhere is RMSE 0.1 and 20 dB; no error, infinite PSNR."""
    rule = Protocol("plain", "gray")
    target = torch.rand(3, 1, 24, 31, generator=torch.Generator().manual_seed(0)).double() * 0.9
    outdoor = torch.ones_like(target).bool()
    for k in range(3):
        one = target[k : k + 1], outdoor[k : k + 1], ["0"]
        found = numbers((one[0] + 0.1, *one), rule)
        assert (found["rmse"], found["psnr_db"]) == pytest.approx((0.1, 20))
        assert numbers((one[0], *one), rule)["psnr_db"] == np.inf


def test_psnr_agrees_with_torchmetrics_map_by_map(maps):
    """Eq. ``psnr``; a map alone has the value it has among others."""
    prediction, target, outdoor, tiles = maps
    rule = Protocol("plain", "gray")
    together = map_sums(prediction, target, outdoor, rule)
    for k in range(len(tiles)):
        alone = map_sums(*(x[k : k + 1] for x in (prediction, target, outdoor)), rule)
        assert all(torch.allclose(a[0], b[k]) for a, b in zip(alone, together, strict=True))
        found = reduce_sums(alone, tiles[k : k + 1], rule)["psnr_db"][0]
        expected = tm_psnr(prediction[k], target[k], data_range=1.0)
        assert found == pytest.approx(expected.item(), abs=1e-4)


def test_radiodiff_against_torchmetrics(maps):
    """Batches of one: mean of ratios, of roots, and SSIM with the range of the data."""
    prediction, target, _, _ = maps
    similar = [
        structural_similarity_index_measure(p[None], g[None]).item()
        for p, g in zip(prediction, target, strict=True)
    ]
    span = target.flatten(1).amax(1) - target.flatten(1).amin(1)
    psnr = 10 * torch.log10(span**2 / (prediction - target).square().flatten(1).mean(1))
    found = numbers(maps, PROTOCOLS["radiodiff"])
    assert found["ssim"] == pytest.approx(np.mean(similar), abs=1e-6)
    assert found["psnr_db"] == pytest.approx(psnr.mean().item())
    assert found["rmse_db"] == pytest.approx(SPAN_DB * found["rmse"])


def test_rmdm_against_scikit_image(maps):
    """Eqs. ``ssim`` and ``psnr``, map by map on RadioUNet's scale."""
    prediction, target, _, _ = (
        (x - 0.2).clamp_min(0) / 0.8 if torch.is_tensor(x) and x.is_floating_point() else x
        for x in maps
    )
    pairs = list(zip(target[:, 0].numpy(), prediction[:, 0].numpy(), strict=True))
    spans = [g.max() - g.min() for g, _ in pairs]
    similar = [
        structural_similarity(g, p, data_range=r) for (g, p), r in zip(pairs, spans, strict=True)
    ]
    psnr = [
        peak_signal_noise_ratio(g, p, data_range=r) for (g, p), r in zip(pairs, spans, strict=True)
    ]
    found = numbers(maps, PROTOCOLS["rmdm"])
    assert found["ssim"] == pytest.approx(np.mean(similar))
    assert found["psnr_db"] == pytest.approx(np.mean(psnr))
    assert found["rmse_db"] == pytest.approx(0.8 * SPAN_DB * found["rmse"])


def test_radioflow_averages_over_batches_of_64():
    """66 maps are two batches; the second, of two maps, counts by its maps."""
    generator = torch.Generator().manual_seed(0)
    target = torch.rand(66, 1, 16, 16, generator=generator, dtype=torch.float64)
    prediction = (target + 0.1 * torch.randn(target.shape, generator=generator)).clamp(0, 1)
    protocol = PROTOCOLS["radioflow"]
    maps = prediction, target, torch.ones_like(target).bool(), ["0"] * 66
    p, g = ((x - 0.2).clamp_min(0) / 0.8 for x in (prediction, target))
    parts = [(p[:64], g[:64]), (p[64:], g[64:])]
    nmse = [((a - b) ** 2).sum() / (b**2).sum() for a, b in parts]
    mse = [((a - b) ** 2).mean() for a, b in parts]
    found = numbers(maps, protocol)
    assert found["nmse"] == pytest.approx(float(64 * nmse[0] + 2 * nmse[1]) / 66)
    assert found["rmse"] == pytest.approx(float(64 * mse[0] ** 0.5 + 2 * mse[1] ** 0.5) / 66)
    psnr = [-10 * torch.log10(x) for x in mse]
    assert found["psnr_db"] == pytest.approx(float(64 * psnr[0] + 2 * psnr[1]) / 66)
    padded = [
        structural_similarity_index_measure(
            torch.nn.functional.pad(a[None], (10,) * 4),
            torch.nn.functional.pad(b[None], (10,) * 4),
            data_range=1.0,
            return_full_image=True,
        )[1][..., 10:-10, 10:-10].mean()
        for a, b in zip(p, g, strict=True)
    ]
    assert found["ssim"] == pytest.approx(float(torch.stack(padded).mean()), abs=1e-6)


def test_city_looks_at_streets_in_decibels(maps):
    """Values in buildings change nothing; tiles count alike; the NMSE is a ratio of sums."""
    prediction, target, outdoor, tiles = maps
    vandal = prediction.masked_fill(~outdoor, 0.9)
    found = numbers(maps, PROTOCOLS["city"])
    assert numbers((vandal, target, outdoor, tiles), PROTOCOLS["city"]) == found
    errors = [
        SPAN_DB * (p[m] - g[m]).square().mean().sqrt().item()
        for p, g, m in zip(prediction, target, outdoor, strict=True)
    ]
    assert [tiles[k] for k in (0, 2, 4)] == list(dict.fromkeys(tiles))
    assert found["rmse_db"] == pytest.approx(np.mean(errors))
    assert found["nmse"] == pytest.approx(
        float((prediction - target)[outdoor].square().sum() / target[outdoor].square().sum())
    )


def test_intervals_resample_tiles(maps):
    """One tile twice holds no more than once; without a tile of its own no interval exists."""
    prediction, target, outdoor, tiles = maps
    city = PROTOCOLS["city"]
    sums = map_sums(prediction, target, outdoor, city)
    draws = reduce_sums(sums, tiles, city, resamples=500, rng=np.random.default_rng(0))
    assert len(draws["nmse"]) == 501
    assert len(set(draws["rmse_db"].round(9))) <= 10  # multisets of three tiles
    single = reduce_sums(sums, ["0"] * 6, city, resamples=20, rng=np.random.default_rng(0))
    assert np.ptp(single["rmse_db"]) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="protocol radiodiff has no intervals"):
        reduce_sums(sums, tiles, PROTOCOLS["radiodiff"], resamples=5)


def test_impossible_input_is_refused(maps):
    prediction, target, outdoor, tiles = maps
    with pytest.raises(ValueError, match="share one shape"):
        map_sums(prediction[:1], target, outdoor, PROTOCOLS["city"])
    dark = map_sums(prediction, 0 * target, outdoor, PROTOCOLS["radiounet"])
    with pytest.raises(ValueError, match="zero everywhere"):
        reduce_sums(dark, tiles, PROTOCOLS["radiounet"])
    with pytest.raises(ValueError, match="a tile for each"):
        reduce_sums(MapSums(*(x[:0] for x in dark)), [], PROTOCOLS["radiounet"])


def test_fingerprint_is_the_mean_square_of_the_targets(maps):
    """Exact for a ratio of sums, whatever the prediction."""
    for name, scale in (
        ("gray, all cells, ratio of sums", "gray"),
        ("thresholded, ratio of sums", ""),
    ):
        rule = next(rule for rule in NMSE_RULES if rule.name == name)
        found = numbers(maps, rule)
        g = maps[1] if scale == "gray" else (maps[1] - 0.2).clamp_min(0) / 0.8
        implied = fingerprint(nmse=found["nmse"], rmse=found["rmse"])
        assert implied == pytest.approx(g.square().mean().item())
    with pytest.raises(ValueError, match="positive errors"):
        fingerprint(nmse=0, rmse=0.1)


def test_fingerprint_of_published_pairs():
    """RadioUNet's pair is thresholded; RadioDiff's is on another scale."""
    assert likely_scale(fingerprint(nmse=0.0075, rmse=0.0200)) == "thresholded"
    assert likely_scale(fingerprint(nmse=0.0115, rmse=0.0303)) == "neither"
    assert likely_scale(0.103) == "gray"


def test_numbers_of_two_protocols_cannot_be_compared():
    mine = Score(8.9, "rmse_db", "city", "florence", 8.4, 9.4)
    worse = Score(9.9, "rmse_db", "city", "florence")
    assert mine < worse
    assert worse >= mine
    assert worse - mine == pytest.approx(1)
    for other in (
        Score(0.02, "rmse_db", "radiodiff", "florence"),
        Score(0.02, "nmse", "city", "florence"),
        Score(7.0, "rmse_db", "city", "paris"),
    ):
        for compare in ("__lt__", "__le__", "__gt__", "__ge__", "__sub__"):
            with pytest.raises(ValueError, match=r"cannot compare rmse_db 8\.9"):
                getattr(mine, compare)(other)
    with pytest.raises(TypeError, match="expected a Score, got float"):
        _ = mine < 9.0
    assert str(mine) == "rmse_db 8.9 [8.4, 9.4] (city)"


def test_scores_are_read_by_name():
    stored = {
        "judged": "florence",
        "protocols": {"city": {"scores": {"model": {"nmse": {"value": 0.1, "low": 0, "high": 1}}}}},
    }
    assert read_score(stored, "model", "nmse") == Score(0.1, "nmse", "city", "florence", 0, 1)
    with pytest.raises(KeyError, match="no method 'modle': there are model"):
        read_score(stored, "modle", "nmse")
    with pytest.raises(KeyError, match="no protocol 'rmdm': there are city"):
        read_score(stored, "model", "nmse", protocol="rmdm")


@pytest.mark.parametrize("protocol", [*PROTOCOLS.values(), *NMSE_RULES], ids=lambda p: p.name)
def test_protocol_says_what_it_means(protocol: Protocol):
    text = str(protocol)
    assert text.startswith(f"Protocol {protocol.name}: ")
    assert not re.search(r"\bNone\b|[{}]", text)
    assert protocol.source or protocol in NMSE_RULES
