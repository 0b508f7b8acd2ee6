"""One training loop for every task, over Accelerate: one process or many, CPU or GPU.

Everything random is a function of (seed, step, rank): batches, times and noise. A run that is
stopped and resumed gives the same weights as one that was not.
"""

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import send_to_device
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from radiodiff.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint, save_weights
from radiodiff.config import TrainingConfig
from radiodiff.data import GrayBatch, GrayBatches, RadioMapSample, to_samples
from radiodiff.data.loading import sound_batches
from radiodiff.ema import EMA
from radiodiff.files import write_atomically
from radiodiff.tasks import Task
from radiodiff.workers import process_state

__all__ = [
    "NonFiniteLossError",
    "OnCheckpoint",
    "batch_indices",
    "learning_rate",
    "train",
]

logger = logging.getLogger(__name__)

#: Called as ``on_checkpoint(step, task, ema)``.
OnCheckpoint = Callable[[int, Task, EMA], None]

#: Maps in a sample grid.
GRID_MAPS = 8


class NonFiniteLossError(RuntimeError):
    """Training met a loss or gradient that is not a finite number and stopped; says where."""


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of a step (0, 1, ...) (eq. ``schedule``).

    ``max(lr (1 - k / K)^p, lr_min)``, times ``(k + 1) / warmup`` while warming up. With
    ``rate_floor`` ``factor`` the floor is ``lr lr_min``, as in the public code (T3).
    """
    left = max(0.0, 1 - step / config.max_steps)
    floor = config.min_learning_rate
    if config.rate_floor == "factor":
        floor *= config.learning_rate
    rate = max(config.learning_rate * left**config.decay_power, floor)
    return rate * min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else rate


def batch_indices(
    length: int, batch_size: int, position: int, *, seed: int, rank: int = 0, world: int = 1
) -> list[int]:
    """Return the samples of a process's micro-batch, a pure function of its arguments.

    All processes walk through one endless sequence, a fresh permutation of the dataset for each
    epoch; micro-batch number ``position`` takes ``world * batch_size`` samples of it, of which
    process ``rank`` gets every ``world``-th. So no map is seen twice in an epoch, and a resumed
    run goes on exactly where it stopped.

    Args:
        length: Samples in the dataset.
        batch_size: Samples per process.
        position: Number of the micro-batch, from 0.
        seed: Seed of the permutations.
        rank: Number of the process.
        world: Number of processes.

    Returns:
        ``batch_size`` indices.
    """
    start = position * batch_size * world + rank
    places = range(start, start + batch_size * world, world)
    orders = {
        epoch: np.random.default_rng((seed, epoch)).permutation(length)
        for epoch in {place // length for place in places}
    }
    return [int(orders[place // length][place % length]) for place in places]


class _Batches(Sampler[list[int]]):
    """Batches from micro-batch ``first`` on, for a DataLoader."""

    def __init__(self, first: int, last: int, **arguments: int) -> None:
        self.first, self.last, self.arguments = first, last, arguments

    def __iter__(self) -> Iterator[list[int]]:
        for position in range(self.first, self.last):
            yield batch_indices(position=position, **self.arguments)

    def __len__(self) -> int:
        return self.last - self.first


def train(
    task: Task,
    dataset: Dataset[RadioMapSample],
    config: TrainingConfig,
    run_dir: Path,
    *,
    seed: int = 0,
    workers: int = 0,
    on_checkpoint: OnCheckpoint | None = None,
) -> Path:
    """Train a task, write its averaged weights and return their file.

    It goes on from the newest checkpoint; whether it may, `radiodiff.runs.guard.check_run` judges.

    The run folder receives, under the task's name, checkpoints such as
    ``checkpoints/step-00001000``, ``log.jsonl`` (one line for each log interval), TensorBoard
    events and sample grids (top row truth, bottom row network); at the end
    ``<task>.safetensors``.

    Args:
        task: What a step means.
        dataset: Training maps.
        config: Steps, batch size, accumulation, precision, learning rate, EMA, intervals.
        run_dir: Folder of the run.
        seed: Seed of batches, noise and dropout.
        workers: Loader processes.
        on_checkpoint: Called in the main process before each checkpoint is written, so that a
            run that is killed in between calls it again.

    Returns:
        Path of ``<run_dir>/<task>.safetensors``.

    Raises:
        NonFiniteLossError: If a loss or a gradient is not finite.
    """
    folder = Path(run_dir) / task.name
    process_state()
    # Accelerate keeps the first precision for the life of the process; stages may differ in it.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision=config.precision,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    devices = [accelerator.device] if accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # For dropout; the caller's generator is given back unchanged.
        torch.random.manual_seed(seed + (accelerator.process_index << 32))
        loop = _Loop(accelerator, task, dataset, config, folder, seed, workers, on_checkpoint)
        return loop.run(newest_checkpoint(folder / "checkpoints"))


class _Loop:
    """State of one training run; exists so that the stages of the loop have names."""

    def __init__(
        self,
        accelerator: Accelerator,
        task: Task,
        dataset: Dataset[RadioMapSample],
        config: TrainingConfig,
        folder: Path,
        seed: int,
        workers: int,
        on_checkpoint: OnCheckpoint | None,
    ) -> None:
        self.accelerator, self.task, self.dataset, self.config = accelerator, task, dataset, config
        self.folder, self.seed, self.workers = folder, seed, workers
        self.on_checkpoint = on_checkpoint
        self.is_main = accelerator.is_main_process
        for module in task.frozen:
            module.to(accelerator.device)
        self.optimizers = {
            name: torch.optim.AdamW(
                task.parameters_of(name), lr=config.learning_rate, weight_decay=config.weight_decay
            )
            for name in task.passes
        }
        self.model, *prepared = accelerator.prepare(task, *self.optimizers.values())
        self.optimizers = dict(zip(task.passes, prepared, strict=True))
        self.ema = EMA(
            task.averaged, decay=config.ema_decay, start=config.ema_start, every=config.ema_every
        )
        accelerator.register_for_checkpointing(self.ema)
        self.step, self.seconds = 0, 0.0

    @property
    def exported(self) -> nn.Module:
        """The network that is sampled and written at the end."""
        return self.ema.network if self.config.export == "average" else self.task.averaged

    def run(self, checkpoint: Path | None) -> Path:
        """Train from a checkpoint, or from the start, to the last step."""
        config = self.config
        if checkpoint is not None:
            state = load_checkpoint(self.accelerator, checkpoint)
            self.step, self.seconds = state["step"], state["seconds"]
            self._log("resumed from %s", checkpoint)
        weights = self.folder.parent / f"{self.task.name}.safetensors"
        if self.step >= config.max_steps and weights.is_file():
            self._log("%s is trained: %d steps, %s", self.task.name, self.step, weights)
            return weights
        self._log(
            "%s: %d steps of %d maps on %d x %s, %s precision; writing to %s",
            self.task.name,
            config.max_steps,
            config.batch_size * config.accumulation * self.accelerator.num_processes,
            self.accelerator.num_processes,
            self.accelerator.device.type,
            config.precision if config.precision != "no" else "float32",
            self.folder,
        )
        if self.is_main:
            weights.unlink(missing_ok=True)  # those of a shorter run are not this run's
        try:
            with logging_redirect_tqdm() if sys.stderr.isatty() else nullcontext():
                self._fit()
        except KeyboardInterrupt:
            newest = newest_checkpoint(self.folder / "checkpoints") or "the start"
            self._log("stopped at step %d; the same command goes on from %s", self.step, newest)
            raise
        if self.is_main:
            save_weights(self.exported, weights)
        self.accelerator.wait_for_everyone()
        return weights

    def _fit(self) -> None:
        """Run the steps that are left, with TensorBoard and a bar open."""
        config, is_main = self.config, self.is_main
        self._drop_log_after(self.step)
        # A restart drops TensorBoard's points beyond the checkpoint, as log.jsonl's.
        writer = SummaryWriter(str(self.folder), purge_step=self.step + 1) if is_main else None
        bar = tqdm(
            total=config.max_steps,
            initial=self.step,
            desc=self.task.name,
            disable=not (is_main and sys.stderr.isatty()),
        )
        try:
            self._take_steps(writer, bar)
        finally:
            bar.close()
            if writer is not None:
                writer.close()

    def _take_steps(self, writer: SummaryWriter | None, bar: tqdm) -> None:
        """Update, log, sample and save until the last step."""
        config = self.config
        if config.sample_before and self.step == 0:
            self._write_samples(writer)
        batches = self._batches()
        began, first, seconds_before = time.monotonic(), self.step, self.seconds
        while self.step < config.max_steps:
            rate = learning_rate(self.step, config)
            micro_batches = [next(batches) for _ in range(config.accumulation)]
            terms: dict[str, Tensor] = {}
            for name in self.task.active_passes(self.step):
                terms |= self._update(name, micro_batches, rate)
            self.ema.update(self.task.averaged, self.step)
            self.step += 1
            self.seconds = seconds_before + time.monotonic() - began
            bar.update()
            last = self.step == config.max_steps
            if self.step % config.log_every == 0 or self.step == first + 1 or last:
                pace = (time.monotonic() - began) / (self.step - first)
                self._log_step(writer, terms, rate, pace)
            if config.sample_every and (self.step % config.sample_every == 0 or last):
                self._write_samples(writer)
            if self.step % config.checkpoint_every == 0 or last:
                if self.on_checkpoint is not None and self.is_main:
                    self.on_checkpoint(self.step, self.task, self.ema)
                save_checkpoint(
                    self.accelerator,
                    self.folder / "checkpoints",
                    {"step": self.step, "seconds": self.seconds, "seed": self.seed},
                    keep=config.keep_checkpoints,
                )

    def _update(self, name: str, batches: list[RadioMapSample], rate: float) -> dict[str, Tensor]:
        """Run one optimizer step of one pass; return the mean of its logged terms."""
        optimizer = self.optimizers[name]
        for each in self.optimizers.values():
            each.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = rate
        total: dict[str, Tensor] = {}
        for micro, batch in enumerate(batches):
            is_last = micro == len(batches) - 1
            generator = self._generator(self.task.passes.index(name), micro)
            synchronise = is_last and self.config.synchronise_gradients
            with nullcontext() if synchronise else self.accelerator.no_sync(self.model):
                result = self.model(batch, name, self.step, generator)
                if not torch.isfinite(result.loss):
                    raise self._non_finite(f"{name} loss", result.loss, batch, result.terms)
                self.accelerator.backward(result.loss / len(batches))
            for key, value in {name: result.loss.detach(), **result.terms}.items():
                total[key] = total.get(key, 0) + value / len(batches)
        norm = self.accelerator.clip_grad_norm_(
            self.task.parameters_of(name),
            math.inf if self.config.clip_norm is None else self.config.clip_norm,
        )
        if self.config.precision != "fp16" and not torch.isfinite(norm):
            raise self._non_finite(f"{name} gradient norm", norm, batches[-1], total)
        optimizer.step()  # in fp16 the scaler skips a step with infinite gradients
        return total | {f"{name}_gradient_norm": norm}

    def _generator(self, *numbers: int) -> torch.Generator:
        """Return a generator that is a function of seed, step, rank and ``numbers``."""
        entropy = (self.seed, self.step, self.accelerator.process_index, *numbers)
        (state,) = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
        return torch.Generator(self.accelerator.device).manual_seed(int(state) >> 1)

    def _batches(self) -> Iterator[RadioMapSample]:
        """Micro-batches from the current step on, on the device."""
        micro_batches = self.config.accumulation
        sampler = _Batches(
            self.step * micro_batches,
            self.config.max_steps * micro_batches,
            length=len(self.dataset),
            batch_size=self.config.batch_size,
            seed=self.seed,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )
        # Packed images travel as bytes, a sixth of the floats that are made of them here.
        if GrayBatches.serve(self.dataset):
            source = {"dataset": GrayBatches(self.dataset), "batch_size": None, "sampler": sampler}
        else:
            source = {"dataset": self.dataset, "batch_sampler": sampler}
        loader = DataLoader(
            **source,
            num_workers=self.workers,
            pin_memory=self.accelerator.device.type == "cuda",
            generator=torch.Generator(),  # keeps the loader's own draws away from dropout
        )
        for batch in sound_batches(loader):
            batch = send_to_device(batch, self.accelerator.device)
            yield to_samples(batch) if isinstance(batch, GrayBatch) else batch

    def _non_finite(
        self, what: str, value: Tensor, batch: RadioMapSample, terms: dict[str, Tensor]
    ) -> NonFiniteLossError:
        """Return the error for a number that must not reach the weights."""
        shown = ", ".join(f"{key}={term.item():g}" for key, term in terms.items())
        return NonFiniteLossError(
            f"{self.task.name}: the {what} is {value.item()} at step {self.step} ({shown}) on maps "
            f"{', '.join(batch.name[:4])} ...; the newest checkpoint is sound: "
            f"{newest_checkpoint(self.folder / 'checkpoints')}. Lower the learning rate or use "
            "precision: no or bf16"
        )

    def _log(self, message: str, *arguments: Any) -> None:
        """Log once, not once a process."""
        if self.is_main:
            logger.info(message, *arguments)

    def _log_step(
        self, writer: SummaryWriter | None, terms: dict[str, Tensor], rate: float, pace: float
    ) -> None:
        """Write one interval's scalars to the log, to ``log.jsonl`` and to TensorBoard."""
        names = sorted(terms)
        stacked = torch.stack([terms[name].float().to(self.accelerator.device) for name in names])
        means = self.accelerator.reduce(stacked, reduction="mean").tolist()
        if writer is None:
            return
        scalars = dict(zip(names, means, strict=True)) | {"learning_rate": rate}
        for key, value in scalars.items():
            writer.add_scalar(f"train/{key}", value, self.step)
        row = {"step": self.step, "seconds": round(self.seconds, 2), **scalars}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        left = (self.config.max_steps - self.step) * pace
        losses = ", ".join(f"{k} {scalars[k]:.4g}" for k in self.task.passes if k in scalars)
        self._log(
            "%s step %d/%d: loss %s, rate %.2e, %.3g s a step, %s left",
            self.task.name,
            self.step,
            self.config.max_steps,
            losses,
            rate,
            pace,
            f"{left / 60:.1f} min" if left >= 60 else f"{left:.0f} s",
        )

    def _drop_log_after(self, step: int) -> None:
        """Cut lines of ``log.jsonl`` that a resumed run will write again."""
        path = self.folder / "log.jsonl"
        if not (self.is_main and path.is_file()):
            return
        kept = []
        for line in path.read_text().splitlines(keepends=True):
            try:
                if json.loads(line)["step"] <= step and line.endswith("\n"):
                    kept.append(line)
            except ValueError:  # the line being written when the run was killed
                continue
        write_atomically(path, "".join(kept))

    def _write_samples(self, writer: SummaryWriter | None) -> None:
        """Write a grid of truth (top) and network output (bottom) as PNG and to TensorBoard."""
        if writer is None:
            return
        count = min(GRID_MAPS, len(self.dataset))
        places = np.linspace(0, len(self.dataset) - 1, count).astype(int)
        batch = default_collate([self.dataset[int(k)] for k in places])
        batch = send_to_device(batch, self.accelerator.device)
        generator = torch.Generator(self.accelerator.device).manual_seed(self.seed)
        network = self.exported
        was_training = network.training
        drawn = self.task.sample(network.eval(), batch, generator)
        network.train(was_training)
        rows = [torch.cat(list(maps[:, 0]), dim=1) for maps in (batch.radio_map, drawn)]
        grid = ((torch.cat(rows) + 1) / 2).clamp(0, 1).float().cpu()
        writer.add_image("samples/truth_above_network_below", grid[None], self.step)
        path = self.folder / f"samples-{self.step:08d}.png"
        Image.fromarray((255 * grid.numpy()).round().astype(np.uint8)).save(path)
