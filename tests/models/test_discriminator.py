"""The patch discriminator: scores and first weights."""

import pytest
import torch

from radiodiff.models import PatchDiscriminator
from tests.models.sizes import on_meta


def test_discriminator_scores_patches():
    discriminator = on_meta(PatchDiscriminator)
    for side, scores in ((256, 30), (320, 38)):
        patches = discriminator(torch.zeros(1, 1, side, side, device="meta"))
        assert patches.shape == (1, 1, scores, scores)
    with pytest.raises(ValueError, match="layers must be positive"):
        PatchDiscriminator(layers=0)


def test_discriminator_starts_as_in_the_paper():
    main = PatchDiscriminator().main
    assert main[8].weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert main[9].weight.mean().item() == pytest.approx(1.0, abs=0.005)
    assert (main[9].bias == 0).all()
