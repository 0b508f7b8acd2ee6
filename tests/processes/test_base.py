"""What processes share: noise of a map, laws of the training times, checks."""

import pytest
import torch

from radiodiff.processes import TimeLaw, standard_normal
from radiodiff.processes.base import as_times, check_order, per_map


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_noise_of_a_map_does_not_depend_on_its_batch():
    together = standard_normal((3, 2, 2), [seeded(k) for k in range(3)])
    assert torch.equal(together[1], standard_normal((1, 2, 2), [seeded(1)])[0])
    with pytest.raises(ValueError, match="one generator for each of 3 maps, got 2"):
        standard_normal((3, 2, 2), [seeded(), seeded()])


def test_uniform_times_are_uniform():
    t = TimeLaw().draw(50_000, seeded())
    assert t.min() >= 0
    assert t.max() < 1
    assert t.mean().item() == pytest.approx(1 / 2, abs=0.01)
    assert t.var().item() == pytest.approx(1 / 12, rel=0.02)


def test_logit_normal_times_have_a_normal_logit():
    t = TimeLaw("logit_normal", -0.4, 1.5).draw(50_000, seeded())
    logit = t.double().logit()
    assert logit.mean().item() == pytest.approx(-0.4, abs=0.03)
    assert logit.std().item() == pytest.approx(1.5, rel=0.02)


@pytest.mark.parametrize("fault", [{"std": 0.0}, {"kind": "normal"}])
def test_time_law_without_meaning_is_refused(fault):
    with pytest.raises(ValueError, match=next(iter(fault))):
        TimeLaw(**fault)


def test_times_of_maps_have_their_type():
    x_t = torch.zeros(3, 1, 2, 2, dtype=torch.float64)
    assert as_times(0.25, x_t).dtype == torch.float64
    assert as_times(0.25, x_t).tolist() == [0.25] * 3
    given = torch.tensor([0.1, 0.2, 0.3])
    assert as_times(given, x_t) is given
    assert per_map(given).shape == (3, 1, 1, 1)


def test_order_is_checked():
    check_order(1.0, 0.0)
    with pytest.raises(ValueError, match="0 <= s < t <= 1"):
        check_order(0.3, 0.3)
