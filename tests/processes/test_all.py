"""What every process promises, whichever it is: a training step, a sample, its configuration."""

from dataclasses import fields, replace

import pytest
import torch

from radiodiff.models import ConvEncoderConfig, UNet, UNetConfig
from radiodiff.processes import PROCESSES, MeanFlow, ProcessConfig, TimeLaw, standard_normal
from radiodiff.sampler import SamplerConfig, make_schedule, sample

SMALL = UNetConfig(
    width=8,
    multipliers=(1, 2),
    encoder="conv",
    conv=ConvEncoderConfig(widths=(8, 8), blocks=1),
    condition_windows=((2, 2), (1, 1)),
    feature_windows=((2, 2), (1, 1)),
    fourier_scale=1.0,
    filter_size=(4, 4),
)
#: Channels and sides of latents, and of maps themselves; the condition has 32 x 32 cells.
SPACES = {"latents": (3, 8, 8), "maps": (1, 32, 32)}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def conditioned(process, channels, *, dtype=torch.float32):
    """A small network for a process, trained on nothing, as a function of points and times."""
    torch.manual_seed(0)
    config = replace(SMALL, latent_channels=channels, heads=process.heads, times=process.times)
    unet = UNet(config).to(dtype).train()
    features = unet.encode_condition(torch.rand(2, 2, 32, 32, dtype=dtype) * 2 - 1)
    return unet, lambda x_t, t, s=None: unet(x_t, t, features, s)


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", PROCESSES)
def test_training_step_reaches_every_parameter(name, space):
    process = PROCESSES[name]()
    unet, network = conditioned(process, SPACES[space][0])
    x_0 = standard_normal((2, *SPACES[space]), seeded(1))
    losses = process.loss(network, x_0, generator=seeded(2))
    assert losses.shape == (2,)
    losses.mean().backward()
    for key, parameter in unet.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            assert parameter.grad.isfinite().all(), key
    decoder = getattr(unet, f"{process.heads[-1]}_path")
    assert decoder.final_conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", PROCESSES)
def test_training_step_runs_in_mixed_precision(name):
    process = PROCESSES[name]()
    torch.manual_seed(0)
    unet = UNet(replace(SMALL, heads=process.heads, times=process.times)).eval()
    x_0, condition = standard_normal((2, 3, 8, 8), seeded(1)), torch.rand(2, 2, 32, 32)
    losses = []
    for mixed in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            features = unet.encode_condition(condition)
            losses.append(
                process.loss(
                    lambda x_t, t, s=None, given=features: unet(x_t, t, given, s),
                    x_0,
                    generator=seeded(2),
                )
            )
        assert (features[0].dtype == torch.bfloat16) == mixed
    losses[1].mean().backward()
    torch.testing.assert_close(losses[1], losses[0], rtol=0.05, atol=0)
    assert losses[1].dtype == torch.float32


@pytest.mark.parametrize("name", PROCESSES)
def test_loss_is_a_function_of_the_generator_and_leaves_the_global_one_alone(name):
    process = PROCESSES[name]()
    unet, network = conditioned(process, 3)
    unet.eval()
    x_0 = standard_normal((2, *SPACES["latents"]), seeded(1))
    before = torch.get_rng_state()
    losses = [process.loss(network, x_0, generator=seeded(seed)) for seed in (3, 3, 4)]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(losses[0], losses[1])
    assert torch.equal(losses[0], losses[2]) == (name == "regression")


@pytest.mark.parametrize("start", [1.0, 0.5])
@pytest.mark.parametrize("name", PROCESSES)
def test_sample_runs_through_a_network(name, start):
    process, sampler = PROCESSES[name](), SamplerConfig(steps=3, start=start)
    unet, network = conditioned(process, 3)
    unet.eval()
    schedule = make_schedule(sampler, process)
    noise = process.start((2, *SPACES["latents"]), seeded(), t=schedule[0])
    seen = []
    x_0 = sample(
        process,
        network,
        schedule,
        noise,
        start_time=schedule[0],
        generator=seeded(1),
        callback=lambda t, x_t, answer: seen.append((t, answer._fields)),
    )
    assert x_0.shape == noise.shape
    assert x_0.isfinite().all()
    assert [t for t, _ in seen] == list(schedule[:-1])
    assert all(names == process.heads for _, names in seen)


def test_derivative_along_a_path_is_a_finite_difference():
    """Eq. ``mean-flow-target``: through the whole U-Net, in double precision."""
    process = MeanFlow()
    unet, network = conditioned(process, 3, dtype=torch.float64)
    unet.eval()
    shape = (2, *SPACES["latents"])
    x_t, velocity = (standard_normal(shape, seeded(seed)).double() for seed in (1, 2))
    t, s = (torch.tensor(times, dtype=torch.float64) for times in ((0.9, 0.4), (0.2, 0.3)))
    answer, target = process.regression(network, x_t, velocity, t=t, s=s)
    with torch.no_grad():
        later, earlier = (network(x_t + h * velocity, t + h, s)[0] for h in (1e-5, -1e-5))
        torch.testing.assert_close(network(x_t, t, s)[0], answer)
    slope = (later - earlier) / 2e-5
    assert slope.abs().max() > 0.1
    expected = velocity - (t - s).view(-1, 1, 1, 1) * slope
    torch.testing.assert_close(target, expected, atol=1e-7, rtol=1e-6)


def test_dropout_is_the_same_in_an_answer_and_its_derivative():
    """One evaluation gives both: with all hidden values dropped or kept, never some of each."""
    process = MeanFlow()
    layer = torch.nn.Dropout(0.5)

    def network(x_t, t, s):
        return (layer(x_t),)

    torch.manual_seed(0)
    x_t, t, s = torch.ones(1, 1, 20, 20), torch.tensor([1.0]), torch.tensor([0.0])
    answer, target = process.regression(network, x_t, torch.ones_like(x_t), t=t, s=s)
    assert answer.unique().tolist() == [0, 2]
    assert torch.equal(target, 1 - answer)  # the slope of a kept value is 2, of a dropped one 0


def test_configuration_chooses_a_process_with_its_options():
    assert ProcessConfig().chosen == PROCESSES["constant_sde"]()
    flow = MeanFlow(TimeLaw(), equal_share=0.5)
    assert ProcessConfig("mean_flow", mean_flow=flow).chosen is flow
    names = {field.name for field in fields(ProcessConfig)}
    assert PROCESSES.keys() <= names
    for name, kind in PROCESSES.items():
        assert isinstance(ProcessConfig(name).chosen, kind)


@pytest.mark.parametrize("fault", [{"kind": "brownian"}, {"scale_maps": 0}])
def test_configuration_without_meaning_is_refused(fault):
    with pytest.raises(ValueError, match=next(iter(fault))):
        ProcessConfig(**fault)
