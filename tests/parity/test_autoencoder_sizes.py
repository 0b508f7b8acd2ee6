"""The autoencoder at sizes that no published file has, against its equations in double precision.

The public code's first stage is written out here once more, from its equations and its table of
layers, over weights under its own names; no module of ours has a part in an expected number.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional

from radiodiff.losses import AutoencoderLossConfig
from radiodiff.models import AutoencoderKL
from radiodiff.reference import (
    autoencoder_config,
    autoencoder_state_dict,
    reference_state_dict,
)
from tests.parity.networks import autoencoder_task, perceptual_file, run_pass, with_weights

#: Sections of the public code, in which no two sizes agree, and the sides of a map.
CASES = {
    "sizes": (
        {"embed_dim": 5, "z_channels": 2, "in_channels": 3, "out_ch": 4, "ch": 32},
        {"ch_mult": [3, 1, 2], "num_res_blocks": 2},
        (20, 36),
    ),
    "arguments": (
        {"embed_dim": 2, "z_channels": 7, "in_channels": 4, "out_ch": 1, "ch": 64},
        {"ch_mult": [1, 2], "num_res_blocks": 1, "attn_type": "none", "tanh_out": True},
        (6, 10),
    ),
    "resampling": (
        {"embed_dim": 4, "z_channels": 3, "in_channels": 1, "out_ch": 2, "ch": 32},
        {"ch_mult": [1, 1, 2, 3], "num_res_blocks": 1, "resamp_with_conv": False, "dropout": 0.3}
        | {"use_linear_attn": True, "attn_resolutions": [16]},
        (16, 40),
    ),
}
#: VGG16: channels of each block, shift and scale of its input; channels and strides of the patches.
VGG = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
PATCHES = ((64, 2), (128, 2), (256, 2), (512, 1), (1, 1))


def section_of(sizes, more):
    rest = {"double_z": True, "resolution": [64, 64], "attn_resolutions": [], "dropout": 0.0}
    sizes = dict(sizes)
    return {"embed_dim": sizes.pop("embed_dim"), "ddconfig": rest | sizes | more}


def shapes(section):
    """Yield the public code's keys and shapes: its table of layers."""
    latent, own = section["embed_dim"], section["ddconfig"]
    inner, width, levels = own["z_channels"], own["ch"], range(len(own["ch_mult"]))
    widths = [width * m for m in own["ch_mult"]]
    lowest, learned = widths[-1], own.get("resamp_with_conv", True)
    linear = own.get("use_linear_attn", False)

    def layer(key, out, given, side):
        yield f"{key}.weight", (out, given, side, side)
        yield f"{key}.bias", (out,)

    def norm(key, channels):
        yield f"{key}.weight", (channels,)
        yield f"{key}.bias", (channels,)

    def block(key, given, out):
        yield from norm(f"{key}.norm1", given)
        yield from layer(f"{key}.conv1", out, given, 3)
        yield from norm(f"{key}.norm2", out)
        yield from layer(f"{key}.conv2", out, out, 3)
        if given != out:
            yield from layer(f"{key}.nin_shortcut", out, given, 1)

    def middle(key):
        yield from block(f"{key}.block_1", lowest, lowest)
        if linear:
            yield f"{key}.attn_1.to_qkv.weight", (3 * lowest, lowest, 1, 1)
            yield from layer(f"{key}.attn_1.to_out", lowest, lowest, 1)
        elif own.get("attn_type") != "none":
            yield from norm(f"{key}.attn_1.norm", lowest)
            for part in ("q", "k", "v", "proj_out"):
                yield from layer(f"{key}.attn_1.{part}", lowest, lowest, 1)
        yield from block(f"{key}.block_2", lowest, lowest)

    yield from layer("encoder.conv_in", width, own["in_channels"], 3)
    given = width
    for i in levels:
        for j in range(own["num_res_blocks"]):
            yield from block(f"encoder.down.{i}.block.{j}", given, widths[i])
            given = widths[i]
        if i < levels[-1] and learned:
            yield from layer(f"encoder.down.{i}.downsample.conv", given, given, 3)
    yield from middle("encoder.mid")
    yield from norm("encoder.norm_out", lowest)
    yield from layer("encoder.conv_out", 2 * inner, lowest, 3)
    yield from layer("quant_conv", 2 * latent, 2 * inner, 1)
    yield from layer("post_quant_conv", inner, latent, 1)
    yield from layer("decoder.conv_in", lowest, inner, 3)
    yield from middle("decoder.mid")
    for i in reversed(levels):
        for j in range(own["num_res_blocks"] + 1):
            yield from block(f"decoder.up.{i}.block.{j}", given, widths[i])
            given = widths[i]
        if i > 0 and learned:
            yield from layer(f"decoder.up.{i}.upsample.conv", given, given, 3)
    yield from norm("decoder.norm_out", given)
    yield from layer("decoder.conv_out", own["out_ch"], given, 3)


