"""Measure what each correction of the public code's faults changes: one switch undone at a time.

    .venv/bin/python -m experiments.ablate_corrections

Same maps, seeds and budget for every row (``configs/ablation.yaml``); each seed trains its own
autoencoder, which all its second stages share. Writes ``results/ablation/metrics.json`` and the
table that the book's page *What the public code does* shows. About an hour on two CPU cores;
called again it goes on where it stopped.
"""

import argparse
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import t
from torch.utils.data import DataLoader

from experiments.common import Origin, make_parser, measured_once, read_options, write_result
from radiodiff import units
from radiodiff.checkpoint import load_weights
from radiodiff.cli.options import add_overrides
from radiodiff.config import Config, load_config, save_config
from radiodiff.data import split_maps
from radiodiff.data.open import make_dataset
from radiodiff.files import project_path, write_atomically
from radiodiff.models import AutoencoderKL, SwinConfig, SwinEncoder, UNet
from radiodiff.predictors import PipelinePredictor, RadioDiffPipeline, dataset_conditions
from radiodiff.predictors.pipeline import conditioned
from radiodiff.processes import ConstantSDE
from radiodiff.runs.train import train_run
from radiodiff.scoring import PROTOCOLS, evaluate, rmse

logger = logging.getLogger("radiodiff.ablation")

PROTOCOL = (
    "Second stage: loss on held-out maps (the configuration's own, same times and noise for every "
    "row), RMSE [dB] over outdoor cells of maps sampled from noise. First stage: RMSE [dB] of "
    f"reconstructions. {PROTOCOLS['city']}"
)
#: What a stage leaves in its run folder.
FIRST_STAGE = ("autoencoder.safetensors", "latents.json")
SECOND_STAGE = ("diffusion.safetensors",)

BASE = "ours"


@dataclass(frozen=True)
class Row:
    """One correction, undone."""

    fault: str
    what: str
    overrides: tuple[str, ...] = ()
    """Changes of the second stage; it is trained anew unless they concern sampling alone."""
    first_stage: tuple[str, ...] = ()
    """Changes of the first stage, judged by its reconstructions."""
    processes: int = 1
    against: str = BASE
    """Row that it is compared with."""

    @property
    def trains(self) -> bool:
        """Whether there is more to change than sampling, which asks the same weights again."""
        concerns_sampling = [x.startswith(("sampler.", "evaluate.")) for x in self.overrides]
        return not concerns_sampling or not all(concerns_sampling)


_D1 = "process.constant_sde.drift_skip=reference"
_D8 = ("network.relation_norm=batch", "network.scale_logits=false")
_TWO = "training.batch_size=4"  # per process

ROWS = {
    BASE: Row("", "all corrections"),
    "drift_skip": Row("D1", "skip of the drift with the wrong sign", (_D1,)),
    "filter_off": Row("D2", "frequency filter bypassed", ("network.fourier_filter=off",)),
    "batch_norm": Row("D8", "batch norm in the relation blocks", _D8[:1]),
    "raw_logits": Row("D8", "attention logits not scaled", _D8[1:]),
    "rate_floor": Row("T3", "floor of the rate a factor", ("training.rate_floor=factor",)),
    "no_average": Row("T9", "last weights, not their average", ("training.export=network",)),
    "scaled_clip": Row(
        "T11", "clipping of scaled gradients", ("training.clip_norm=1.52587890625e-5",)
    ),
    "schedule": Row("D6", "times of the public sampler", ("sampler.schedule=reference",)),
    "shared_noise": Row("D17", "one noise for all maps", ("evaluate.shared_noise=true",)),
    "two": Row("", "all corrections, two processes", (_TWO,), processes=2),
    "unsynchronised": Row(
        "T2",
        "gradients not synchronised, two processes",
        (_TWO, "training.synchronise_gradients=false"),
        processes=2,
        against="two",
    ),
    "r24": Row(
        "all",
        "as R24: D1, D2, D6, D8, T3, weights of the loss",
        (
            _D1,
            *_D8,
            "network.fourier_filter=off",
            "process.constant_sde.weighting=inverse_sqrt",
            "sampler.schedule=reference",
            "training.rate_floor=factor",
        ),
    ),
    "r25": Row(
        "all",
        "as R25: D1, D6, D8, D17, T3",
        (
            _D1,
            *_D8,
            "network.fourier_filter=fixed",
            "sampler.schedule=reference",
            "evaluate.shared_noise=true",
            "training.rate_floor=factor",
        ),
    ),
    "unclipped": Row("V1", "no clipping", first_stage=("autoencoder_training.clip_norm=null",)),
    "idle_discriminator": Row(
        "V5",
        "idle discriminator's optimizer runs",
        first_stage=("autoencoder_loss.train_idle_discriminator=true",),
    ),
}


