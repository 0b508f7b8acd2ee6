"""Whole runs: a configuration becomes trained weights, and those become results."""

import dataclasses
import json
import logging
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, TextIO

import torch
import yaml
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from radiodiff import units
from radiodiff.checkpoint import load_weights, newest_checkpoint
from radiodiff.config import Config, ConfigError, EvaluateConfig, load_config, save_config
from radiodiff.data import (
    DatasetError,
    EdgeDataset,
    EdgeImages,
    EightSymmetries,
    RadioMap3DSeer,
    RadioMapSample,
    RadioMapSeer,
    path_gain_db,
    split_overlap,
    transmitter_cell,
)
from radiodiff.data.splits import read_manifest
from radiodiff.files import project_path, remove_temporaries, sha256, write_atomically
from radiodiff.models import AutoencoderKL, UNet, parameter_count
from radiodiff.pipeline import RadioDiffPipeline
from radiodiff.plots import plot_predictions
from radiodiff.predictors import (
    Baselines,
    dominant_path_predictor,
    draw_maps,
    model_predictor,
)
from radiodiff.scoring import PROTOCOLS, check_protocols, evaluate
from radiodiff.simulate import simulate_dataset
from radiodiff.tasks import AutoencoderTask, DiffusionTask, measure_latent_scale
from radiodiff.trainer import OnCheckpoint, process_state, train

__all__ = [
    "check_run",
    "current_commit",
    "default_run_dir",
    "device_name",
    "evaluate_run",
    "log_progress",
    "make_dataset",
    "sample_run",
    "show_log",
    "train_run",
]

logger = logging.getLogger(__name__)

Stage = Literal["autoencoder", "diffusion"]

#: What a run trains, in order.
STAGES: tuple[Stage, ...] = ("autoencoder", "diffusion")

#: Sections, keys and fields that may change between a run and its continuation.
_FREE_KEYS = (
    "evaluate",
    "train.max_steps",
    "log_every",
    "sample_every",
    "sample_before",
    "checkpoint_every",
    "keep_checkpoints",
    "workers",
    "cache",
    "packed",
)

_FIGURE_MAPS = 4


def default_run_dir(config: Config) -> Path:
    """Return ``runs/<name>`` of the project."""
    return project_path(Path("runs") / config.name)


def make_dataset(
    config: Config, split: Literal["train", "val", "test"], *, max_maps: int | None = None
) -> RadioMapSeer | RadioMap3DSeer | EdgeDataset | EdgeImages:
    """Open a split of the run's dataset, simulating the dataset first if the configuration says so.

    Args:
        config: Its ``data`` section is used.
        split: Which cities. Pictures with edges are cropped at random for ``train``, and drawn
            whole and without edges, out of the folder ``test``, for ``test``.
        max_maps: Use only the first so many tiles of the split; all if ``None``.

    Returns:
        The dataset, without the symmetries that training may add (``data.augment``).

    Raises:
        DatasetError: If the folder is not a dataset or has no such split.
        ValueError: If the folder holds a dataset simulated with other settings, or ``data`` asks
            for what contradicts itself.
    """
    data = config.data
    root = project_path(data.root)
    if data.source == "radiomap3dseer":
        return RadioMap3DSeer(root, split, splits=data.splits, max_maps=max_maps)
    if data.source == "edges":
        if split == "val":
            raise DatasetError("pictures with edges have no split val: train or test")
        if split == "test":
            return EdgeImages(root / "test", max_maps=max_maps)
        return EdgeDataset(
            root, **dataclasses.asdict(data.edges), seed=data.seed, max_maps=max_maps
        )
    if data.simulate is not None:
        with process_state().main_process_first():
            progress = log_progress("simulated %d of %d city tiles")
            settings = dataclasses.asdict(data.simulate)
            simulate_dataset(root, **settings, commit=current_commit(), progress=progress)
    names = (
        "simulation irt2_max_weight cars hide_cars missing_buildings measurements "
        "measure_anywhere k2_channels threshold seed splits"
    )
    return RadioMapSeer(
        root,
        split,
        **{name: getattr(data, name) for name in names.split()},
        max_maps=max_maps,
        cache=project_path(data.cache) if data.cache is not None else None,
        packed=project_path(data.packed) if data.packed is not None else None,
    )


