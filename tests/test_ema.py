"""Moving average of weights (eq. ``ema``)."""

import pytest
import torch
from torch import nn

from radiodiff.ema import EMA


def network(value: float) -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.fill_(value)
    return module


def set_weight(module: nn.Module, value: float) -> None:
    with torch.no_grad():
        module[0].weight.fill_(value)


def test_copies_until_start_then_averages():
    online = network(0.0)
    ema = EMA(online, decay=0.999, start=2, every=1)
    set_weight(online, 1.0)
    ema.update(online, 2)
    assert ema.network[0].weight.eq(1).all()
    set_weight(online, 3.0)
    ema.update(online, 10)
    decay = 1 - 9 ** (-2 / 3)
    assert ema.network[0].weight[0, 0].item() == pytest.approx(decay * 1 + (1 - decay) * 3)


@pytest.mark.parametrize(
    ("elapsed", "expected"), [(10, 0.79782), (100, 0.953891), (1000, 0.990007), (10**6, 0.999)]
)
def test_decay_of_the_public_code(elapsed, expected):
    ema = EMA(network(0.0), decay=0.999, start=100, every=10)
    assert ema.decay_at(100 + elapsed) == pytest.approx(expected, abs=1e-5)


def test_first_update_after_the_start_copies():
    online = network(0.0)
    ema = EMA(online, decay=0.9, start=5, every=3)
    for step, expected in ((0, 0), (3, 3), (5, 3), (6, 6), (7, 6)):
        set_weight(online, float(step))
        ema.update(online, step)
        assert ema.network[0].weight.eq(expected).all()
    set_weight(online, 9.0)
    ema.update(online, 9)
    assert 6 < ema.network[0].weight[0, 0].item() < 9


def test_all_tensors_at_once_equal_each_on_its_own():
    """Bit for bit, of several sizes and types."""
    online = nn.ModuleList([nn.Linear(3, 5), nn.Linear(7, 2).double(), nn.BatchNorm2d(4)])
    ema = EMA(online, decay=0.9, start=0, every=1)
    expected = {name: value.clone() for name, value in ema.state_dict().items()}
    for step in range(2, 6):
        current = {
            name: torch.randn_like(value) if value.is_floating_point() else value + 1
            for name, value in online.state_dict().items()
        }
        online.load_state_dict(current)
        ema.update(online, step)
        for name, value in expected.items():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - ema.decay_at(step))
            else:
                value.copy_(current[name])
    assert all(torch.equal(value, expected[name]) for name, value in ema.state_dict().items())


def test_only_every_so_many_steps():
    online = network(0.0)
    ema = EMA(online, decay=0.9, start=0, every=10)
    set_weight(online, 1.0)
    ema.update(online, 9)
    assert ema.network[0].weight.eq(0).all()
    ema.update(online, 10)
    assert ema.network[0].weight.eq(1).all()


def test_constant_weights_stay_constant_and_buffers_follow():
    online = network(0.5)
    ema = EMA(online, decay=0.9, start=0, every=1)
    online[1].num_batches_tracked.fill_(7)
    for step in range(1, 20):
        ema.update(online, step)
    assert ema.network[0].weight.eq(0.5).all()
    assert ema.network[1].num_batches_tracked == 7
    assert not ema.network.training
    assert not any(p.requires_grad for p in ema.network.parameters())
