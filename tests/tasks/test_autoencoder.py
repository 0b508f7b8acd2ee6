"""The first stage: which terms its loss has, which parameters a pass trains, and when."""

import dataclasses

import pytest
import torch
from torch.utils.data import DataLoader

from radiodiff.data import RadioMapSeer
from radiodiff.losses import AutoencoderLossConfig
from radiodiff.models import parameter_count
from radiodiff.tasks import AutoencoderTask


@pytest.fixture
def batch(dataset_root):
    return next(iter(DataLoader(RadioMapSeer(dataset_root, "train"), batch_size=3)))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_autoencoder_loss_is_its_terms(tiny, batch):
    task = AutoencoderTask(tiny)
    before, terms = task(batch, "autoencoder", 0, generator())
    expected = terms["l1_l2"] * 32 * 32 + 1e-6 * terms["kl"]
    assert before.item() == pytest.approx(expected.item(), rel=1e-6)
    after, terms = task(batch, "autoencoder", 2, generator())
    expected = expected + 0.5 * terms["adaptive_weight"] * terms["adversarial"]
    assert after.item() == pytest.approx(expected.item(), rel=1e-5)


def test_discriminator_waits_for_its_start(tiny, batch):
    task = AutoencoderTask(tiny)
    assert task.active_passes(1) == ("autoencoder",)
    assert task.active_passes(2) == ("autoencoder", "discriminator")
    assert "adversarial" not in task(batch, "autoencoder", 1, generator()).terms
    assert task(batch, "discriminator", 2, generator()).loss > 0


def test_idle_discriminator_may_be_trained(tiny, batch):
    """V5: before its start the public code runs its optimizer on a loss of zero."""
    loss = dataclasses.replace(tiny.autoencoder_loss, train_idle_discriminator=True)
    task = AutoencoderTask(dataclasses.replace(tiny, autoencoder_loss=loss))
    assert task.active_passes(0) == ("autoencoder", "discriminator")
    assert "adversarial" not in task(batch, "autoencoder", 1, generator()).terms
    idle = task(batch, "discriminator", 1, generator()).loss
    idle.backward()
    assert idle == 0
    assert all(p.grad.eq(0).all() for p in task.parameters_of("discriminator"))
    assert task(batch, "discriminator", 2, generator()).loss > 0


def test_discriminator_pass_leaves_the_autoencoder_alone(tiny, batch):
    task = AutoencoderTask(tiny)
    task(batch, "discriminator", 5, generator()).loss.backward()
    assert all(p.grad is None for p in task.parameters_of("autoencoder"))
    assert any(p.grad.abs().sum() > 0 for p in task.parameters_of("discriminator"))


def test_without_adversarial_term_there_is_no_discriminator(tiny):
    loss = AutoencoderLossConfig(perceptual_weight=0, discriminator_weight=0)
    task = AutoencoderTask(dataclasses.replace(tiny, autoencoder_loss=loss))
    assert task.passes == ("autoencoder",)
    assert parameter_count(task) == parameter_count(task.autoencoder)


def test_perceptual_term_without_weights_is_refused(tiny, tmp_path):
    loss = AutoencoderLossConfig(perceptual_weights_file=str(tmp_path / "none.pt"))
    with pytest.raises(FileNotFoundError, match="perceptual_weight: 0"):
        AutoencoderTask(dataclasses.replace(tiny, autoencoder_loss=loss))