def show_log(stream: TextIO, pattern: str = "%(message)s") -> None:
    """Send the package's progress lines to a stream, and only there.

    Args:
        stream: Where the lines go, e.g. ``sys.stdout`` in a notebook.
        pattern: Format of a line, as in `logging.Formatter`.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter(pattern, datefmt="%H:%M:%S"))
    package = logging.getLogger("radiodiff")
    package.handlers = [handler]
    package.propagate = False
    package.setLevel(logging.INFO)


def log_progress(message: str, *, interval_s: float = 5.0) -> Any:
    """Return a progress callback that logs ``message % (done, total)`` now and then."""
    last = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= interval_s:
            last = time.monotonic()
            logger.info(message, done, total)

    return report


def train_run(
    config: Config,
    run_dir: Path | None = None,
    *,
    resume: bool | Literal["auto"] = "auto",
    stages: Sequence[Stage] = STAGES,
    initial_unet: Mapping[str, Tensor] | None = None,
    on_checkpoint: OnCheckpoint | None = None,
) -> Path:
    """Train both stages and return the run folder, which `RadioDiffPipeline.from_run` reads.

    The folder receives ``config.yaml`` (resolved) before the first step, one folder a stage, and
    ``autoencoder.safetensors``, ``latents.json`` and ``diffusion.safetensors`` as they are
    finished. Calling it again goes on from the newest checkpoint.

    Args:
        config: The run.
        run_dir: Folder of the run; ``runs/<name>`` if ``None``.
        resume: ``True`` needs a checkpoint, ``"auto"`` uses one if present, ``False`` requires
            that there is none.
        stages: Which stages to train; ``diffusion`` alone needs ``autoencoder.safetensors`` in
            the folder.
        initial_unet: Weights that the U-Net starts from instead of random ones.
        on_checkpoint: Called in the main process before each checkpoint, see `trainer.train`.

    Returns:
        The run folder.

    Raises:
        ConfigError: If the folder holds a run with another configuration or with more steps, or
            the network takes another number of condition channels than the data give.
        FileNotFoundError: If ``resume`` is ``True`` and there is no checkpoint.
        FileExistsError: If ``resume`` is ``False`` and there is one, or the folder holds weights
            of a stage without a checkpoint, as that of an imported run does.
        NonFiniteLossError: If a loss is not finite.
    """
    run_dir = Path(run_dir) if run_dir is not None else default_run_dir(config)
    if "diffusion" in stages:
        _check_condition(config)
    check_run(config, run_dir, resume=resume, stages=stages)
    state = process_state()
    last = _last_checkpoint(config, run_dir, stages[-1])
    newest = newest_checkpoint(last.parent)
    began = time.monotonic()
    dataset = make_dataset(config, "train")
    if state.is_main_process:
        remove_temporaries(run_dir)
        save_config(config, run_dir / "config.yaml")
        if newest != last:
            _record_session(run_dir, time.monotonic() - began)
        logger.info("%d training maps of %d tiles", len(dataset), len(dataset.maps))
        logger.info("parameters: %s", _parameter_counts(config))
    training = EightSymmetries(dataset) if config.data.augment else dataset
    settings: dict[str, Any] = {
        "seed": config.seed,
        "workers": config.data.workers,
        "on_checkpoint": on_checkpoint,
    }
    # The latent scale is written after the first stage: with it the stage is over for good, since
    # the second builds on exactly these weights.
    if "autoencoder" in stages and not (run_dir / "latents.json").is_file():
        task = _seeded(config.seed, AutoencoderTask, config)
        train(task, training, config.train_autoencoder, run_dir, **settings)
    if "diffusion" not in stages:
        return run_dir
    autoencoder = _seeded(config.seed, AutoencoderKL, config.autoencoder)
    load_weights(autoencoder, run_dir / "autoencoder.safetensors")
    scale = _latent_scale(config, autoencoder.to(state.device).eval(), dataset, run_dir)
    task = _seeded(config.seed + 1, DiffusionTask, config, autoencoder, scale)
    if initial_unet is not None:
        task.unet.load_state_dict(initial_unet)
    train(task, training, config.train, run_dir, **settings)
    return run_dir


def check_run(
    config: Config,
    run_dir: Path,
    *,
    resume: bool | Literal["auto"] = "auto",
    stages: Sequence[Stage] = STAGES,
) -> None:
    """Refuse a folder in which `train_run` must not work; arguments and errors are the same."""
    newest = {stage: newest_checkpoint(run_dir / stage / "checkpoints") for stage in stages}
    if resume is True and not any(newest.values()):
        raise FileNotFoundError(f"resume is true, but {run_dir} holds no checkpoint")
    if resume is False and any(newest.values()):
        raise FileExistsError(f"resume is false, but {run_dir} holds a run: name another run_dir")
    _check_same_run(config, run_dir)
    for stage, checkpoint in newest.items():
        weights = run_dir / f"{stage}.safetensors"
        is_over = stage == "autoencoder" and (run_dir / "latents.json").is_file()
        if checkpoint is None and weights.is_file() and not is_over:
            raise FileExistsError(
                f"{weights} holds weights, but there is no checkpoint to go on from (was the run "
                "imported?): choose another run folder, or delete that one"
            )
    last, found = _last_checkpoint(config, run_dir, stages[-1]), newest[stages[-1]]
    if found is not None and found.name > last.name:
        section = "train" if stages[-1] == "diffusion" else "train_autoencoder"
        raise ConfigError(
            f"{run_dir} has {found.name}, beyond {section}.max_steps "
            f"{getattr(config, section).max_steps}: "
            "ask for as many steps or more, or choose another run folder"
        )


def _check_condition(config: Config) -> None:
    """Refuse data whose condition the network cannot take, before hours of a first stage."""
    if not config.condition_fits:
        given, encoder = config.data.condition_channels, config.unet.encoder
        key = f"{encoder}.in_channels" if encoder in ("swin", "conv") else "condition_mix_inputs"
        raise ConfigError(
            f"the data give {given} condition channels, the network takes "
            f"{config.unet.condition_inputs}: set unet.{key}={given}, or change section data"
        )


def _last_checkpoint(config: Config, run_dir: Path, stage: Stage) -> Path:
    """Return the checkpoint with which a stage will end."""
    training = config.train if stage == "diffusion" else config.train_autoencoder
    return run_dir / stage / "checkpoints" / f"step-{training.max_steps:08d}"


def _parameter_counts(config: Config) -> str:
    """Return the sizes of autoencoder and U-Net and their sum, as text."""
    with torch.device("meta"):
        autoencoder, unet = AutoencoderKL(config.autoencoder), UNet(config.unet)
    counts = {"autoencoder": parameter_count(autoencoder), "U-Net": parameter_count(unet)}
    counts["total"] = sum(counts.values())
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _record_session(run_dir: Path, data_seconds: float) -> None:
    """Note in ``sessions.json`` which commit works on the run, and how long its data took [s]."""
    path = run_dir / "sessions.json"
    sessions = json.loads(path.read_text()) if path.is_file() else []
    sessions.append(
        {
            "commit": current_commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "data_s": round(data_seconds, 1),
        }
    )
    write_atomically(path, json.dumps(sessions, indent=1))


def _check_same_run(config: Config, run_dir: Path) -> None:
    """Refuse to continue a run under a configuration that would make it another run."""
    path = run_dir / "config.yaml"
    if not path.is_file():
        return

    def flat(value: Any, prefix: str = "") -> dict[str, Any]:
        if not dataclasses.is_dataclass(value):
            return {prefix[:-1]: value}
        rows: dict[str, Any] = {}
        for field in dataclasses.fields(value):
            rows |= flat(getattr(value, field.name), f"{prefix}{field.name}.")
        return rows

    old, new = flat(load_config(path)), flat(config)
    changed = [
        f"{key} was {old.get(key)!r}, is {new.get(key)!r}"
        for key in sorted(old | new)
        if old.get(key) != new.get(key) and not {key, *key.split(".")} & set(_FREE_KEYS)
    ]
    if changed:
        shown = "; ".join(changed[:4]) + (f"; and {len(changed) - 4} more" * (len(changed) > 4))
        raise ConfigError(
            f"{run_dir} holds a run with another configuration ({shown}): "
            "choose another run folder or delete that one"
        )


def _seeded(seed: int, make: Any, *arguments: Any) -> nn.Module:
    """Build a module whose weights depend on the seed alone; leave global generators alone."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return make(*arguments)


