"""The full-size networks under both profiles, against statistics of the public code.

Weights and inputs follow from names by a hash of 32 bits (below), so that a few numbers in
``golden.json`` hold for 300 million weights. The names are those of our own tables.

The public code's numbers are in single precision, whose rounding grows in the U-Net to parts in ten
thousand and depends on processor and library. So ours are in double precision, where all processors
agree to nine digits, and a bound is about what single precision cost the public code. Measured, as
largest distance from ours in double (relative for losses, in standard deviations for what is inside
the U-Net and for latents); single precision on an AMD EPYC with torch 2.13, with oneDNN, without
it, and with ``ONEDNN_MAX_CPU_ISA=SSE41``::

                          bound  | public code | ours in single precision
    condition encoder     2e-5   |   6e-6      |  4e-6    7e-6    3e-6
    time embedding        1e-5   |   3e-6      |  3e-6    3e-6    3e-6
    inside the U-Net      1e-3   |   2e-4      |  1e-4    1e-4    1e-4
    outputs               1e-3   |   5e-4      |  3e-4    3e-4    4e-4
    training loss, R24    1e-4   |   1.4e-5    |  1.4e-5  2.6e-5  3.5e-5
    training loss, R25    1e-4   |   8e-5      |  9e-5    8e-5    1.9e-4
    latents               1e-3   |   1.3e-4    |  2e-4    7e-5    1.6e-4
    autoencoder's losses  2e-5   |   6e-6      |  3e-6    3e-5    2.5e-5

Users have single precision. It is compared where rounding stays far below the bound: in the
autoencoder (4e-6 against 1e-4) and in the maps of whole runs (4e-5 against 1e-3).
"""

import hashlib
import json
import math
import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from radiodiff.config import Config
from radiodiff.data import split_maps
from radiodiff.losses import AutoencoderLossConfig, PerceptualLoss
from radiodiff.models import (
    AutoencoderConfig,
    AutoencoderKL,
    PatchDiscriminator,
    UNet,
    VGG16Features,
)
from radiodiff.predictors.pipeline import RadioDiffPipeline
from radiodiff.reference import (
    PROFILES,
    autoencoder_state_dict,
    reference_state_dict,
    unet_state_dict,
)
from tests.parity.networks import (
    autoencoder_task,
    perceptual_file,
    recording,
    run_pass,
    with_weights,
)

GOLDEN = json.loads((Path(__file__).parent / "golden.json").read_text(encoding="utf-8"))
SIZE, LATENT = (1, 3, 256, 256), (1, 3, 64, 64)


def uniform(name, shape):
    """Numbers in [-1, 1) that follow from a name."""
    x = np.arange(math.prod(shape), dtype=np.uint32) + np.uint32(zlib.crc32(name.encode()))
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x ^= x >> np.uint32(shift)
        x *= np.uint32(factor)
    x ^= x >> np.uint32(16)
    return (x / 2.0**31 - 1).reshape(shape)


def single(array):
    return torch.from_numpy(array.astype(np.float32))


def given(name, shape):
    return single(uniform(name, shape))


def normal(name, shape):
    """Normal numbers that follow from a name."""
    a = np.maximum((uniform(f"{name}#a", shape) + 1) / 2, 2.0**-32)
    b = (uniform(f"{name}#b", shape) + 1) / 2
    return single(np.sqrt(-2 * np.log(a)) * np.cos(2 * np.pi * b))


def weight(key, shape):
    """The weight of the public code's name."""
    u = uniform(key, shape)
    if ".perceptual_loss.lin" in key:
        return 10 * single((u + 1) / 2) / shape[1]
    if key.endswith("running_mean"):
        u = 0.1 * u
    elif key.endswith("running_var"):
        u = 1 + 0.3 * u
    elif key.endswith(("relative_position_bias_table", "complex_weight")):
        u = 0.5 * u
    elif key.endswith("time_mlp.0.W"):
        u = 16 * u
    elif key.endswith(".g") or (len(shape) == 1 and key.endswith(".weight")):
        u = 1 + 0.1 * u
    elif len(shape) == 1:
        u = 0.05 * u
    else:
        u = math.sqrt(3 * shape[0] / math.prod(shape)) * u
    return single(u)


def reference_weights(autoencoder, unet):
    """Weights of whole networks under the names that our tables give them."""
    with torch.device("meta"):
        networks = [AutoencoderKL(autoencoder), UNet(unet)]
    shapes = reference_state_dict(
        *(network.state_dict() for network in networks),
        {},
        autoencoder_config=autoencoder,
        unet_config=unet,
    )
    return {
        key: weight(key, tuple(value.shape))
        for key, value in shapes.items()
        if value.is_floating_point()
    }


def double(state):
    return {
        key: value.double() if value.is_floating_point() else value for key, value in state.items()
    }


