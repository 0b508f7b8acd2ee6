"""Between latents and the clean maps of a process: one factor, or softsign."""

import pytest
import torch

from radiodiff.processes import scale_latents, unscale_latents


@pytest.mark.parametrize("kind", ["factor", "softsign"])
def test_latent_scaling_and_back(kind):
    """Eq. ``latent-scaling``."""
    latents = torch.tensor([-3.0, 0.0, 1.0]).view(1, 3, 1, 1)
    x_0 = scale_latents(latents, 0.5, kind)
    expected = {"factor": [-1.5, 0.0, 0.5], "softsign": [-0.75, 0.0, 0.5]}[kind]
    assert x_0.flatten().tolist() == expected
    assert torch.allclose(unscale_latents(x_0, 0.5, kind), latents)


def test_softsign_is_held_within_its_limit():
    limit = 0.987654321
    largest = unscale_latents(torch.tensor([2.0]), 1.0, "softsign").item()
    assert largest == pytest.approx(limit / (1 - limit), rel=1e-4)