def _latent_scale(config: Config, autoencoder: AutoencoderKL, dataset: Any, run_dir: Path) -> float:
    """Return the configured or measured latent scale and keep it in ``latents.json``."""
    path = run_dir / "latents.json"
    state = process_state()
    if state.is_main_process and not path.is_file():
        scale = config.diffusion.latent_scale
        if config.diffusion.latent_scaling == "softsign":
            scale = 1.0
        scale = scale or _measure_scale(config, autoencoder, dataset)
        write_atomically(path, json.dumps({"latent_scale": scale}))
    state.wait_for_everyone()  # on every path: one process alone in a barrier waits for ever
    return json.loads(path.read_text())["latent_scale"]


def _measure_scale(config: Config, autoencoder: AutoencoderKL, dataset: Any) -> float:
    """Return 1 / standard deviation of the latents of maps spread evenly over a dataset."""
    device = next(autoencoder.parameters()).device
    count = min(config.diffusion.latent_scale_maps, len(dataset))
    chosen = Subset(dataset, range(0, count * (len(dataset) // count), len(dataset) // count))
    # A generator of its own: a loader draws from the global one otherwise.
    loader = DataLoader(chosen, batch_size=16, generator=torch.Generator())
    batches = (batch._replace(radio_map=batch.radio_map.to(device)) for batch in loader)
    generator = torch.Generator(device).manual_seed(config.seed)
    scale = measure_latent_scale(autoencoder, batches, generator)
    logger.info("latent scale %.4f, measured on training maps", scale)
    return scale


def evaluate_run(
    run_dir: Path,
    results_dir: Path,
    *,
    protocols: Sequence[str] = tuple(PROTOCOLS),
    device: str | None = None,
    allow_leak: bool = False,
) -> dict[str, Any]:
    """Score a run and its baselines on held-out cities; write numbers with provenance and a figure.

    Args:
        run_dir: Folder of a finished run.
        results_dir: Receives ``metrics.json`` and ``predictions.png``.
        protocols: Rules for the numbers, see `radiodiff.scoring.PROTOCOLS`; all if not given.
        device: Where the networks run; a GPU if there is one.
        allow_leak: Score all the same where it is no fair test: judged maps are in another split
            too, or the condition is computed from the truth. The results say so under ``leak``.

    Returns:
        The content of ``metrics.json``.

    Raises:
        FileNotFoundError: If the run has not finished.
        DatasetError: If its dataset is not there.
        ValueError: If several processes were launched, there is no such protocol, the run's maps
            are not path gain on the scale of the files, or it is no fair test and ``allow_leak``
            is false; names the maps.
    """
    if process_state().num_processes > 1:
        raise ValueError("evaluation runs in one process: start it without torchrun")
    check_protocols(protocols)
    commit = current_commit()
    began = time.monotonic()
    run_dir, results_dir = Path(run_dir), Path(results_dir)
    pipeline = RadioDiffPipeline.from_run(run_dir, device=device)
    config = pipeline.config
    if not config.data.has_decibels or config.data.threshold:
        raise ValueError(
            "scores are defined for path gain on the scale of RadioMapSeer's files, but the run "
            f"has data.source {config.data.source} and data.threshold {config.data.threshold:g}: "
            "look at its maps with `radiodiff sample`"
        )
    training = make_dataset(config, "train")
    held_out = make_dataset(config, config.evaluate.split, max_maps=config.evaluate.max_maps)
    leak = _leaks(config, held_out)
    if leak and not allow_leak:
        raise ValueError(
            f"a score would be no fair test: {'; '.join(leak.values())}. Choose other settings in "
            "section data, or score all the same with --allow-leak (allow_leak=True), which the "
            "results will tell"
        )
    model = model_predictor(pipeline, config.evaluate)
    predictors = {
        "radiodiff": model,
        **Baselines.fit(training).predictors(),
        "dominant path": dominant_path_predictor(_cell_size_m(held_out)),
    }
    result = evaluate(predictors, held_out, config.evaluate, protocols=protocols)
    figure = plot_predictions(_figure_rows(held_out, model))
    results_dir.mkdir(parents=True, exist_ok=True)
    figure.savefig(results_dir / "predictions.png", dpi=110)
    sessions = json.loads((run_dir / "sessions.json").read_text())
    seconds = {"data": sum(session["data_s"] for session in sessions)}
    seconds |= {stage: _stage_seconds(run_dir, stage) for stage in ("autoencoder", "diffusion")}
    seconds["evaluation"] = time.monotonic() - began
    judged = (
        f"{config.data.root}, {held_out.split}: {len(held_out)} maps of {result['tiles']} tiles"
    )
    result |= {
        "judged": judged,
        "run": config.name,
        "seed": config.seed,
        "commit": commit,
        "trained_at": sorted({session["commit"] for session in sessions}),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": device_name(pipeline.device),
        "versions": {
            name: version(name) for name in ("radiodiff", "torch", "numpy", "numba", "accelerate")
        }
        | {"python": platform.python_version()},
        "data": _describe(training, held_out),
        "wall_time_s": {name: round(value, 1) for name, value in seconds.items()}
        | {"total": round(sum(seconds.values()), 1)},
        "config": yaml.safe_load((run_dir / "config.yaml").read_text()),
    }
    if leak:
        result["leak"] = leak
    write_atomically(results_dir / "metrics.json", json.dumps(result, indent=1) + "\n")
    return result


def _cell_size_m(dataset: RadioMapSeer) -> float:
    """Return the side of a cell of a dataset [m]; 1 m in the real one."""
    manifest = read_manifest(dataset.root) or {}
    return manifest.get("parameters", {}).get("cell_size_m", 1.0)


def _leaks(config: Config, held_out: RadioMapSeer) -> dict[str, str]:
    """Return what makes a score no fair test, by kind; empty for a fair one."""
    leaks = {}
    judged = set(held_out.maps)
    for pair, maps in split_overlap(config.data.splits, root=held_out.root).items():
        shared = [m for m in maps if m in judged]
        if held_out.split in pair and shared:
            name = " and ".join(pair)
            leaks[name] = f"{name} share {len(shared)} maps: {', '.join(map(str, shared))}"
    if config.data.k2_channels:
        leaks["condition"] = "k² maps in the condition are computed from the maps to predict"
    return leaks


def sample_run(
    run_dir: Path,
    out_dir: Path,
    *,
    split: Literal["train", "val", "test"] | None = None,
    max_maps: int | None = None,
    steps: int | None = None,
    device: str | None = None,
) -> Path:
    """Draw the radio maps of a split and write them as 8-bit gray pictures.

    Each map's noise is a function of the run's ``evaluate.seed`` and, unless all share one noise,
    of its name, so no picture depends on the batch size. Stopped, the same call goes on: pictures
    of the same weights and settings are kept, which ``sample.json`` tells.

    Args:
        run_dir: Folder of a finished or imported run.
        out_dir: Receives ``<map>_<transmitter>.png``: gray level as in the dataset's files; for
            pictures, ``<picture>.png`` with their edges.
        split: Which maps; those of the run's ``evaluate`` section if ``None``.
        max_maps: Use only the first so many tiles; the run's number if ``None``.
        steps: Denoiser calls; those of the run if ``None``.
        device: Where the networks run; a GPU if there is one.

    Returns:
        ``out_dir``.

    Raises:
        FileNotFoundError: If the run has not finished.
        DatasetError: If its dataset is not there.
        ValueError: If the folder holds pictures of other weights or settings, a number is below
            1, several processes were launched, or edges are to be drawn for random crops.
    """
    if process_state().num_processes > 1:
        raise ValueError("sampling runs in one process: start it without torchrun")
    if max_maps is not None and max_maps < 1:
        raise ValueError(f"max_maps must be at least 1, got {max_maps}")
    pipeline = RadioDiffPipeline.from_run(run_dir, device=device)
    settings = dataclasses.replace(pipeline.config.evaluate, samples=1)
    if steps is not None:
        settings = dataclasses.replace(settings, steps=steps)
    pipeline.config = dataclasses.replace(pipeline.config, evaluate=settings)  # and its limits
    max_maps = settings.max_maps if max_maps is None else max_maps
    dataset = make_dataset(pipeline.config, split or settings.split, max_maps=max_maps)
    if isinstance(dataset, EdgeDataset):
        raise ValueError("edges are drawn for whole pictures, those of split test")
    out_dir = Path(out_dir)
    made_by = {
        "weights_sha256": sha256(Path(run_dir) / "diffusion.safetensors"),
        **{name: getattr(settings, name) for name in ("steps", "schedule", "seed", "shared_noise")},
    }
    note = out_dir / "sample.json"
    if note.is_file() and json.loads(note.read_text()) != made_by:
        raise ValueError(f"{out_dir} holds pictures of other weights or settings: name another")
    write_atomically(note, json.dumps(made_by, indent=1) + "\n")
    names = [f"{name}.png" for name in dataset.names]
    left = [k for k, name in enumerate(names) if not (out_dir / name).is_file()]
    if len(left) < len(names):
        logger.info("kept %d maps that were there", len(names) - len(left))
    report = log_progress("drew %d of %d maps")
    done = len(names) - len(left)
    batch_size = 1 if isinstance(dataset, EdgeImages) else settings.batch_size  # sides differ
    for batch in DataLoader(Subset(dataset, left), batch_size=batch_size):
        gray = _drawn_gray(pipeline, batch, settings).clamp(0, 1)[:, 0]
        for name, picture in zip(batch.name, (255 * gray + 0.5).byte().numpy(), strict=True):
            save = partial(Image.fromarray(picture).save, format="PNG")
            write_atomically(out_dir / f"{name}.png", save)
        done += len(batch.name)
        report(done, len(names))
    return out_dir


def _drawn_gray(
    pipeline: RadioDiffPipeline, batch: RadioMapSample, settings: EvaluateConfig
) -> Tensor:
    """Return a drawn map for each of a batch as gray levels of the files."""
    if pipeline.config.data.has_decibels:
        return units.path_gain_db_to_gray(model_predictor(pipeline, settings)(batch))
    drawn = draw_maps(pipeline, batch.condition, [(name, 0) for name in batch.name], settings)
    return units.model_to_gray(drawn.cpu())


def _figure_rows(dataset: RadioMapSeer, model: Any) -> list[dict[str, object]]:
    """Truth and prediction of the first transmitter of a few tiles."""
    firsts: dict[int, int] = {}
    for index, (map_id, _) in enumerate(dataset.pairs):
        firsts.setdefault(map_id, index)
    chosen = list(firsts.values())[:_FIGURE_MAPS]
    samples = [dataset[index] for index in chosen]
    predictions = model(next(iter(DataLoader(samples, batch_size=len(samples)))))
    return [
        {
            "name": sample.name,
            "truth_db": path_gain_db(sample),
            "prediction_db": prediction[0].numpy(),
            "building_mask": ~sample.outdoor_mask[0].numpy(),
            "transmitter_cell": transmitter_cell(sample),
        }
        for sample, prediction in zip(samples, predictions, strict=True)
    ]


def _describe(training: RadioMapSeer, held_out: RadioMapSeer) -> dict[str, Any]:
    """Say what the numbers were computed on."""
    manifest = training.root / "dataset.json"
    described = json.loads(manifest.read_text()) if manifest.is_file() else {}
    cities = {row["id"]: row["city"] for row in described.pop("maps", [])}
    return {
        "source": "simulated" if described else "RadioMapSeer",
        **described,
        **{
            dataset.split: {
                "tiles": len(dataset.maps),
                "maps": len(dataset),
                "cities": sorted({cities[m] for m in dataset.maps if m in cities}),
            }
            for dataset in (training, held_out)
        },
    }


def _stage_seconds(run_dir: Path, stage: str) -> float:
    """Training time of a stage over all its interruptions [s]."""
    checkpoint = newest_checkpoint(run_dir / stage / "checkpoints")
    if checkpoint is None:
        return 0.0
    return json.loads((checkpoint / "state.json").read_text())["seconds"]


def current_commit() -> str:
    """Return the commit of the checkout, ``-dirty`` if files differ, ``unknown`` outside git."""
    try:
        commit = _git("rev-parse", "HEAD")
        # A run rewrites its own results; they do not change what made them.
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!results")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _git(*arguments: str) -> str:
    """Return what git prints in the project's root."""
    command = ["git", "-C", str(Path(__file__).resolve().parents[2]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or the processor's and the number of threads torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"