def main() -> None:
    """Run what is missing, then write results and table."""
    parser = make_parser(__doc__, "results/ablation")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions (3)")
    parser.add_argument("--only", nargs="*", choices=tuple(ROWS), help="train these rows only")
    parser.add_argument("--runs", type=Path, default=project_path("runs/ablation"))
    add_overrides(parser, "training.max_steps=20")
    options = read_options(parser)
    origin = Origin.now("torch", "numpy", device=torch.device("cpu"))
    measured = measure_rows(wanted_rows(options.only), options)
    config = load_config("ablation", options.overrides)
    result = {
        "protocol": PROTOCOL,
        "seeds": list(range(options.seeds)),
        "rows": {
            name: {
                "fault": ROWS[name].fault,
                "what": ROWS[name].what,
                "switches": [*ROWS[name].overrides, *ROWS[name].first_stage],
                "against": ROWS[name].against,
                "values": values,
            }
            for name, values in measured.items()
        },
        "identities": identities(config),
        "shared_maps": shared_maps(),
    }
    result = write_result(options.out, result, origin, config=config)
    write_atomically(options.out / "table.md", format_ablation(result))
    print(options.out / "table.md")


def wanted_rows(only: Iterable[str] | None) -> list[str]:
    """Return the named rows, all if ``None``, with those that they are compared with, in order."""
    wanted = set(only or ROWS) | {BASE}
    wanted |= {ROWS[name].against for name in wanted}
    return [name for name in ROWS if name in wanted]


def measure_rows(
    names: Sequence[str], options: argparse.Namespace
) -> dict[str, list[dict[str, float]]]:
    """Return loss and RMSE of rows, one entry a seed; what was measured before is read."""
    measured: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for seed in range(options.seeds):
        for name in names:
            overrides = (*options.overrides, f"seed={seed}")
            overrides += (*ROWS[name].overrides, *ROWS[name].first_stage)
            job = Job(
                row=ROWS[name],
                overrides=overrides,
                config=load_config("ablation", overrides),
                run_dir=options.runs / f"{name}-{seed}",
                base_dir=options.runs / f"{BASE}-{seed}",
            )
            values = measured_once(job.run_dir, job.config, lambda job=job: measure(job))
            measured[name].append(values)
            logger.info("%s, seed %d: %s", name, seed, values)
    return measured


class Job(NamedTuple):
    """One row at one seed."""

    row: Row
    overrides: tuple[str, ...]
    """All changes of ``configs/ablation.yaml``."""
    config: Config
    """The configuration with them."""
    run_dir: Path
    """Folder of its run."""
    base_dir: Path
    """Folder of the run with all corrections at that seed."""


def measure(job: Job) -> dict[str, float]:
    """Train what a row changes and return its loss and RMSE."""
    config, run_dir = job.config, job.run_dir
    if job.row.first_stage:
        train_run(config, run_dir, stages=("autoencoder",))
        return {"rmse_db": reconstruction_rmse(config, run_dir)}
    if job.row is ROWS[BASE]:
        train_run(config, run_dir)
    elif job.row.trains:
        copy_files(job.base_dir, run_dir, FIRST_STAGE)
        train_second_stage(job)
    else:
        copy_files(job.base_dir, run_dir, (*FIRST_STAGE, *SECOND_STAGE))
        save_config(config, run_dir / "config.yaml")
    values = {"loss": held_out_loss(config, run_dir), "rmse_db": sampled_rmse(config, run_dir)}
    if job.row is ROWS[BASE]:
        values["reconstruction_rmse_db"] = reconstruction_rmse(config, run_dir)
    return values


def copy_files(base: Path, run_dir: Path, names: Iterable[str]) -> None:
    """Give a run what another one learned."""
    run_dir.mkdir(parents=True, exist_ok=True)
    for name in names:
        shutil.copyfile(base / name, run_dir / name)