def assert_statistics(values, expected, tolerance):
    """Shape, moments, extremes and single entries, each within an absolute tolerance."""
    assert list(values.shape) == expected["shape"]
    values = values.double()
    ours = {
        "mean": values.mean(),
        "std": values.std(correction=0),
        "min": values.min(),
        "max": values.max(),
        "l1": values.abs().mean(),
    }
    ours = {name: value.item() for name, value in ours.items()}
    assert ours == pytest.approx({name: expected[name] for name in ours}, abs=tolerance)
    entries = values.flatten()[expected["idx"]].tolist()
    assert entries == pytest.approx(expected["val"], abs=tolerance)


@pytest.fixture(scope="module")
def weights():
    """One set for both profiles: they share their layout."""
    weights = reference_weights(AutoencoderConfig(), PROFILES["R25"].network)
    first = weights["model.final_conv.weight"].flatten()[:3].tolist()
    assert first == pytest.approx([0.0926135, 0.1219140, -0.0931533], abs=1e-7)
    assert weights["model.time_mlp.0.W"][:2].tolist() == pytest.approx([9.6058798, 6.1885915])
    return weights


@pytest.fixture(scope="module")
def first_stage(weights):
    return with_weights(AutoencoderKL, AutoencoderConfig(), autoencoder_state_dict(weights))


@pytest.fixture(scope="module", params=PROFILES.values(), ids=PROFILES)
def profile(request):
    return request.param


@pytest.fixture(scope="module")
def unet(profile, weights):
    """In double precision."""
    return with_weights(UNet, profile.network, double(unet_state_dict(weights, profile.network)))


def make_pipeline(first_stage, unet, profile, steps):
    config = Config(
        name="golden",
        autoencoder_loss=AutoencoderLossConfig(perceptual_weight=0.0),
        network=profile.network,
        process=profile.process,
        sampler=replace(profile.sampler, steps=steps),
    )
    return RadioDiffPipeline(first_stage, unet, profile.process.scale, config)


def draws(steps):
    """Noise of the start and of each step."""
    names = ["sample:init", *(f"sample:eps{n}" for n in range(1, steps + 1))]
    return [normal(name, LATENT) for name in names]


def outputs(unet, profile, x_t, t, features):
    return profile.process.constant_sde.predict(unet(x_t, t, features), x_t, t)


@torch.no_grad()
@pytest.mark.slow
def test_autoencoder(first_stage):
    expected = GOLDEN["R24"]
    posterior = first_stage.encode(given("input:image", (1, 1, 256, 256)))
    assert_statistics(posterior.mean, expected["vae.posterior.mean"], 1e-4)
    assert_statistics(posterior.log_variance, expected["vae.posterior.logvar"], 1e-4)
    assert posterior.kl().item() == pytest.approx(expected["vae.posterior.kl"]["mean"], rel=1e-5)
    decoded = first_stage.decode(normal("input:z", LATENT))
    assert_statistics(decoded, expected["vae.decode(input:z)"], 1e-4)


@torch.no_grad()
@pytest.mark.slow
def test_condition_encoder_and_time(unet):
    expected = GOLDEN["R24"]  # the two profiles do not differ here
    for i, level in enumerate(unet.encode_condition(given("input:cond", SIZE).double())):
        assert_statistics(level, expected[f"swin.feat{i}"], 2e-5)
    (name,) = (name for name in expected if name.startswith("time_mlp"))
    embedded = unet.time_embedding(torch.tensor([0.5, 1, 1e-4, 0.123]).double())
    assert_statistics(embedded, expected[name], 1e-5)


@torch.no_grad()
@pytest.mark.slow
def test_unet(unet, profile):
    """Outputs at three times, and what the inner modules return at one of them."""
    expected = GOLDEN[profile.name]
    taps = dict(expected["unet.taps t=0.5"])
    x_t = normal("input:z", LATENT).double()
    features = unet.encode_condition(given("input:cond", SIZE).double())
    for time in (1.0, 0.5, 1e-4):
        with recording(unet, taps if time == 0.5 else ()) as seen:
            drift, noise = outputs(unet, profile, x_t, torch.tensor([time]).double(), features)
        assert_statistics(drift, expected[f"unet.C t={time}"], 1e-3)
        assert_statistics(noise, expected[f"unet.noise t={time}"], 1e-3)
        for path, output in seen.items():
            statistics = taps.pop(path)
            assert_statistics(output, statistics, 1e-3 * max(1, statistics["std"]))
    assert not taps


