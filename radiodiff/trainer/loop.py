"""One training loop for every task, over Accelerate: one process or many, CPU or GPU.

Everything random is a function of (seed, step): batches, times and noise, of which each process
takes the share of its own maps. A run that is stopped and resumed gives the same weights as one
that was not, and so do two processes and one with a batch twice as large, but for dropout and the
batch normalisation of a discriminator, which each process does on its own.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import GradientAccumulationPlugin, broadcast_object_list, send_to_device
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format
from torch.utils.data import DataLoader, Dataset, default_collate
from tqdm.contrib.logging import logging_redirect_tqdm

from radiodiff.checkpoint import (
    drop_checkpoints,
    load_checkpoint,
    newest_checkpoint,
    read_tensors,
    save_checkpoint,
    save_content,
    save_weights,
    sound_checkpoint,
)
from radiodiff.config import TrainingConfig
from radiodiff.data import GrayBatch, GrayBatches, RadioMapSample, to_samples
from radiodiff.data.loading import sound_batches
from radiodiff.ema import EMA
from radiodiff.memory import keep_memory
from radiodiff.noise import BatchShare
from radiodiff.progress import has_bar
from radiodiff.signals import Stopped, stop_requests
from radiodiff.tasks import Task
from radiodiff.threads import denormals_flushed
from radiodiff.trainer.journal import Journal
from radiodiff.trainer.schedule import Batches, learning_rate
from radiodiff.workers import process_state

__all__ = ["NonFiniteLossError", "OnCheckpoint", "Validate", "train"]

logger = logging.getLogger(__name__)

#: Called as ``on_checkpoint(step, task, ema)``.
OnCheckpoint = Callable[[int, Task, EMA], None]

#: Called as ``validate(task, network)``; returns the error on maps that are not trained on [dB].
Validate = Callable[[Task, nn.Module], float]

#: Maps in a sample grid.
GRID_MAPS = 8

#: Batches with a loss that is not finite that are kept for inspection, a process.
_KEPT_BATCHES = 10

#: Devices on which one kernel updates all weights; on others PyTorch chooses.
_FUSED = ("cpu", "cuda")

#: Variables by which Accelerate takes another engine, which trains other weights.
_ENGINES = (
    "ACCELERATE_USE_DEEPSPEED",
    "ACCELERATE_USE_FSDP",
    "ACCELERATE_USE_MEGATRON_LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG",
    "ACCELERATE_DYNAMO_BACKEND",
)


class NonFiniteLossError(RuntimeError):
    """Training met a loss, gradient or weight that is not a finite number; says where."""


def train(
    task: Task,
    dataset: Dataset[RadioMapSample],
    config: TrainingConfig,
    run_dir: Path,
    *,
    seed: int = 0,
    workers: int = 0,
    on_checkpoint: OnCheckpoint | None = None,
    validate: Validate | None = None,
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
        validate: Called in the main process every ``config.validate_every`` steps and at the end,
            with the network that is exported; what it returns is told in log and journal.

    A signal that asks to stop (Ctrl-C, SIGTERM, SIGHUP) is heard after the step: a checkpoint is
    written first. A second one stops at once.

    Returns:
        Path of ``<run_dir>/<task>.safetensors``.

    Raises:
        FileError: If there are checkpoints and none is sound.
        NonFiniteLossError: If a loss or a gradient is not finite and ``on_nonfinite`` is
            ``stop``, or weights are not; the batch lies in the task's folder.
        OSError: If something cannot be written; the same call goes on once it can.
        Stopped: After a signal.
        ValueError: If the environment asks Accelerate for another engine.
    """
    folder = Path(run_dir) / task.name
    process_state()
    keep_memory()
    for name in _ENGINES:
        if os.environ.get(name, "").lower() not in ("", "0", "no", "false"):
            raise ValueError(
                f"{name}={os.environ[name]} would train other weights than the configuration "
                "says: unset it"
            )
    # Accelerate keeps the first precision for the life of the process; stages may differ in it.
    AcceleratorState._reset_state()
    accelerator = Accelerator(
        cpu=not torch.accelerator.is_available(),
        mixed_precision=config.precision,
        # Accumulation is the loop's; given here, as a variable of the environment counts otherwise.
        gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    devices = [accelerator.device] if accelerator.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        # For dropout; the caller's generator is given back unchanged.
        torch.random.manual_seed(_dropout_seed(seed, accelerator.process_index))
        loop = _Loop(accelerator, task, dataset, config, folder, seed, workers)
        loop.on_checkpoint, loop.validate = on_checkpoint, validate
        with stop_requests() as loop.stop_request:
            return loop.run(
                _checkpoint_to_resume(accelerator, folder / "checkpoints", config.keep_checkpoints)
            )


def _dropout_seed(seed: int, rank: int) -> int:
    """Return the seed of a process's dropout, another for each."""
    return seed if rank == 0 else int(np.random.SeedSequence((seed, rank)).generate_state(1)[0])


def _checkpoint_to_resume(accelerator: Accelerator, folder: Path, keep: int) -> Path | None:
    """Return the newest sound checkpoint, judged by the first process for all.

    Those beyond ``keep`` are dropped then, lest a process that was killed before it did leave them.
    """
    found: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            found[0] = sound_checkpoint(folder)
            drop_checkpoints(folder, keep=keep)
        except (ValueError, OSError) as error:
            found[1] = error  # raised in all processes: the others would wait for this one
    broadcast_object_list(found)
    if found[1] is not None:
        raise found[1]
    return found[0]


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
    ) -> None:
        self.accelerator, self.task, self.dataset, self.config = accelerator, task, dataset, config
        self.folder, self.seed, self.workers = folder, seed, workers
        self.on_checkpoint: OnCheckpoint | None = None
        self.validate: Validate | None = None
        self.is_main = accelerator.is_main_process
        for module in task.frozen:
            module.to(accelerator.device)
        if config.channels_last:
            for module in (task, *task.frozen):
                convert_conv2d_weight_memory_format(module, torch.channels_last)
        self.optimizers = {
            name: torch.optim.AdamW(
                task.parameters_of(name),
                lr=config.learning_rate,
                weight_decay=config.weight_decay,
                fused=True if accelerator.device.type in _FUSED else None,
            )
            for name in task.passes
        }
        self.model, *prepared = accelerator.prepare(task, *self.optimizers.values())
        self.optimizers = dict(zip(task.passes, prepared, strict=True))
        self.ema = EMA(
            task.averaged, decay=config.ema_decay, start=config.ema_start, every=config.ema_every
        )
        accelerator.register_for_checkpointing(self.ema)
        self.step, self.saved = 0, -1
        self.spent = np.zeros(2)  # on the clock and on the processor [s]
        self.nonfinite = 0
        self.stop_request: Callable[[], int] = lambda: 0

    @property
    def exported(self) -> nn.Module:
        """The network that is sampled and written at the end."""
        return self.ema.network if self.config.export == "average" else self.task.averaged

    def run(self, checkpoint: Path | None) -> Path:
        """Train from a checkpoint, or from the start, to the last step."""
        config = self.config
        if checkpoint is not None:
            state = load_checkpoint(self.accelerator, checkpoint)
            self._align_moments()
            self.step, self.saved = state["step"], state["step"]
            self.spent = np.array([state["seconds"], state.get("cpu_seconds", 0.0)])
            self._log("resumed from %s", checkpoint)
            if state.get("processes", self.processes) != self.processes:
                self._log(
                    "processes: %d instead of %d, with the same %d maps a step",
                    self.processes,
                    state["processes"],
                    self.maps_per_step,
                )
        weights = self.folder.parent / f"{self.task.name}.safetensors"
        if self.step >= config.max_steps and self._is_sound(weights):
            self._log("%s is trained: %d steps, %s", self.task.name, self.step, weights)
            return weights
        self._log(
            "%s: %d steps of %d maps on %d x %s, %s precision; writing to %s",
            self.task.name,
            config.max_steps,
            self.maps_per_step,
            self.processes,
            self.accelerator.device.type,
            config.precision if config.precision != "no" else "float32",
            self.folder,
        )
        self._log(
            "checkpoints of about %.1f MB, of which the newest %d stay",
            self._checkpoint_bytes() / 1e6,
            config.keep_checkpoints,
        )
        if self.is_main:
            weights.unlink(missing_ok=True)  # those of a shorter run are not this run's
        try:
            with logging_redirect_tqdm() if has_bar() else nullcontext():
                self._fit()
        except KeyboardInterrupt:
            newest = newest_checkpoint(self.folder / "checkpoints") or "the start"
            self._log("stopped at step %d; the same command goes on from %s", self.step, newest)
            raise
        if self.is_main:
            save_weights(self.exported, weights)
        self.accelerator.wait_for_everyone()
        return weights

    @property
    def processes(self) -> int:
        """Number of processes."""
        return self.accelerator.num_processes

    @property
    def maps_per_step(self) -> int:
        """Maps of a step, over micro-batches and processes."""
        return self.config.batch_size * self.config.accumulation * self.processes

    def _checkpoint_bytes(self) -> int:
        """Return how long a checkpoint is: weights, average and two moments of each parameter."""
        stored = [*self.task.state_dict().values(), *self.ema.state_dict().values()]
        moments = [each for name in self.task.passes for each in self.task.parameters_of(name)] * 2
        tensors = (each for each in (*stored, *moments) if isinstance(each, Tensor))
        return sum(each.numel() * each.element_size() for each in tensors)

    def _is_sound(self, weights: Path) -> bool:
        """Whether exported weights are there and whole; if not they are written again."""
        if not weights.is_file():
            return False
        try:
            read_tensors(weights)
        except ValueError as error:
            self._log("%s; writing it again", error)
            return False
        return True

    def _fit(self) -> None:
        """Run the steps that are left, with the journal open."""
        steps = self.config.max_steps
        with Journal(
            self.folder, self.task.name, step=self.step, steps=steps, active=self.is_main
        ) as journal:
            if self.config.sample_before and self.step == 0:
                self._show_samples(journal)
            batches = self._batches()
            began, first, before = _clocks(), self.step, self.spent
            while self.step < steps:
                rate = learning_rate(self.step, self.config)
                micro_batches = [next(batches) for _ in range(self.config.accumulation)]
                terms: dict[str, Tensor] = {}
                for name in self.task.active_passes(self.step):
                    terms |= self._update(name, micro_batches, rate)
                self.ema.update(self.task.averaged, self.step)
                self.step += 1
                self.spent = before + _clocks() - began
                journal.bar.update()
                last = self.step == steps
                every = self.config.validate_every
                validates = bool(every) and (self.step % every == 0 or last)
                if (
                    self.step % self.config.log_every == 0
                    or validates
                    or self.step == first + 1
                    or last
                ):
                    pace = (_clocks() - began)[0] / (self.step - first)
                    further = self._validate(journal) if validates else {}
                    self._tell(journal, terms, rate, pace, further)
                if self.config.sample_every and (self.step % self.config.sample_every == 0 or last):
                    self._show_samples(journal)
                if self.step % self.config.checkpoint_every == 0 or last:
                    self._save()
                if (number := self._asked_to_stop()) and not last:
                    self._save()
                    raise Stopped(number)

    def _align_moments(self) -> None:
        """Lay loaded moments out as their weights: a fused optimizer goes by places in memory."""
        for optimizer in self.optimizers.values():
            for weight, state in optimizer.state.items():
                for name, value in state.items():
                    if isinstance(value, Tensor) and value.shape == weight.shape:
                        state[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)

    def _asked_to_stop(self) -> int:
        """Return the signal that a process was sent, for all processes to act on."""
        number = self.stop_request()
        if self.processes == 1:
            return number
        numbers = torch.tensor([number], device=self.accelerator.device)
        return int(self.accelerator.gather(numbers).max())

    def _save(self) -> None:
        """Save a checkpoint of this step, unless there is one; only of finite numbers."""
        if self.saved == self.step:
            return
        self._check_finite()
        if self.on_checkpoint is not None and self.is_main:
            self.on_checkpoint(self.step, self.task, self.ema)
        seconds, cpu_seconds = self.spent.tolist()
        state = {
            "step": self.step,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "seed": self.seed,
            "processes": self.processes,
            "maps_per_step": self.maps_per_step,
        }
        folder = self.folder / "checkpoints"
        save_checkpoint(self.accelerator, folder, state, keep=self.config.keep_checkpoints)
        self.saved = self.step

    def _check_finite(self) -> None:
        """Raise if a weight, its average or a moment of an optimizer is not a finite number."""
        moments = (
            (f"moment of {name}", value)
            for name, optimizer in self.optimizers.items()
            for state in optimizer.state.values()
            for value in state.values()
        )
        weights = self.task.state_dict().items()
        averages = ((f"average of {name}", value) for name, value in self.ema.state_dict().items())
        for name, value in (*weights, *averages, *moments):
            is_number = isinstance(value, Tensor) and value.is_floating_point()
            if is_number and not torch.isfinite(value).all():
                raise NonFiniteLossError(
                    f"{self.task.name}: {name} is not finite after step {self.step}; "
                    f"{self._newest()}. Lower the learning rate"
                )

    @denormals_flushed()
    def _update(self, name: str, batches: list[RadioMapSample], rate: float) -> dict[str, Tensor]:
        """Run one optimizer step of one pass; return the mean of its logged terms."""
        optimizer = self.optimizers[name]
        for each in self.optimizers.values():
            each.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = rate
        total: dict[str, Tensor] = {}
        is_told = False
        for micro, batch in enumerate(batches):
            is_last = micro == len(batches) - 1
            generator = self._generator(self.task.passes.index(name), micro)
            synchronise = is_last and self.config.synchronise_gradients
            with nullcontext() if synchronise else self.accelerator.no_sync(self.model):
                result = self.model(batch, name, self.step, generator)
                # On a GPU this waits for the forward pass. It stays: the batch that is kept, the
                # step that is named and the one that raises must be the same.
                if not torch.isfinite(result.loss):
                    self._non_finite(name, "loss", result.loss, batch, result.terms)
                    is_told = True
                self.accelerator.backward(result.loss / len(batches))
            for key, value in {name: result.loss.detach(), **result.terms}.items():
                total[key] = total.get(key, 0) + value / len(batches)
        norm = self.accelerator.clip_grad_norm_(
            self.task.parameters_of(name),
            math.inf if self.config.clip_norm is None else self.config.clip_norm,
        )
        # In fp16 the scaler skips a step with infinite gradients, and lowers its scale.
        if self.config.precision == "fp16" or torch.isfinite(norm):
            optimizer.step()
        elif not is_told:  # all processes leave the update out: they have the same gradients
            self._non_finite(name, "gradient norm", norm, batches[-1], total)
        return total | {f"{name}_gradient_norm": norm}

    def _generator(self, *numbers: int) -> torch.Generator:
        """Return this process's share of a generator that is a function of seed, step, numbers."""
        entropy = (self.seed, self.step, 0, *numbers)
        (state,) = np.random.SeedSequence(entropy).generate_state(1, np.uint64)
        generator = BatchShare(self.accelerator.device)
        generator.rank, generator.processes = self.accelerator.process_index, self.processes
        generator.manual_seed(int(state) >> 1)
        return generator

    def _batches(self) -> Iterator[RadioMapSample]:
        """Micro-batches from the current step on, on the device."""
        micro_batches = self.config.accumulation
        sampler = Batches(
            self.step * micro_batches,
            self.config.max_steps * micro_batches,
            length=len(self.dataset),
            batch_size=self.config.batch_size,
            seed=self.seed,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
        )
        is_cuda = self.accelerator.device.type == "cuda"
        # Packed images travel as bytes, a sixth of the floats that are made of them here.
        if GrayBatches.serve(self.dataset):
            source = {"dataset": GrayBatches(self.dataset), "batch_size": None, "sampler": sampler}
        else:
            source = {"dataset": self.dataset, "batch_sampler": sampler}
        loader = DataLoader(
            **source,
            num_workers=self.workers,
            pin_memory=is_cuda,  # copies then run beside the step before
            generator=torch.Generator(),  # keeps the loader's own draws away from dropout
        )
        for batch in sound_batches(loader):
            batch = send_to_device(batch, self.accelerator.device, non_blocking=is_cuda)
            yield to_samples(batch) if isinstance(batch, GrayBatch) else batch

    def _newest(self) -> str:
        newest = newest_checkpoint(self.folder / "checkpoints")
        return f"the newest checkpoint is sound: {newest}"

    def _non_finite(
        self, name: str, what: str, value: Tensor, batch: RadioMapSample, terms: dict[str, Tensor]
    ) -> None:
        """Keep the batch of a number that must not reach the weights; raise, or go on."""
        shown = ", ".join(f"{key}={term.item():g}" for key, term in terms.items())
        message = (
            f"{self.task.name}: the {name} {what} is {value.item()} at step {self.step} ({shown}) "
            f"on maps {', '.join(batch.name[:4])} ..."
        )
        self.nonfinite += 1
        if self.nonfinite <= _KEPT_BATCHES:
            rank = self.accelerator.process_index
            path = self.folder / f"nonfinite-{self.step:08d}-{name}-{rank}.pt"
            numbers = {"step": self.step, "pass": name, "seed": self.seed, "terms": shown}
            maps = {"radio_map": batch.radio_map.cpu(), "condition": batch.condition.cpu()}
            save_content(numbers | maps | {"names": list(batch.name)}, path)
            message += f", kept in {path}"
        if self.config.on_nonfinite == "skip":
            logger.warning("%s; the update is skipped", message)
            return
        raise NonFiniteLossError(
            f"{message}; {self._newest()}. Lower the learning rate, use precision: no or bf16, or "
            "skip such steps by on_nonfinite: skip"
        )

    def _log(self, message: str, *arguments: Any) -> None:
        """Log once, not once a process."""
        if self.is_main:
            logger.info(message, *arguments)

    def _tell(
        self,
        journal: Journal,
        terms: dict[str, Tensor],
        rate: float,
        pace: float,
        further: dict[str, float],
    ) -> None:
        """Write one interval's scalars, means over the processes, to log and journal."""
        names = sorted(terms)
        dtype = reduce(torch.promote_types, (each.dtype for each in terms.values()), torch.float32)
        values = [terms[name].to(self.accelerator.device, dtype) for name in names]
        stacked = torch.stack(values)
        means = self.accelerator.reduce(stacked, reduction="mean").tolist()
        scalars = dict(zip(names, means, strict=True)) | {"learning_rate": rate} | further
        journal.write(self.step, self.spent.tolist(), scalars)
        left = (self.config.max_steps - self.step) * pace
        losses = ", ".join(f"{k} {scalars[k]:.4g}" for k in self.task.passes if k in scalars)
        if "validation_rmse_db" in further:
            losses += f", validation RMSE {further['validation_rmse_db']:.2f} dB"
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

    def _show_samples(self, journal: Journal) -> None:
        """Draw a grid of truth (top) and network output (bottom), in the first process."""
        if not self.is_main:
            return
        count = min(GRID_MAPS, len(self.dataset))
        places = np.linspace(0, len(self.dataset) - 1, count).astype(int)
        batch = default_collate([self.dataset[int(k)] for k in places])
        batch = send_to_device(batch, self.accelerator.device)
        generator = torch.Generator(self.accelerator.device).manual_seed(self.seed)
        with _evaluating(self.exported) as network:
            drawn = self.task.sample(network, batch, generator)
        rows = [torch.cat(list(maps[:, 0]), dim=1) for maps in (batch.radio_map, drawn)]
        journal.show(self.step, ((torch.cat(rows) + 1) / 2).clamp(0, 1).float().cpu())

    def _validate(self, journal: Journal) -> dict[str, float]:
        """Return the error on maps that are not trained on [dB], in the first process."""
        if not self.is_main or self.validate is None:
            return {}
        with _evaluating(self.exported) as network:
            error_db = self.validate(self.task, network)
        journal.bar.set_postfix_str(f"validation RMSE {error_db:.2f} dB")
        return {"validation_rmse_db": error_db}


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[nn.Module]:
    """Put a network into evaluation mode for a while."""
    was_training = network.training
    try:
        yield network.eval()
    finally:
        network.train(was_training)


def _clocks() -> np.ndarray:
    """Return the clock and what this process's threads have used of processors [s]."""
    return np.array([time.monotonic(), time.process_time()])
