"""What our code makes of each vector set: the arrays, by name, one after the other."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.data import DataConfig, RadioMapSample
from radiodiff.ema import EMA
from radiodiff.losses import AutoencoderLossConfig, PerceptualLoss
from radiodiff.models import (
    AutoencoderConfig,
    AutoencoderKL,
    UNet,
)
from radiodiff.predictors.pipeline import RadioDiffPipeline
from radiodiff.processes import ConstantSDE, Prediction
from radiodiff.reference import (
    Names,
    autoencoder_config,
    autoencoder_names,
    autoencoder_state_dict,
    process_config,
    unet_config,
    unet_names,
    unet_state_dict,
)
from radiodiff.sampler import reference_schedule, sample
from radiodiff.tasks import AutoencoderTask, GenerativeTask
from tests.parity.networks import (
    autoencoder_task,
    given_draws,
    parity_config,
    perceptual_file,
    recording,
    run_pass,
    with_weights,
)
from tests.parity.vectors import Answer, VectorSet, recipe
from tests.processes.direct import DirectSDE

Answers = Iterator[tuple[str, Tensor | Answer]]

#: In single precision, the order of a sum decides on which side of a kink (leaky ReLU, absolute
#: value) a number close to it falls, and a gradient jumps.
GRADIENT_TYPE = torch.float64

#: What the public code's moving average takes where a configuration does not say.
EMA_DEFAULTS = {"update_after_step": 100, "update_every": 10}


def sde(vectors: VectorSet) -> Answers:
    process = ConstantSDE(vectors.config["eps"])
    x_0, noise, t = (vectors.input(name) for name in ("x0", "noise", "t"))
    length, step_noise = vectors.input("s"), vectors.input("eps")
    prediction = Prediction(vectors.input("C_pred"), vectors.input("noise_pred"))
    x_t = process.perturb(x_0, noise, t)
    estimate = process.x_0(x_t, prediction, t=t)
    yield "x_t", x_t
    yield "x0_from_xt", estimate
    for name, drift in (("xtms", prediction.drift), ("xtms_corrected", -estimate)):
        steps = [
            process.reverse_step(
                x_t[i : i + 1],
                Prediction(drift[i : i + 1], prediction.noise[i : i + 1]),
                t=t[i].item(),
                s=(t[i] - length[i]).item(),
                noise=step_noise[i : i + 1],
            )
            for i in range(len(t))
        ]
        yield name, torch.cat(steps)
    yield "t_of_u", process.training_times(vectors.input("u"))

    names = vectors.entry["loss_rows"]
    variants = []
    for name in names:
        kind, weighted, both = re.fullmatch("(l1|l2)(_weighted)?(_plus_l1_halved)?", name).groups()
        section = {"loss_type": kind, "weighting_loss": bool(weighted), "use_l1": bool(both)}
        process = process_config(vectors.config | section, vectors.folder.profile)
        variants.append(process.constant_sde)
    per_map = [variant.regression_loss(prediction, x_0, noise, t) for variant in variants]
    rows = [torch.cat([row, row.mean()[None]]) for row in per_map]
    yield "losses", Answer(torch.stack(rows), labels=names)
    leaves = Prediction(*(p.clone().requires_grad_() for p in prediction))
    variants[0].regression_loss(leaves, x_0, noise, t).mean().backward()
    yield "grad_C_pred", leaves.drift.grad
    yield "grad_noise_pred", leaves.noise.grad
    # The drift's target: where the gradient 2 (drift - target) / n of a plain square points from.
    plain = replace(variants[0], weighting="uniform", error="squared")
    drift = prediction.drift.clone().requires_grad_()
    plain.regression_loss(Prediction(drift, prediction.noise), x_0, noise, t).sum().backward()
    yield "C_target", prediction.drift - drift.grad * x_0[0].numel() / 2


def sampler(vectors: VectorSet) -> Answers:
    """Trajectories of a linear denoiser; one without stored noise draws it from seed 0."""
    matrices = {
        name: vectors.input(f"standin_{name}")
        for name in (f"{head}{part}" for head in "AB" for part in "xct0")
    }
    condition = vectors.input("cond")
    for name in sorted({array.rpartition("/")[0] for array in outputs(vectors)}):
        shape = vectors.arrays[f"{name}/x"].shape  # (states, b, c, h, w)
        pooled = functional.avg_pool2d(condition, condition.shape[-1] // shape[-1])

        def head(letter: str, x_t: Tensor, t: Tensor, pooled: Tensor = pooled) -> Tensor:
            result = torch.einsum("oi,bihw->bohw", matrices[letter + "x"], x_t)
            result = result + torch.einsum("oi,bihw->bohw", matrices[letter + "c"], pooled)
            per_channel = matrices[letter + "t"] * t[:, None] + matrices[letter + "0"]
            return result + per_channel[:, :, None, None]

        final_step = not name.endswith("_no_denoise")
        calls = shape[0] - 1
        schedule = reference_schedule(
            calls - final_step, t_min=vectors.config["eps"], final_step=final_step
        )
        states, times = [], []
        generator = torch.Generator().manual_seed(0)
        is_stored = f"{name}/init" in vectors.arrays
        result = sample(
            DirectSDE(),
            lambda x_t, t: (head("A", x_t, t), head("B", x_t, t)),
            schedule,
            vectors.input(f"{name}/init")
            if is_stored
            else torch.randn(shape[1:], generator=generator),
            noise=list(vectors.input(f"{name}/eps")) if is_stored else None,
            generator=None if is_stored else generator,
            callback=lambda t, x_t, _, states=states, times=times: (
                states.append(x_t),
                times.append(t),
            ),
        )
        assert len(times) == vectors.entry["model_evaluations"].get(name, calls)
        yield f"{name}/x", torch.stack([*states, result])
        ends = torch.tensor([*times, 0.0], dtype=torch.float64)
        yield f"{name}/t", ends[:-1]
        yield f"{name}/s", ends[:-1] - ends[1:]


def ema(vectors: VectorSet) -> Answers:
    """The buffer ``step`` has been counted up by the update whose decay it gives."""
    for name, section in vectors.config.items():
        options = EMA_DEFAULTS | section
        network = nn.Linear(1, 1, bias=False)
        average = EMA(
            network,
            decay=options["beta"],
            start=options["update_after_step"],
            every=options["update_every"],
        )
        if "updates" not in section:
            values = [average.decay_at(step - 1) for step in vectors.input("steps").tolist()]
        else:
            values = []
            for step in range(section["updates"]):
                nn.init.constant_(network.weight, step)
                average.update(network, step)
                values.append(average.network.weight.item())
        yield name, torch.tensor(values, dtype=torch.float64)


@torch.no_grad()
def autoencoder(vectors: VectorSet) -> Answers:
    config = autoencoder_config(vectors.config["first_stage"])
    network = with_weights(AutoencoderKL, config, autoencoder_state_dict(vectors.weights(), config))
    wanted = outputs(vectors)
    for prefix in sorted({array[: array.rfind("/") + 1] for array in wanted}):
        posterior = network.encode(vectors.input(f"{prefix}x"))
        yield f"{prefix}mean", posterior.mean
        yield f"{prefix}logvar", posterior.log_variance
        yield f"{prefix}kl", posterior.kl()
        if f"{prefix}sample" in wanted:
            noise = vectors.input(f"{prefix}sample_noise")
            yield f"{prefix}sample", posterior.sample(noise=noise)
        if f"{prefix}decoded" in wanted:
            yield f"{prefix}decoded", network.decode(vectors.input(f"{prefix}z"))
        if f"{prefix}reconstruction" in wanted:
            yield f"{prefix}reconstruction", network.decode(posterior.mode())


@torch.no_grad()
def unet(vectors: VectorSet) -> Answers:
    weights = vectors.weights()
    x_t, t, condition = (vectors.input(name) for name in ("x", "t", "cond"))
    for prefix in ("", "cars_"):
        if f"{prefix}C" not in outputs(vectors):
            continue
        section = vectors.config["unet"] | ({"DPMCARK": True} if prefix else {})
        config = unet_config(section, vectors.folder.profile, swin=vectors.config.get("swin"))
        network = with_weights(UNet, config, unet_state_dict(weights, config))
        if prefix:
            condition = torch.cat([condition, condition[:, 1:3].flip(2)], dim=1)
        inner = [a.removeprefix("inter/") for a in outputs(vectors) if a.startswith("inter/")]
        with recording(network, inner) as seen:
            features = network.encode_condition(condition)
            heads = network(x_t, t, features)
        drift, noise = vectors.folder.profile.process.constant_sde.predict(heads, x_t, t)
        yield f"{prefix}C", drift
        yield f"{prefix}noise", noise
        if prefix:
            continue
        parts = {f"inter/{path}": output for path, output in seen.items()}
        parts |= {f"swin{mark}{i}": level for i, level in enumerate(features) for mark in "/_"}
        for name in parts.keys() & set(outputs(vectors)):
            # Stored in part: the first map, the first channels.
            yield name, parts[name][tuple(map(slice, vectors.arrays[name].shape))]


def end_to_end(vectors: VectorSet) -> Answers:
    """The sampling of `RadioDiffPipeline` and the training step of `GenerativeTask`."""
    section, folder = vectors.config, vectors.folder
    swin = folder.manifest["sets"].get("unet_small", {}).get("config", {}).get("swin")
    sizes = unet_config(section["unet"], vectors.folder.profile, swin=section.get("swin", swin))
    sizes = replace(sizes, dropout=0.0, swin=replace(sizes.swin, stochastic_depth=0.0))
    config = parity_config(
        data=DataConfig(condition=("buildings", "transmitter", "buildings")),
        autoencoder=autoencoder_config(section["first_stage"]),
        network=sizes,
        process=process_config(section | {"default_scale": True}, vectors.folder.profile),
        sampler=replace(vectors.folder.profile.sampler, steps=section["sampling_timesteps"]),
    )
    stored = [array for array in vectors.arrays if array.startswith("weight/")]
    weights = folder.stored_weights("unet_small")
    weights |= {array.removeprefix("weight/"): vectors.input(array) for array in stored}
    weights = unet_state_dict(weights, sizes)
    first_stage = with_weights(
        AutoencoderKL,
        config.autoencoder,
        autoencoder_state_dict(folder.stored_weights("vae_small"), config.autoencoder),
    )
    condition = vectors.input("cond")

    network = with_weights(UNet, sizes, weights)
    pipeline = RadioDiffPipeline(first_stage, network, section["scale_factor"], config)
    noise = [vectors.input("init"), *vectors.input("eps")]
    x_0 = pipeline.latents(condition, noise=noise)
    yield "sample/z", x_0
    yield "sample/image", (pipeline.space.radio_maps(x_0) + 1) / 2

    first_stage.to(GRADIENT_TYPE)
    image, *draws = (
        vectors.input(name).to(GRADIENT_TYPE) for name in ("image", "posterior_noise", "u", "noise")
    )
    condition = (condition.to(GRADIENT_TYPE) + 1) / 2
    batch = RadioMapSample(image, condition, None, torch.ones(0), "")
    names = unet_names(sizes)
    for mode in vectors.entry["modes"]:
        task = GenerativeTask(config, first_stage, section["scale_factor"]).train(mode == "train")
        task.averaged.load_state_dict(weights)
        task.to(GRADIENT_TYPE)
        with given_draws(*draws):
            loss = task(batch, "diffusion", 0, torch.Generator()).loss
        loss.backward()
        yield f"{mode}/loss", loss[None]
        yield from _gradients(vectors, mode, names, dict(task.averaged.named_parameters()))
        state = task.averaged.state_dict()
        statistics = {key: state[names.ours(key)] for key in vectors.entry["bn_keys"]}
        labels = [key for key, value in statistics.items() for _ in value]
        yield f"{mode}/bn_running", Answer(torch.cat(list(statistics.values())), labels=labels)


def _gradients(
    vectors: VectorSet, mode: str, names: Names, parameters: dict[str, nn.Parameter]
) -> Answers:
    """Norm and random projection of each gradient."""
    keys = vectors.entry["gradient_keys"]
    suffix, prefix = re.search(
        r"recipe\(seed \+ '([^']*)', '([^']*)' \+ key", vectors.entry["gradient_probe"]
    ).groups()
    norms, probes = [], []
    for key in keys:
        parameter = parameters[names.ours(key)]
        gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        norms.append(gradient.norm())
        probe = recipe(vectors.folder.seed + suffix, prefix + key, gradient.shape)
        probes.append((gradient * probe).sum())
    norms = torch.stack(norms)
    # What is zero but for rounding has the rounding of a typical gradient.
    vanishing = set(vectors.entry["gradient_zero_in_exact_arithmetic"][mode])
    is_zero = torch.tensor([key in vanishing for key in keys])
    scale = norms.where(~is_zero, norms.median())
    yield f"{mode}/grad_norms", Answer(norms, scale, keys)
    yield f"{mode}/grad_probes", Answer(torch.stack(probes), scale, keys)


def autoencoder_loss(vectors: VectorSet) -> Answers:
    """Both passes of `AutoencoderTask`, and the networks of its loss."""
    section = vectors.config["first_stage"]
    options, sizes = section["lossconfig"], autoencoder_config(section)
    weights = {key.removeprefix("loss."): value for key, value in vectors.weights().items()}
    first_stage = autoencoder_state_dict(vectors.folder.stored_weights("vae_small"), sizes)
    radio_map, noise, other = (vectors.input(name).to(GRADIENT_TYPE) for name in "xny")
    with perceptual_file(weights) as file:

        def make_task(perceptual_weight: float) -> AutoencoderTask:
            loss = AutoencoderLossConfig(
                kl_weight=options["kl_weight"],
                perceptual_weight=perceptual_weight,
                perceptual_weights_file=str(file),
                discriminator_weight=options["disc_weight"],
                discriminator_start=options["disc_start"],
            )
            return autoencoder_task(sizes, loss, first_stage, weights, GRADIENT_TYPE)

        perceptual = re.findall(r"(\w+): ([\d.]+)", vectors.config["perceptual_weight"])
        watched = [key.split()[0] for key in vectors.entry["grad_norms_of"]]
        for array, labels in vectors.entry["scalar_names"].items():
            name, number, step = re.fullmatch(r"(\w+)/opt(\d)/step(\d+)", array).groups()
            task = make_task(float(dict(perceptual)[name]))
            scalars = run_pass(task, task.passes[int(number)], int(step), radio_map, noise)
            scalars["loss"].backward()
            yield array, Answer(torch.stack([scalars[label] for label in labels]), labels=labels)
            gradients = [_loss_parameter(task, sizes, key).grad for key in watched]
            norms = [torch.zeros(()) if g is None else g.norm() for g in gradients]
            yield f"{array}/grad_norms", Answer(torch.stack(norms), labels=watched)

        # Stored after one training pass over maps, then reconstructions.
        task = make_task(0.0)
        run_pass(task, "discriminator", 0, radio_map, noise)
        with torch.no_grad():
            yield "disc_logits", task.discriminator.eval()(radio_map)
            distance = PerceptualLoss(file).to(GRADIENT_TYPE)(radio_map, other)
            yield "lpips", distance.view(-1, 1, 1, 1)


def _loss_parameter(task: AutoencoderTask, sizes: AutoencoderConfig, key: str) -> nn.Parameter:
    """Return the parameter that the public code's first stage calls so."""
    if key.startswith("loss.discriminator."):
        return task.discriminator.get_parameter(key.removeprefix("loss.discriminator."))
    return task.autoencoder.get_parameter(autoencoder_names(sizes).ours(key))