def train_second_stage(job: Job) -> None:
    """Train in this process, or under torchrun in several."""
    if job.row.processes == 1:
        train_run(job.config, job.run_dir, stages=("diffusion",))
        return
    command = [sys.executable, "-m", "torch.distributed.run"]
    command += [f"--nproc-per-node={job.row.processes}", "--rdzv-backend=c10d"]
    command += ["--rdzv-endpoint=127.0.0.1:0", "-m", "radiodiff", "train"]
    command += ["--config", "ablation", "--run-dir", str(job.run_dir)]
    for override in job.overrides:
        command += ["--set", override]
    # Two processes of one thread each.
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def held_out_loss(config: Config, run_dir: Path) -> float:
    """Return the mean loss on held-out maps, in the process and under the weights of our own."""
    # The skip belongs to the network as it was trained; the weights of the loss do not.
    process = ConstantSDE(drift_skip=config.process.constant_sde.drift_skip)
    pipeline = RadioDiffPipeline.from_run(run_dir, device="cpu")
    dataset = make_dataset(config, "test", max_maps=config.evaluate.max_maps)
    generator = torch.Generator().manual_seed(0)
    losses = []
    with torch.no_grad():
        for _ in range(4):  # several times and noises for each map
            for batch in DataLoader(dataset, batch_size=32, generator=torch.Generator()):
                x_0 = pipeline.space.x_0(batch.radio_map, batch.condition, generator)
                condition = pipeline.network_input(batch.condition)
                network = conditioned(pipeline.network, condition)
                losses.append(process.loss(network, x_0, generator=generator).mean().item())
    return float(np.mean(losses))


def sampled_rmse(config: Config, run_dir: Path) -> float:
    """Return the mean RMSE of sampled maps [dB]."""
    dataset = make_dataset(config, "test", max_maps=config.evaluate.max_maps)
    model = PipelinePredictor(
        RadioDiffPipeline.from_run(run_dir),
        shared_noise=config.evaluate.shared_noise,
        conditions=dataset_conditions(dataset),
    )
    result = evaluate({"model": model}, dataset, config.evaluate, protocols=["city"])
    return result["protocols"]["city"]["scores"]["model"]["rmse_db"]["value"]


@torch.no_grad()
def reconstruction_rmse(config: Config, run_dir: Path) -> float:
    """Return the mean RMSE of the autoencoder's reconstructions [dB]."""
    autoencoder = AutoencoderKL(config.autoencoder).eval()
    load_weights(autoencoder, run_dir / "autoencoder.safetensors")
    dataset = make_dataset(config, "test", max_maps=config.evaluate.max_maps)
    errors = []
    for batch in DataLoader(dataset, batch_size=32, generator=torch.Generator()):
        maps = autoencoder.decode(autoencoder.encode(batch.radio_map).mode()).clamp(-1, 1)
        pair = (units.model_to_path_gain_db(x).double() for x in (maps, batch.radio_map))
        errors.append(rmse(*pair, batch.outdoor_mask))
    return float(torch.cat(errors).mean())


