"""``radiodiff sample``: the maps of a split as pictures."""

import argparse
from pathlib import Path

from radiodiff.cli.options import add_run_dir

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add ``sample``."""
    sample = commands.add_parser("sample", help="draw the maps of a split as pictures")
    add_run_dir(sample)
    sample.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    sample.add_argument("--split", choices=("train", "val", "test"), help="maps (the run's)")
    sample.add_argument("--max-maps", type=int, help="first so many tiles (the run's)")
    sample.add_argument("--steps", type=int, help="denoiser calls (the run's)")
    sample.set_defaults(run=_sample)


def _sample(options: argparse.Namespace) -> None:
    from radiodiff.runs.sample import sample_run

    out_dir = sample_run(
        options.run_dir,
        options.out,
        split=options.split,
        max_maps=options.max_maps,
        steps=options.steps,
    )
    print(f"pictures: {out_dir}")