@torch.no_grad()
@pytest.mark.slow
def test_training_loss(unet, profile):
    x_0 = (0.3 * normal("input:x0", (2, *LATENT[1:]))).double()
    noise = normal("input:noise", x_0.shape).double()
    t = torch.tensor([0.3, 0.8]).double()
    x_t = (1 - t).view(-1, 1, 1, 1) * x_0 + t.sqrt().view(-1, 1, 1, 1) * noise
    features = unet.encode_condition(given("input:cond2", (2, *SIZE[1:])).double())
    prediction = outputs(unet, profile, x_t, t, features)
    loss = profile.process.constant_sde.regression_loss(prediction, x_0, noise, t).mean()
    expected = GOLDEN[profile.name]["p_losses"]["train/loss_simple"]
    assert loss.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 3])
def test_sampling(first_stage, unet, profile, steps):
    """Latents after a few steps, the condition encoded once."""
    pipeline = make_pipeline(first_stage, unet, profile, steps)
    calls = []
    handles = [
        module.register_forward_hook(lambda module, *_: calls.append(module))
        for module in (unet, unet.condition_encoder)
    ]
    noise = [draw.double() for draw in draws(steps)]
    x_0 = pipeline.latents(given("input:cond", SIZE).double(), noise=noise)
    for handle in handles:
        handle.remove()
    latent = GOLDEN[profile.name][f"sample_fn latent N={steps} denoise"]
    assert_statistics(x_0, latent, 1e-3 * latent["std"])
    assert calls.count(unet) == latent["nfe"] == steps + 1
    assert calls.count(unet.condition_encoder) == 1


@pytest.mark.slow
def test_maps_in_single_precision(first_stage, weights, profile):
    """All maps that the public code drew, as a user draws them."""
    unet = with_weights(UNet, profile.network, unet_state_dict(weights, profile.network))
    pattern = re.compile(r"sample image N=(\d+)")
    images = {int(m[1]): v for k, v in GOLDEN[profile.name].items() if (m := pattern.fullmatch(k))}
    assert images
    for steps, expected in images.items():
        pipeline = make_pipeline(first_stage, unet, profile, steps)
        x_0 = pipeline.latents(given("input:cond", SIZE), noise=draws(steps))
        assert_statistics((pipeline.space.radio_maps(x_0) + 1) / 2, expected, 1e-3)


@pytest.mark.slow
def test_autoencoder_loss(weights):
    """Both passes before and after the discriminator counts, and the perceptual distance."""
    radio_map = given("input:vae", (2, 1, 64, 64)).double()
    noise = normal("input:vaenoise", (2, 3, 16, 16)).double()
    with perceptual_file(loss_weights()) as file:
        options = AutoencoderLossConfig(perceptual_weights_file=str(file))
        task = autoencoder_task(
            AutoencoderConfig(),
            options,
            autoencoder_state_dict(weights),
            loss_weights(),
            torch.float64,
        )
        other = given("input:vae2", radio_map.shape).double()
        distance = PerceptualLoss(file).double()(radio_map, other)
    expected = GOLDEN["vae_loss"]
    assert distance.tolist() == pytest.approx(expected["lpips"], rel=2e-5)
    passes = {"ae": "autoencoder", "disc": "discriminator"}
    for case in expected.keys() - {"lpips"}:
        scalars = expected[case]
        kind, step = case.split(" step=")
        ours = run_pass(task, passes[kind], int(step), radio_map, noise)
        assert {name: ours[name].item() for name in scalars} == pytest.approx(scalars, rel=2e-5)


def loss_weights():
    """Weights of the discriminator and the perceptual loss, by the public code's names."""
    with torch.device("meta"):
        discriminator, vgg = PatchDiscriminator(), VGG16Features()
    shapes = {f"discriminator.{k}": v.shape for k, v in discriminator.state_dict().items()}
    for key, value in vgg.state_dict().items():
        _, layer, part = key.split(".")
        block = 1 + sum(tap < int(layer) for tap in vgg.taps)
        shapes[f"perceptual_loss.net.slice{block}.{layer}.{part}"] = value.shape
    for k, channels in enumerate(vgg.channels):
        shapes[f"perceptual_loss.lin{k}.model.1.weight"] = (1, channels, 1, 1)
    return {
        key: torch.tensor(0)
        if key.endswith("num_batches_tracked")
        else weight(f"first_stage_model.loss.{key}", tuple(shape))
        for key, shape in shapes.items()
    }


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_splits(profile, tmp_path):
    """Which maps train, validate and test; the public code counts them from 1 after shuffling."""
    order = GOLDEN["maps"]["order"]
    digest = hashlib.sha256(np.array(order, "<i2").tobytes()).hexdigest()
    assert digest == GOLDEN["maps"]["sha256"]
    cuts = {"train": slice(0, 501), "val": slice(600, 651), "test": slice(600, 700)}
    if profile.name == "R25":
        cuts["train"] = slice(0, 601)
    for split, cut in cuts.items():
        ours = split_maps(tmp_path, split, range(701), splits=profile.splits)
        assert ours == sorted(m + 1 for m in order[cut])
