"""The second stage: one task for every process, on maps or latents, as they are or less a mean."""

from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

from radiodiff.data import RadioMapSeer
from radiodiff.models import AutoencoderKL, UNet
from radiodiff.predictors.pipeline import RadioDiffPipeline
from radiodiff.predictors.space import Space
from radiodiff.processes import PROCESSES
from radiodiff.tasks import GenerativeTask, measure_scale


@pytest.fixture
def batch(dataset_root):
    return next(iter(DataLoader(RadioMapSeer(dataset_root, "train"), batch_size=3)))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def configured(tiny, kind, space, residual_to=None):
    """The smoke configuration with another process."""
    process = replace(tiny.process, kind=kind, space=space, residual_to=residual_to)
    channels = 1 if space == "map" else tiny.network.latent_channels
    network = replace(
        tiny.network, latent_channels=channels, fourier_scale=1.0, stem_condition=space == "map"
    )
    return replace(tiny, process=process, network=network)


def made(config, mean=None):
    """A task with random weights."""
    torch.manual_seed(0)
    on_maps = config.process.space == "map"
    return GenerativeTask(config, None if on_maps else AutoencoderKL(config.autoencoder), 1.0, mean)


@pytest.fixture
def with_law(dataset_root):
    """Three samples whose condition has the law of distance, the channels that it needs given."""
    channels = ("buildings", "transmitter", "distance_law")
    dataset = RadioMapSeer(dataset_root, "train", channels=channels)
    return next(iter(DataLoader(dataset, batch_size=3)))


def test_diffusion_trains_the_unet_alone(tiny, batch):
    autoencoder = AutoencoderKL(tiny.autoencoder)
    task = GenerativeTask(tiny, autoencoder, 1.0)
    task(batch, "diffusion", 0, generator()).loss.backward()
    assert all(p.grad is None for p in autoencoder.parameters())
    trained = task.parameters_of("diffusion")
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained)
    assert not any(name.startswith("frozen") for name in task.state_dict())


def test_loss_is_a_function_of_the_generator(tiny, batch):
    torch.manual_seed(0)
    task = GenerativeTask(tiny, AutoencoderKL(tiny.autoencoder), 1.0).eval()
    losses = [task(batch, "diffusion", 0, generator(seed)).loss.item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


def test_samples_are_radio_maps(tiny, batch):
    task = GenerativeTask(tiny, AutoencoderKL(tiny.autoencoder), 1.0)
    maps = task.sample(task.averaged, batch, generator())
    assert maps.shape == batch.radio_map.shape
    assert maps.abs().max() <= 1


def test_latent_scale_brings_latents_to_unit_variance(tiny, batch):
    autoencoder = AutoencoderKL(tiny.autoencoder)
    scale = measure_scale(Space(tiny, autoencoder, 1.0), [batch, batch], generator(0))
    with torch.no_grad():
        noise = generator(0)
        latents = [autoencoder.encode(batch.radio_map).sample(noise) for _ in range(2)]
    assert (scale * torch.cat(latents)).std().item() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("space", ["latent", "map"])
@pytest.mark.parametrize("kind", PROCESSES)
def test_every_process_is_learned_and_asked_on_latents_and_on_maps(tiny, batch, kind, space):
    config = configured(tiny, kind, space)
    task = made(config)
    task(batch, "diffusion", 0, generator()).loss.backward()
    head = config.process.chosen.heads[-1]
    assert getattr(task.averaged, f"{head}_path").final_conv.weight.grad.abs().sum() > 0
    assert all(p.grad.isfinite().all() for p in task.averaged.parameters() if p.requires_grad)
    assert len(task.frozen) == (space == "latent")
    assert all(p.grad is None for network in task.frozen for p in network.parameters())
    for start in (1.0, 0.5):
        config = replace(config, sampler=replace(config.sampler, start=start))
        pipeline = RadioDiffPipeline(
            task.frozen[0] if task.frozen else None, task.averaged, 1.0, config
        )
        maps = pipeline.radio_maps(batch.condition, generator=generator())
        assert maps.shape == batch.radio_map.shape
        assert maps.abs().max() <= 1


@pytest.mark.parametrize("space", ["latent", "map"])
@pytest.mark.parametrize("kind", PROCESSES)
def test_every_process_learns_what_a_channel_leaves_open(tiny, with_law, kind, space):
    """The network takes two channels; the third, which it does not see, is the mean."""
    config = configured(tiny, kind, space, "distance_law")
    assert config.channels == ("buildings", "transmitter")
    assert config.given_channels == ("buildings", "transmitter", "distance_law")
    task = made(config)
    assert task(with_law, "diffusion", 0, generator()).loss.isfinite()
    assert task.sample(task.averaged.eval(), with_law, generator()).abs().max() <= 1


def test_a_process_adds_to_the_maps_of_a_regression(tiny, batch):
    """With an answer of 0 everywhere the samples are the regression's maps."""
    regression = configured(tiny, "regression", "map")
    torch.manual_seed(1)
    mean = RadioDiffPipeline(None, UNet(regression.network), 1.0, regression)
    config = configured(tiny, "flow_matching", "map", "runs/mean")
    task = made(config, mean)
    pipeline = RadioDiffPipeline(None, task.averaged, 1.0, config, mean=mean)
    assert not any(p.requires_grad for p in mean.network.parameters())
    expected = mean.radio_maps(batch.condition)
    target = pipeline.space.x_0(batch.radio_map, batch.condition)
    torch.testing.assert_close(target, batch.radio_map - expected)
    assert task(batch, "diffusion", 0, generator()).loss.isfinite()
    for parameter in task.averaged.velocity_path.final_conv.parameters():
        torch.nn.init.zeros_(parameter)
    zero = torch.zeros_like(target)  # stays where it is, at a velocity of 0
    x_0 = pipeline.latents(pipeline.network_input(batch.condition), noise=[zero])
    maps = pipeline.space.radio_maps(x_0, batch.condition)
    torch.testing.assert_close(maps, expected)