def draw(rows, rng):
    """Random weights: of unit gain where there is a matrix, near 1 and 0 for norms and biases.

    They fit single precision, through which the loss takes them.
    """

    def one(key, shape):
        return exact(key, shape).float().double()

    def exact(key, shape):
        numbers = torch.from_numpy(rng.standard_normal(shape))
        if len(shape) > 1:
            return numbers / np.sqrt(np.prod(shape[1:]))
        return (1 if key.endswith(".weight") else 0) + 0.1 * numbers

    return {key: one(key, shape) for key, shape in rows}


class Equations:
    """The public code's first stage as functions of its weights."""

    def __init__(self, section, weights):
        self.own, self.weights = section["ddconfig"], weights
        self.levels = range(len(self.own["ch_mult"]))
        self.learned = self.own.get("resamp_with_conv", True)

    def conv(self, key, x, **options):
        bias = self.weights.get(f"{key}.bias")
        return functional.conv2d(x, self.weights[f"{key}.weight"], bias, **options)

    def norm(self, key, x):
        groups = x.reshape(len(x), 32, -1)
        centred = groups - groups.mean(-1, keepdim=True)
        x = (centred / (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()).reshape(x.shape)
        weight, bias = (self.weights[f"{key}.{part}"] for part in ("weight", "bias"))
        return x * weight[:, None, None] + bias[:, None, None]

    def active(self, key, x):
        x = self.norm(key, x)
        return x * torch.sigmoid(x)

    def block(self, key, x):
        inside = self.conv(f"{key}.conv1", self.active(f"{key}.norm1", x), padding=1)
        inside = self.conv(f"{key}.conv2", self.active(f"{key}.norm2", inside), padding=1)
        shortcut = f"{key}.nin_shortcut"
        return inside + (self.conv(shortcut, x) if f"{shortcut}.weight" in self.weights else x)

    def attention(self, key, x):
        channels, shape = x.shape[1], x.shape
        if self.own.get("use_linear_attn", False):
            q, k, v = self.conv(f"{key}.to_qkv", x).flatten(2).split(channels, 1)
            share = k.exp() / k.exp().sum(-1, keepdim=True)
            found = torch.einsum("bdn,ben,bdm->bem", share, v, q)
            return self.conv(f"{key}.to_out", found.reshape(shape))
        if self.own.get("attn_type") == "none":
            return x
        normed = self.norm(f"{key}.norm", x)
        q, k, v = (self.conv(f"{key}.{part}", normed).flatten(2) for part in "qkv")
        logits = torch.einsum("bci,bcj->bij", q, k) / channels**0.5
        share = logits.exp() / logits.exp().sum(-1, keepdim=True)
        found = torch.einsum("bij,bcj->bci", share, v)
        return x + self.conv(f"{key}.proj_out", found.reshape(shape))

    def middle(self, key, x):
        x = self.attention(f"{key}.attn_1", self.block(f"{key}.block_1", x))
        return self.block(f"{key}.block_2", x)

    def encode(self, x):
        """Return mean and logarithmic variance."""
        x = self.conv("encoder.conv_in", x, padding=1)
        for i in self.levels:
            for j in range(self.own["num_res_blocks"]):
                x = self.block(f"encoder.down.{i}.block.{j}", x)
            if i < self.levels[-1] and self.learned:
                padded = torch.zeros(*x.shape[:2], x.shape[2] + 1, x.shape[3] + 1, dtype=x.dtype)
                padded[..., :-1, :-1] = x
                x = self.conv(f"encoder.down.{i}.downsample.conv", padded, stride=2)
            elif i < self.levels[-1]:
                x = (x[..., ::2, :] + x[..., 1::2, :]) / 2
                x = (x[..., ::2] + x[..., 1::2]) / 2
        x = self.active("encoder.norm_out", self.middle("encoder.mid", x))
        moments = self.conv("quant_conv", self.conv("encoder.conv_out", x, padding=1))
        latent = moments.shape[1] // 2
        return moments[:, :latent], moments[:, latent:].clip(-30, 20)

    def decode(self, z):
        x = self.conv("decoder.conv_in", self.conv("post_quant_conv", z), padding=1)
        x = self.middle("decoder.mid", x)
        for i in reversed(self.levels):
            for j in range(self.own["num_res_blocks"] + 1):
                x = self.block(f"decoder.up.{i}.block.{j}", x)
            if i > 0:
                x = x.repeat_interleave(2, 2).repeat_interleave(2, 3)
                if self.learned:
                    x = self.conv(f"decoder.up.{i}.upsample.conv", x, padding=1)
        x = self.conv("decoder.conv_out", self.active("decoder.norm_out", x), padding=1)
        return x.tanh() if self.own.get("tanh_out", False) else x

    def patches(self, x):
        """Return the discriminator's logits, its norms in training mode."""
        x = self.conv("discriminator.main.0", x, stride=2, padding=1)
        places = zip((2, 5, 8, 11), PATCHES[1:], strict=True)
        for place, (_, stride) in places:
            x = torch.where(x > 0, x, 0.2 * x)
            x = self.conv(f"discriminator.main.{place}", x, stride=stride, padding=1)
            if place < 11:
                centred = x - x.mean((0, 2, 3), keepdim=True)
                x = centred / (centred.square().mean((0, 2, 3), keepdim=True) + 1e-5).sqrt()
                norm = f"discriminator.main.{place + 1}"
                weight, bias = (self.weights[f"{norm}.{part}"] for part in ("weight", "bias"))
                x = x * weight[:, None, None] + bias[:, None, None]
        return x

    def distance(self, x, y):
        """Return the perceptual distance of each map."""
        shift, scale = (torch.tensor(row).double()[:, None, None] for row in (SHIFT, SCALE))
        pair = [(x - shift) / scale, (y - shift) / scale]
        total, layer = 0.0, 0
        for k, widths in enumerate(VGG):
            if k:
                pair, layer = [functional.max_pool2d(f, 2) for f in pair], layer + 1
            for _ in widths:
                key = f"perceptual_loss.net.slice{k + 1}.{layer}"
                pair, layer = [self.conv(key, f, padding=1).relu() for f in pair], layer + 2
            unit = [f / (f.square().sum(1, keepdim=True).sqrt() + 1e-10) for f in pair]
            weight = self.weights[f"perceptual_loss.lin{k}.model.1.weight"]
            total = total + ((unit[0] - unit[1]).square() * weight).sum(1).mean((1, 2))
        return total


def assert_equal(ours, expected):
    """In double precision, up to the rounding of a few dozen layers."""
    torch.testing.assert_close(ours.detach(), expected.detach(), rtol=1e-9, atol=1e-10)


@pytest.fixture(params=CASES)
def case(request):
    sizes, more, sides = CASES[request.param]
    section, rng = section_of(sizes, more), np.random.default_rng(len(request.param))
    maps = torch.from_numpy(rng.standard_normal((2, sizes["in_channels"], *sides)))
    maps[1] *= 2e-3  # so small that the epsilon of the norms shows
    return section, draw(shapes(section), rng), maps, rng


@torch.no_grad()
def test_network(case):
    """Moments, divergence, draw and decoded map, and the table of names both ways."""
    section, weights, maps, rng = case
    config, expected = autoencoder_config(section), Equations(section, weights)
    state = autoencoder_state_dict(weights, config)
    network = with_weights(AutoencoderKL, config, state)
    posterior, (mean, log_variance) = network.encode(maps), expected.encode(maps)
    assert mean.shape[1] == section["embed_dim"] == config.latent_channels
    assert_equal(posterior.mean, mean)
    assert_equal(posterior.log_variance, log_variance)
    terms = mean.square() + log_variance.exp() - 1 - log_variance
    assert_equal(posterior.kl(), terms.sum((1, 2, 3)) / 2)
    noise = torch.from_numpy(rng.standard_normal(mean.shape))
    z = mean + (log_variance / 2).exp() * noise
    reconstruction, _ = network(maps, noise=noise)
    assert reconstruction.shape == (2, section["ddconfig"]["out_ch"], *maps.shape[2:])
    assert_equal(reconstruction, expected.decode(z))
    back = reference_state_dict(state, None, {}, autoencoder_config=config, unet_config=None)
    assert back.keys() == weights.keys()
    assert all(back[key] is value for key, value in weights.items())


def loss_shapes(channels):
    """Yield keys and shapes of the networks of the loss."""
    given = channels
    for place, (out, _) in zip((0, 2, 5, 8, 11), PATCHES, strict=True):
        yield f"discriminator.main.{place}.weight", (out, given, 4, 4)
        if place in (0, 11):
            yield f"discriminator.main.{place}.bias", (out,)
        else:
            for part in ("weight", "bias", "running_mean", "running_var"):
                yield f"discriminator.main.{place + 1}.{part}", (out,)
        given = out
    given, layer = 3, 0
    for k, widths in enumerate(VGG):
        layer += k > 0
        for out in widths:
            yield f"perceptual_loss.net.slice{k + 1}.{layer}.weight", (out, given, 3, 3)
            yield f"perceptual_loss.net.slice{k + 1}.{layer}.bias", (out,)
            given, layer = out, layer + 2
        yield f"perceptual_loss.lin{k}.model.1.weight", (1, given, 1, 1)


def test_loss():
    """Both passes, with maps of three channels, before and after the discriminator counts."""
    sizes = CASES["sizes"][0] | {"out_ch": 3}
    section = section_of(sizes, {"ch_mult": [2, 1], "num_res_blocks": 1})
    rng = np.random.default_rng(1)
    weights, critics = draw(shapes(section), rng), draw(loss_shapes(3), rng)
    critics = {k: v.abs() if ".lin" in k else v for k, v in critics.items()}
    counters = {f"discriminator.main.{place}.num_batches_tracked": 0 for place in (3, 6, 9)}
    x = torch.from_numpy(rng.uniform(-1, 1, (2, 3, 32, 40)))
    noise = torch.from_numpy(rng.standard_normal((2, 5, 16, 20)))

    equations = Equations(section, weights | critics)
    weights["decoder.conv_out.weight"].requires_grad_()
    mean, log_variance = equations.encode(x)
    fake = equations.decode(mean + (log_variance / 2).exp() * noise)
    distance = equations.distance(x, fake)
    error = (x - fake).abs() + (x - fake).square() + 0.7 * distance[:, None, None, None]
    nll = error.sum() / 2
    kl = (mean.square() + log_variance.exp() - 1 - log_variance).sum() / 4
    g = -equations.patches(fake).mean()
    slopes = [
        torch.autograd.grad(term, weights["decoder.conv_out.weight"], retain_graph=True)[0].norm()
        for term in (nll, g)
    ]
    balance = 0.4 * (slopes[0] / (slopes[1] + 1e-4)).clip(0, 1e4)
    assert 0 < balance < 0.4e4  # not clamped
    real = equations.patches(x)
    margins = [(1 - real).relu().mean(), (1 + equations.patches(fake)).relu().mean()]
    expected = {
        ("autoencoder", 1): {"loss": nll + 0.01 * kl},
        ("autoencoder", 2): {
            "loss": nll + 0.01 * kl + balance * g,
            "train/nll_loss": nll,
            "train/kl_loss": kl,
            "train/g_loss": g,
            "train/d_weight": balance,
        },
        ("discriminator", 1): {"loss": torch.zeros(()).double()},
        ("discriminator", 2): {"loss": sum(margins) / 2, "train/logits_real": real.mean()},
    }

    config = autoencoder_config(section)
    state = autoencoder_state_dict({k: v.detach() for k, v in weights.items()}, config)
    critics |= {key: torch.tensor(value) for key, value in counters.items()}
    with perceptual_file(critics) as file:
        options = AutoencoderLossConfig(
            kl_weight=0.01,
            perceptual_weight=0.7,
            perceptual_weights_file=str(file),
            discriminator_weight=0.4,
            discriminator_start=2,
        )
        task = autoencoder_task(config, options, state, critics, torch.float64)
    for (name, step), terms in expected.items():
        ours = run_pass(task, name, step, x, noise)
        for term, value in terms.items():
            assert_equal(ours[term], value)


def test_no_two_sizes_agree():
    """Else one argument in the place of another would not be noticed."""
    for sizes, _, sides in CASES.values():
        numbers = [*sizes.values(), *sides]
        assert len(set(numbers)) == len(numbers)
