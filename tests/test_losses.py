"""Autoencoder losses: known answers, and no silent random network."""

import math

import pytest
import torch
from safetensors.torch import save_file

from radiodiff.losses import (
    PerceptualLoss,
    adaptive_weight,
    discriminator_loss,
    generator_loss,
    reconstruction_error,
)
from radiodiff.models import DiagonalGaussian, PatchDiscriminator, VGG16Features


def test_reconstruction_is_a_sum_over_cells():
    """Eq. ``reconstruction``: error 0.5 on 12 cells gives 12 (0.5 + 0.25)."""
    target = torch.zeros(2, 1, 3, 4)
    assert reconstruction_error(target + 0.5, target).tolist() == [9.0, 9.0]


def test_reconstruction_refuses_other_channels():
    """One channel of three must not be compared with each of them."""
    with pytest.raises(ValueError, match=r"shape \(2, 1, 3, 4\), got \(2, 3, 3, 4\)"):
        reconstruction_error(torch.zeros(2, 3, 3, 4), torch.zeros(2, 1, 3, 4))


def test_hinge():
    """Eq. ``hinge``: 0 beyond the margins, 1 at zero logits, and the generator's sign."""
    assert discriminator_loss(torch.tensor([1.0, 5.0]), torch.tensor([-1.0, -3.0])) == 0
    assert discriminator_loss(torch.zeros(4), torch.zeros(4)) == 1
    assert generator_loss(torch.tensor([2.0, 4.0])) == -3


def test_adaptive_weight_is_the_ratio_of_gradients():
    """Eq. ``adaptive``: gradients 6 and 2 give 3; none on the adversarial side is clamped."""
    layer = torch.nn.Parameter(torch.tensor([1.0]))
    weight = adaptive_weight(6 * layer.sum(), 2 * layer.sum(), layer)
    assert weight.item() == pytest.approx(6 / 2.0001)
    assert not weight.requires_grad
    assert adaptive_weight(6 * layer.sum(), 0 * layer.sum(), layer) == 1e4


def test_adaptive_weight_makes_both_pulls_equally_strong():
    """Eq. ``adaptive``: at the decoder's last layer, through a real discriminator."""
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        decoder, critic = torch.nn.Conv2d(3, 1, 3, padding=1), PatchDiscriminator(width=8).eval()
        latent, target = torch.randn(2, 3, 32, 32), torch.rand(2, 1, 32, 32)
    reconstruction = decoder(latent)
    likelihood = reconstruction_error(reconstruction, target).mean()
    adversarial = 1e3 * generator_loss(critic(reconstruction))  # so large that 1e-4 is nothing
    weight = adaptive_weight(likelihood, adversarial, decoder.weight)
    (pull,) = torch.autograd.grad(likelihood, decoder.weight, retain_graph=True)
    (push,) = torch.autograd.grad(weight * adversarial, decoder.weight)
    assert 0 < weight < 1e4
    assert push.norm().item() == pytest.approx(pull.norm().item(), rel=1e-3)


def test_hinge_pulls_only_within_the_margin():
    """Eq. ``hinge``: the slope is half of one over the count, and 0 beyond the margin."""
    real = torch.tensor([0.5, 2.0], requires_grad=True)
    fake = torch.tensor([-3.0, 0.0], requires_grad=True)
    discriminator_loss(real, fake).backward()
    assert real.grad.tolist() == [-0.25, 0]
    assert fake.grad.tolist() == [0, 0.25]


def test_kl_of_known_posteriors():
    """Eq. ``kl``: a mean of 2 costs 2 nat, a narrow one costs its logarithm; all cells count."""
    zero = torch.zeros(1, 2, 1, 3)
    assert DiagonalGaussian(zero, zero).kl().tolist() == [0]
    assert DiagonalGaussian(zero + 2, zero).kl().tolist() == [6 * 2]
    narrow = DiagonalGaussian(zero, zero + math.log(0.01)).kl().item()
    assert narrow == pytest.approx(6 * (0.01 - 1 + math.log(100)) / 2, rel=1e-5)


def test_posterior_draws_are_mean_plus_noise():
    """Eq. ``posterior``: noise 1 lands one standard deviation above the mean."""
    posterior = DiagonalGaussian(torch.full((1, 1, 1, 1), 3.0), torch.full((1, 1, 1, 1), 2.0))
    drawn = posterior.sample(noise=torch.ones(1, 1, 1, 1))
    assert drawn.item() == pytest.approx(3 + math.e)


@pytest.fixture(scope="module")
def perceptual_file(tmp_path_factory):
    generator = torch.Generator().manual_seed(0)
    state = {
        name: 0.02 * torch.randn(value.shape, generator=generator)
        for name, value in VGG16Features().state_dict().items()
    }
    for k, channels in enumerate((64, 128, 256, 512, 512)):
        state[f"lin{k}.model.1.weight"] = torch.rand(1, channels, 1, 1, generator=generator)
    path = tmp_path_factory.mktemp("vgg") / "vgg.safetensors"
    save_file(state, path)
    return path


def test_perceptual_distance(perceptual_file):
    loss = PerceptualLoss(perceptual_file)
    generator = torch.Generator().manual_seed(1)
    a, b = (torch.rand(2, 1, 32, 32, generator=generator) for _ in range(2))
    assert loss(a, a).tolist() == [0, 0]
    assert (loss(a, b) > 0).all()
    assert torch.allclose(loss(a, b), loss(b, a))


def test_perceptual_network_never_trains(perceptual_file):
    """Audit V4: ``train()`` on an owner must not switch it."""
    loss = PerceptualLoss(perceptual_file)
    torch.nn.ModuleList([loss]).train()
    assert not any(module.training for module in loss.modules())
    assert not any(parameter.requires_grad for parameter in loss.parameters())


def test_missing_or_wrong_weights_are_refused(tmp_path, perceptual_file):
    with pytest.raises(FileNotFoundError, match="perceptual_weight: 0"):
        PerceptualLoss(tmp_path / "none.safetensors")
    save_file({"features.0.weight": torch.zeros(1)}, tmp_path / "bad.safetensors")
    with pytest.raises(ValueError, match="lacks"):
        PerceptualLoss(tmp_path / "bad.safetensors")
    for content in ([torch.ones(2)], {"features.0.weight": 1.0}):
        torch.save(content, tmp_path / "bad.pt")
        with pytest.raises(ValueError, match=r"bad.pt must hold tensors by their names"):
            PerceptualLoss(tmp_path / "bad.pt")
