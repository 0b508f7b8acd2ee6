"""Time of a training step beside a busy process, against the time alone on the machine.

    .venv/bin/python -m benchmarks.crowded --papermill --out results/benchmarks/crowded.json

The busy process trains a small network with as many threads as there are cores, as another user
would. Training is ``radiodiff train`` of a configuration, asked for the steps of its second stage;
with ``--papermill`` the chapter *train* runs too, from its start to its end. Both are measured
alone and beside the neighbour in turns. Needs a machine that is quiet otherwise.

``--checkout`` measures another checkout, such as one of an earlier commit, whose rows join those
of the file; ``--environment`` says how threads wait, or how many there are. Nothing that the
caller's environment says of it counts.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

from benchmarks.common import (
    Row,
    commit_of,
    earlier_rows,
    make_parser,
    make_report,
    median_and_spread,
    provenance,
    publish,
)
from radiodiff.files import project_root
from radiodiff.threads import cores

REPEATS, STEPS = 3, 20
NEIGHBOUR = """
import torch
layers = [torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.SiLU(), torch.nn.Conv2d(32, 3, 3)]
network, maps = torch.nn.Sequential(*layers), torch.randn(8, 3, 64, 64)
network(maps).square().mean().backward()
print("busy", flush=True)
while True:
    network(maps).square().mean().backward()
"""


def main() -> None:
    """Measure and publish."""
    parser = make_parser(__doc__)
    parser.add_argument("--config", default="smoke", help="configuration (smoke)")
    parser.add_argument("--steps", type=int, default=STEPS, help=f"training steps ({STEPS})")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"turns ({REPEATS})")
    parser.add_argument("--papermill", action="store_true", help="run the chapter train too")
    parser.add_argument("--checkout", type=Path, help="folder whose package is asked (this one)")
    parser.add_argument(
        "--environment", nargs="*", default=[], metavar="NAME=VALUE", help="variables to set"
    )
    options = parser.parse_args()
    made, checkout = provenance("torch"), options.checkout or project_root()
    if options.checkout is not None:
        made["commit"] = commit_of(checkout)
    variables = dict(item.split("=", 1) for item in options.environment)
    environment = clean_environment() | {"PYTHONPATH": str(checkout.resolve())} | variables
    # In each row, since those of the file may have been measured with others.
    details = {"config": options.config, "steps": options.steps, "repeats": options.repeats}
    details |= {"neighbours": 1, "threads_of_neighbour": cores(), "environment": variables}
    with tempfile.TemporaryDirectory() as folder:
        jobs = {"step": (time_of_step, "time of a training step")}
        if options.papermill:
            jobs["papermill"] = (time_of_chapter, "time of the chapter train, papermill and all")
        rows = earlier_rows(options.out)
        for name, (job, what) in jobs.items():
            if options.checkout is not None:
                name = f"{name}, commit {made['commit'][:7]}"
            call = {"checkout": checkout, "folder": Path(folder), "environment": environment}
            call |= {"config": options.config, "steps": options.steps}
            alone, beside = take_turns(lambda: job(**call), options.repeats)  # noqa: B023
            ours, spread = median_and_spread(beside, 4)
            peer, _ = median_and_spread(alone, 4)
            peer_name = "alone on the machine"
            rows[name] = Row(name, what, "s", ours, peer, peer_name, spread, details, made)
    what = "training beside one busy process, against training alone"
    publish(make_report("crowded", what, list(rows.values())), options.out)


def clean_environment() -> dict[str, str]:
    """Return the environment without what it says of threads."""
    words = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_")
    return {name: text for name, text in os.environ.items() if not name.startswith(words)}


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """Keep a process at work that takes all cores, as another user's training does."""
    process = subprocess.Popen(
        [sys.executable, "-c", NEIGHBOUR],
        env=clean_environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        if process.stdout.readline() != "busy\n":
            raise RuntimeError("the busy neighbour did not start")
        yield
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def take_turns(job: Callable[[], float], repeats: int) -> tuple[list[float], list[float]]:
    """Return the times of a job alone and beside a neighbour [s]; a first turn does not count."""
    job()
    times: tuple[list[float], list[float]] = [], []
    for _ in range(repeats):
        for taken, neighbour in zip(times, (nullcontext, busy_neighbour), strict=True):
            with neighbour():
                taken.append(job())
    return times


def time_of_step(
    *, checkout: Path, folder: Path, environment: Mapping[str, str], config: str, steps: int
) -> float:
    """Train a run and return the mean time of a step of its second stage [s]; the first is left.

    Raises:
        CalledProcessError: If training fails.
    """
    with tempfile.TemporaryDirectory(dir=folder) as run_dir:
        pairs = [f"training.max_steps={steps}", "training.log_every=1"]
        pairs += [f"training.checkpoint_every={steps}", f"training.sample_every={steps}"]
        pairs += [f"data.root={folder}/data", "autoencoder_training.max_steps=1"]
        pairs += ["autoencoder_training.checkpoint_every=1", f"training.ema_start={steps // 2}"]
        command = [sys.executable, "-m", "radiodiff", "train", "--config", config]
        command += ["--run-dir", f"{run_dir}/run"]
        command += [word for pair in pairs for word in ("--set", pair)]
        subprocess.run(command, cwd=checkout, env=environment, capture_output=True, check=True)
        log = Path(run_dir, "run/diffusion/log.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in log.splitlines()]
    # The last step makes pictures, too; its row is written before.
    (first, *_, last) = rows
    return (last["seconds"] - first["seconds"]) / (last["step"] - first["step"])


def time_of_chapter(
    *, checkout: Path, folder: Path, environment: Mapping[str, str], config: str, steps: int
) -> float:
    """Run the chapter *train* with papermill and return its time [s], kernel's start included.

    Raises:
        CalledProcessError: If it fails.
    """
    del steps  # the configuration's own
    with tempfile.TemporaryDirectory(dir=folder) as run_dir:
        command = [sys.executable, "-m", "papermill", "--no-progress-bar"]
        command += ["notebooks/train.ipynb", f"{run_dir}/train.ipynb", "-p", "config", config]
        command += ["-p", "overrides", f"data.root={folder}/data", "-p", "run_dir"]
        command += [f"{run_dir}/run"]
        began = time.perf_counter()
        subprocess.run(command, cwd=checkout, env=environment, capture_output=True, check=True)
        return time.perf_counter() - began


if __name__ == "__main__":
    main()
