"""What processes share: noise of a map, laws of the training times, checks."""

import pytest
import torch

from radiodiff.processes import standard_normal


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_noise_of_a_map_does_not_depend_on_its_batch():
    together = standard_normal((3, 2, 2), [seeded(k) for k in range(3)])
    assert torch.equal(together[1], standard_normal((1, 2, 2), [seeded(1)])[0])
    with pytest.raises(ValueError, match="one generator for each of 3 maps, got 2"):
        standard_normal((3, 2, 2), [seeded(), seeded()])