@dataclass(frozen=True)
class SetKind:
    """How a set of one name is run.

    Attributes:
        answers: Gives the arrays.
        inputs: Pattern of the stored arrays that it reads; the rest are outputs.
        is_slow: Whether it takes more than 20 s.
    """

    answers: Callable[[VectorSet], Answers]
    inputs: str
    is_slow: bool = False


KINDS = {
    "sde": SetKind(sde, "x0|noise|t|s|C_pred|noise_pred|eps|u"),
    "sampler": SetKind(sampler, r"standin_\w+|cond|.+/(init|eps)"),
    "ema": SetKind(ema, "steps"),
    "vae_small": SetKind(autoencoder, ".+/(x|z|sample_noise)"),
    "real_vae": SetKind(autoencoder, "x|z", is_slow=True),
    "unet_small": SetKind(unet, "x|t|cond"),
    "real_unet": SetKind(unet, "x|t|cond", is_slow=True),
    "e2e_small": SetKind(end_to_end, "image|cond|posterior_noise|u|noise|init|eps|weight/.+"),
    "vae_loss": SetKind(autoencoder_loss, "x|y|n"),
}


def outputs(vectors: VectorSet) -> list[str]:
    """Return the arrays of a set that are to be compared."""
    pattern = KINDS[vectors.name].inputs
    return [array for array in vectors.names() if not re.fullmatch(pattern, array)]
