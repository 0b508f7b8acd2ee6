"""Training steps a second of the paper's network: from kept latents, against the public code's way.

    .venv/bin/python -m benchmarks.train_step --out results/benchmarks/train_step.json

The peers do what the two states of the public code do in a step: both encode the map anew with the
frozen autoencoder, and the first decodes it again besides (D4). Networks, loss and optimizer are
those of each profile and of `full`. They take turns in one process; the ratio of a row is how many
times faster ours is, its spread that of the turns.
"""

import statistics
from collections.abc import Callable

import torch

from benchmarks.common import (
    Row,
    alternate,
    flops_of,
    make_parser,
    make_report,
    matrix_ceiling_gflops,
    provenance,
    publish,
)
from radiodiff.config import load_config
from radiodiff.memory import keep_memory
from radiodiff.models import AutoencoderKL, UNetConfig, make_network
from radiodiff.predictors.pipeline import conditioned
from radiodiff.processes import Process
from radiodiff.reference import R24, R25

REPEATS = 5


def main() -> None:
    """Measure and publish."""
    parser = make_parser(__doc__)
    parser.add_argument("--size", type=int, default=256, help="side of a map [cells] (256)")
    parser.add_argument("--batch", type=int, default=1, help="maps of a step (1)")
    parser.add_argument("--repeats", type=int, default=REPEATS, help=f"of each ({REPEATS})")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    options = parser.parse_args()
    keep_memory()
    torch.set_flush_denormal(True)
    device = torch.device(options.device)
    made = provenance("torch", device=device)
    steps = make_steps(options.size, options.batch, device)
    flops = {name: flops_of(step) for name, step in steps.items()}
    ceiling = matrix_ceiling_gflops(device=options.device)
    seconds = alternate(steps, options.repeats, device=options.device)
    report = make_report(
        "train_step",
        "training steps of the paper's network a second",
        make_rows(seconds, flops, ceiling),
        made=made,
        parameters={
            "size": options.size,
            "batch": options.batch,
            "repeats": options.repeats,
            "threads": torch.get_num_threads(),
            "ceiling_gflops": ceiling,
        },
    )
    publish(report, options.out)


def make_rows(
    seconds: dict[str, list[float]], flops: dict[str, int], ceiling_gflops: float
) -> list[Row]:
    """Return one row a peer, of seconds of each turn and operations of a step."""
    rows = []
    for peer in (name for name in seconds if name != "ours"):
        ratios = [b / a for a, b in zip(seconds["ours"], seconds[peer], strict=True)]
        paces = [1 / s for s in seconds["ours"]]
        share = flops["ours"] / 1e9 / statistics.median(seconds["ours"]) / ceiling_gflops
        rows.append(
            Row(
                name=f"ours, {peer}",
                what="training steps",
                unit="1/s",
                ours=round(statistics.median(paces), 4),
                peer=round(1 / statistics.median(seconds[peer]), 4),
                peer_name=peer,
                spread=(round(min(paces), 4), round(max(paces), 4)),
                details={
                    "times_faster": [round(min(ratios), 3), round(max(ratios), 3)],
                    "gflop": round(flops["ours"] / 1e9, 1),
                    "peer_gflop": round(flops[peer] / 1e9, 1),
                    "share_of_ceiling": round(share, 3),
                },
            )
        )
    return rows


def make_steps(size: int, batch: int, device: torch.device) -> dict[str, Callable[[], None]]:
    """Return a training step of ours and of the two states of the public code."""
    full = load_config("full")
    autoencoder = AutoencoderKL(full.autoencoder).to(device).eval().requires_grad_(False)
    maps = torch.rand(batch, 1, size, size, device=device) * 2 - 1
    with torch.no_grad():
        latents = autoencoder.encode(maps)

    def encoded() -> torch.Tensor:
        with torch.no_grad():
            return autoencoder.encode(maps).sample()

    def decoded_too() -> torch.Tensor:
        x_0 = encoded()
        with torch.no_grad():
            autoencoder.decode(x_0)
        return x_0

    ways = {
        "ours": (latents.sample, full.network, full.process.chosen),
        "R24": (decoded_too, R24.network, R24.process.chosen),
        "R25": (encoded, R25.network, R25.process.chosen),
    }
    return {
        name: training_step(get_x_0, network, process, size, device)
        for name, (get_x_0, network, process) in ways.items()
    }


def training_step(
    get_x_0: Callable[[], torch.Tensor],
    config: UNetConfig,
    process: Process,
    size: int,
    device: torch.device,
) -> Callable[[], None]:
    """Return a function that does one optimizer step of a network on latents."""
    network = make_network(config).to(device).train()
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)
    generator = torch.Generator(device).manual_seed(0)

    def step() -> None:
        x_0 = 0.3 * get_x_0()
        condition = torch.zeros(len(x_0), config.condition_inputs, size, size, device=device)
        loss = process.loss(conditioned(network, condition), x_0, generator=generator).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
