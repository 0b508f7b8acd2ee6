"""The plain U-Net: size, start, any size of map, one map apart from another, heads, failures."""

from dataclasses import replace

import pytest
import torch

from radiodiff.models import PlainUNet, PlainUNetConfig, UNetConfig, make_network, parameter_count
from radiodiff.processes import PROCESSES
from radiodiff.settings import ConfigError
from tests.models.sizes import on_meta

CONFIG = UNetConfig(
    kind="plain", latent_channels=1, heads=("mean",), plain=PlainUNetConfig(widths=(8, 16, 24))
)


def perturbed(config):
    """A network whose last layer says something."""
    network = make_network(config).eval()
    torch.nn.init.normal_(network.head.weight)
    return network


def ask(network, condition, x_t, t, *s):
    with torch.no_grad():
        return network(x_t, t, network.encode_condition(condition), *s)


def test_size_by_hand():
    """Blocks of two convolutions with norms and time; three levels; nothing else."""
    network = on_meta(make_network, CONFIG)

    def block(inputs, width):
        convolutions = 9 * inputs * width + width + 9 * width * width + width
        shortcut = 0 if inputs == width else inputs * width + width
        return convolutions + 4 * width + (32 + 1) * 2 * width + shortcut

    inputs = 1 + 2 + 3
    time = 4 + (8 * 32 + 32) + (32 * 32 + 32)
    ends = 9 * inputs * 8 + 8 + 8 + 1
    down = block(8, 8) + block(16, 16) + block(24, 24) + block(16, 8) + block(32, 16)
    between = 4 * (8 * 16 + 16 * 24) + 16 + 24 + (8 * 16 + 8) + (16 * 24 + 16)
    assert parameter_count(network) == time + ends + down + between


def test_it_begins_at_zero_and_learns_everywhere():
    network = make_network(replace(CONFIG, heads=("drift", "noise")))
    condition = torch.randn(2, 2, 16, 16)
    outputs = network(torch.randn(2, 1, 16, 16), torch.ones(2), network.encode_condition(condition))
    assert len(outputs) == 2
    assert all((each == 0).all() for each in outputs)
    network = perturbed(CONFIG)
    (output,) = network(
        torch.randn(2, 1, 16, 16), torch.ones(2), network.encode_condition(condition)
    )
    output.square().sum().backward()
    frozen = ("time_embedding.frequencies",)
    for name, parameter in network.named_parameters():
        assert name in frozen or parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("size", [(16, 16), (20, 28), (64, 64), (36, 12), (256, 256)])
def test_any_size(size):
    condition, x_t = torch.randn(1, 2, *size), torch.randn(1, 1, *size)
    (output,) = ask(perturbed(CONFIG), condition, x_t, torch.ones(1))
    assert output.shape == x_t.shape
    assert output.isfinite().all()


def test_latents_are_smaller_than_the_condition():
    network = perturbed(replace(CONFIG, latent_channels=3))
    (output,) = ask(network, torch.randn(2, 2, 64, 48), torch.randn(2, 3, 16, 12), torch.rand(2))
    assert output.shape == (2, 3, 16, 12)


def test_each_map_alone():
    network = perturbed(CONFIG)
    condition, x_t, t = torch.randn(3, 2, 32, 32), torch.randn(3, 1, 32, 32), torch.rand(3)
    (together,) = ask(network, condition, x_t, t)
    for k in range(3):
        (alone,) = ask(network, condition[k : k + 1], x_t[k : k + 1], t[k : k + 1])
        torch.testing.assert_close(alone, together[k : k + 1], rtol=1e-4, atol=1e-5)


def test_time_and_span_count():
    network = perturbed(replace(CONFIG, times=2, fourier_scale=1.0))
    condition, x_t = torch.randn(1, 2, 16, 16), torch.randn(1, 1, 16, 16)
    answers = [
        ask(network, condition, x_t, torch.tensor([t]), torch.tensor([s]))[0]
        for t, s in ((0.9, 0.1), (0.9, 0.5), (0.5, 0.1))
    ]
    assert not torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


def test_it_knows_where_the_transmitter_is_only_if_told():
    condition = torch.zeros(2, 2, 16, 16)
    condition[0, 1, 3, 4] = condition[1, 1, 12, 9] = 1
    with_features = PlainUNet(PlainUNetConfig(widths=(8,)))
    (shown,) = with_features.encode_condition(condition)
    assert shown.shape == (2, 5, 16, 16)
    assert shown[0, 2].argmin() == 3 * 16 + 4  # distance, by `transmitter_coordinates`
    without = PlainUNet(PlainUNetConfig(widths=(8,), transmitter_features=False))
    assert torch.equal(without.encode_condition(condition)[0], condition)


@pytest.mark.parametrize("kind", list(PROCESSES))
def test_it_serves_every_process(kind):
    process = PROCESSES[kind]()
    network = perturbed(replace(CONFIG, heads=process.heads, times=process.times))
    features = network.encode_condition(torch.randn(2, 2, 16, 16))
    x_0 = torch.randn(2, 1, 16, 16)
    generator = torch.Generator().manual_seed(0)
    loss = process.loss(
        lambda x_t, t, s=None: network(x_t, t, features, s), x_0, generator=generator
    )
    assert loss.shape == (2,)
    assert loss.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((torch.randn(1, 3, 16, 16), torch.ones(1)), r"shape \(b, 1, h, w\)"),
        ((torch.randn(1, 1, 2, 16), torch.ones(1)), "sides of at least 4"),
        ((torch.randn(1, 1, 16, 16), torch.ones(1), torch.ones(1)), "expected 1 times"),
    ],
)
def test_unfit_input_is_named(arguments, message):
    network = make_network(CONFIG)
    x_t, t, *s = arguments
    features = network.encode_condition(torch.randn(1, 2, 16, 16))
    with pytest.raises(ValueError, match=message):
        network(x_t, t, features, *s)


def test_unfit_sizes_are_named():
    with pytest.raises((ValueError, ConfigError), match="multiples of 8"):
        PlainUNetConfig(widths=(8, 12))
    with pytest.raises((ValueError, ConfigError), match="transmitter map in channel 1"):
        PlainUNetConfig(in_channels=1)
    with pytest.raises(ValueError, match="condition"):
        make_network(CONFIG).encode_condition(torch.randn(1, 3, 16, 16))
