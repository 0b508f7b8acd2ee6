"""Figures of training runs."""

from pathlib import Path

from torch import nn

from radiodiff.config import load_config
from radiodiff.ema import EMA
from radiodiff.files import read_json_lines
from radiodiff.plots.colours import COLOURS
from radiodiff.plots.style import Figure, styled

__all__ = [
    "plot_losses",
]

#: Stages and the sections of the configuration that they are trained by.
_SECTIONS = {"autoencoder": "autoencoder_training", "diffusion": "training"}


@styled
def plot_losses(run_dir: Path) -> Figure:
    """Draw the losses of a run over its steps, above the learning rate and the averaging.

    Losses and learning rates are those that training logged, the decay of the average follows
    from the run's configuration (`radiodiff.ema.EMA.decay_at`). A loss is drawn on a logarithmic
    axis if it spans a decade.

    Args:
        run_dir: Folder written by training.

    Returns:
        A figure with one column a stage.

    Raises:
        FileNotFoundError: If the folder holds no log of a stage, or no configuration.
    """
    run_dir = Path(run_dir)
    logs = {stage: run_dir / stage / "log.jsonl" for stage in _SECTIONS}
    logs = {stage: path for stage, path in logs.items() if path.is_file()}
    if not logs:
        raise FileNotFoundError(f"{run_dir} holds no log.jsonl of a stage: was it trained?")
    config = load_config(run_dir / "config.yaml")
    figure = Figure(figsize=(0.4 + 2.9 * len(logs), 5.4), layout="constrained")
    layout = {"sharex": "col", "squeeze": False, "height_ratios": (3, 1.5, 1.5)}
    columns = figure.subplots(3, len(logs), **layout).T
    for column, (stage, path) in zip(columns, logs.items(), strict=True):
        rows = read_json_lines(path)
        steps, losses = [row["step"] for row in rows], [row[stage] for row in rows]
        settings = getattr(config, _SECTIONS[stage])
        average = EMA(
            nn.Identity(),
            decay=settings.ema_decay,
            start=settings.ema_start,
            every=settings.ema_every,
        )
        taken = range(1, steps[-1] + 1)
        loss, rate, decay = column
        loss.plot(steps, losses, color=COLOURS[0])
        loss.set(title=stage, ylabel="loss [1]")
        if 0 < 10 * min(losses) < max(losses):
            loss.set_yscale("log")
        rate.plot(steps, [row["learning_rate"] for row in rows], color=COLOURS[1])
        rate.set(ylabel="learning\nrate [1]", ylim=(0, None))
        rate.ticklabel_format(axis="y", style="sci", scilimits=(0, 0))
        decay.plot(taken, [average.decay_at(step - 1) for step in taken], color=COLOURS[2])
        decay.set(xlabel="step", ylabel="decay of the\naverage [1]", ylim=(-0.05, 1.05))
        for axes in column:
            axes.grid(alpha=0.3)
    return figure