@torch.no_grad()
def identities(config: Config) -> dict[str, float]:
    """Return the largest difference of outputs for switches that change none at one size."""
    generator = torch.Generator().manual_seed(0)
    side = 4 * config.autoencoder.downsampling * config.network.min_latent_side
    condition = torch.rand(2, config.network.condition_inputs, side, side, generator=generator)
    x_t = torch.randn(2, config.network.latent_channels, side // 4, side // 4, generator=generator)
    drifts = []
    for mode in ("size_free", "fixed"):
        sizes = replace(config.network, fourier_filter=mode, filter_size=(side // 16, side // 16))
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            network = conditioned(UNet(sizes).eval(), condition)
        drifts.append(network(x_t, torch.full((2,), 0.5))[sizes.heads.index("drift")])
    swins = []
    for sticky in (False, True):
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            swin = SwinEncoder(SwinConfig(width=16, depths=(2, 2, 2, 2), sticky_shift=sticky))
        image = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
        swins.append([swin.eval()(image) for _ in range(2)][1])
    pairs = zip(*swins, strict=True)
    return {
        "D2, size-free against fixed filter at the size it was made for": float(
            (drifts[0] - drifts[1]).abs().max()
        ),
        "D10, windows' shift decided anew or kept, at one size": max(
            float((a - b).abs().max()) for a, b in pairs
        ),
    }


def shared_maps() -> dict[str, dict[str, int]]:
    """Return how many maps the splits of RadioMapSeer share (X1)."""
    result = {}
    everything = range(1, 701)
    for splits in ("city", "radiodiff-r24", "radiodiff-r25"):
        parts = {
            name: set(split_maps(Path("none"), name, everything, splits=splits))
            for name in ("train", "val", "test")
        }
        result[splits] = {
            "test maps": len(parts["test"]),
            "test maps in train": len(parts["test"] & parts["train"]),
            "test maps in val": len(parts["test"] & parts["val"]),
        }
    return result


class Change(NamedTuple):
    """What undoing a correction does to the RMSE, seed by seed."""

    mean_db: float
    spread_db: float
    """Standard deviation over seeds [dB]; infinite for one seed."""
    is_clear: bool
    """Whether the 95 % interval of Student's t excludes 0."""


def format_ablation(result: Mapping[str, Any]) -> str:
    """Return the results as a MyST table with its notes."""
    rows = result["rows"]
    changes = {name: change_of_rmse(rows, name) for name, row in rows.items() if row["fault"]}
    lines = ["| fault | undone | loss | RMSE [dB] | change of RMSE [dB] |", "|---|---|---|---|---|"]
    for name, row in rows.items():
        first = is_first_stage(row)
        what = row["what"] + (" (first stage)" if first else "")
        loss = "" if first else f"{values_of(rows, name, 'loss').mean():.3f}"
        error = f"{values_of(rows, name, 'rmse_db').mean():.2f}"
        change = ""
        if name in changes:
            change = f"{changes[name].mean_db:+z.2f} ± {changes[name].spread_db:.2f}"
        lines.append(f"| {row['fault']} | {what} | {loss} | {error} | {change} |")
    clear = [
        f"{rows[name]['fault']} ({rows[name]['what']})"
        for name, change in changes.items()
        if change.is_clear
    ]
    return "\n".join([*lines, "", *format_notes(result, clear)]) + "\n"


def values_of(rows: Mapping[str, Any], name: str, key: str) -> np.ndarray:
    """Return what a row was measured at, one value a seed."""
    return np.array([values[key] for values in rows[name]["values"]])


def is_first_stage(row: Mapping[str, Any]) -> bool:
    """Return whether a row changes the autoencoder, under today's or older names of the keys."""
    return any("autoencoder" in switch for switch in row["switches"])


def change_of_rmse(rows: Mapping[str, Any], name: str) -> Change:
    """Return the paired difference of a row and the one it is compared with."""
    row = rows[name]
    key = "reconstruction_rmse_db" if is_first_stage(row) else "rmse_db"
    difference = values_of(rows, name, "rmse_db") - values_of(rows, row["against"], key)
    count = len(difference)
    spread = difference.std(ddof=1) if count > 1 else float("inf")
    half_width = t.ppf(0.975, max(count - 1, 1)) * spread / count**0.5
    return Change(difference.mean(), spread, abs(difference.mean()) > half_width)


def format_notes(result: Mapping[str, Any], clear: Sequence[str]) -> list[str]:
    """Return the lines below the table.

    Args:
        result: What `format_ablation` takes.
        clear: Rows whose change exceeds what the seeds vary.
    """
    base = values_of(result["rows"], BASE, "reconstruction_rmse_db").mean()
    seeds = len(result["seeds"])
    maps = result["config"]["evaluate"]["max_maps"]
    lines = [
        f"Means over {seeds} seeds on {maps} tiles of a held-out city; change: mean and standard "
        "deviation over seeds of the paired difference, above 0 where undoing the correction costs "
        f"accuracy. Reconstructions of the first stage with all corrections: {base:.2f} dB. "
        f"Commit {result['commit'][:7]}, {result['device']}.",
        "",
        "The change exceeds what the seeds vary (95 % interval of Student's t excludes 0) for: "
        + ("; ".join(clear) or "none")
        + ".",
        "",
        "Without effect on the numbers, checked by running both:",
        "",
    ]
    for what, difference in result["identities"].items():
        lines.append(f"- {what}: largest difference of the outputs {difference:.1g}.")
    lines += ["", "Not measured here, since the cuts are of RadioMapSeer (X1):", ""]
    for splits, counts in result["shared_maps"].items():
        lines.append(
            f"- `{splits}`: of {counts['test maps']} test maps, {counts['test maps in train']} "
            f"in training, {counts['test maps in val']} in validation."
        )
    return lines


if __name__ == "__main__":
    main()
