"""A trained pipeline as a predictor: its noise is a function of name and seed."""

import dataclasses

import torch
from torch.utils.data import default_collate

from radiodiff.models import AutoencoderKL, UNet
from radiodiff.predictors import model_predictor
from radiodiff.predictors.pipeline import RadioDiffPipeline


def test_noise_may_be_shared(tiny, training):
    """D17: with one noise for all maps, equal conditions give equal maps."""
    torch.manual_seed(0)
    pipeline = RadioDiffPipeline(AutoencoderKL(tiny.autoencoder), UNet(tiny.network), 1.0, tiny)
    sample = training[0]
    twice = default_collate([sample, sample._replace(name="another")])
    for shared in (False, True):
        config = dataclasses.replace(tiny.evaluate, shared_noise=shared)
        first, second = model_predictor(pipeline, config)(twice)
        assert torch.allclose(first, second, atol=1e-3) == shared
