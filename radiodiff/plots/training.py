"""Figures of training runs."""

import json
from pathlib import Path

from matplotlib.figure import Figure

__all__ = [
    "plot_losses",
]


def plot_losses(run_dir: Path) -> Figure:
    """Draw the loss of each stage of a run over its steps.

    Args:
        run_dir: Folder written by training.

    Returns:
        A figure with one panel a stage.

    Raises:
        FileNotFoundError: If the folder holds no log of a stage.
    """
    logs = [
        Path(run_dir) / stage / "log.jsonl"
        for stage in ("autoencoder", "diffusion")
        if (Path(run_dir) / stage / "log.jsonl").is_file()
    ]
    if not logs:
        raise FileNotFoundError(f"{run_dir} holds no log.jsonl of a stage: was it trained?")
    figure = Figure(figsize=(4.5 * len(logs), 3.2), layout="constrained")
    for axes, path in zip(figure.subplots(1, len(logs), squeeze=False)[0], logs, strict=True):
        stage = path.parent.name
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        axes.plot([row["step"] for row in rows], [row[stage] for row in rows])
        axes.set(title=stage, xlabel="step", ylabel="loss [1]", yscale="log")
        axes.grid(alpha=0.3)
    return figure
