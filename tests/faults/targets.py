"""What is fuzzed: for each kind of file a valid one, how it is altered, and what then reads it.

A target alters files in a folder of its own and calls the command line, or a reader below it. What
the readers refuse ends as one of the errors that the command line turns into one line.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
import yaml

from radiodiff.checkpoint import read_tensors, save_tensors, save_weights
from radiodiff.cli.main import main
from radiodiff.config import load_config, load_simulate_config, save_config
from radiodiff.data import RadioMapOptions, RadioMapSeer, pack_dataset
from radiodiff.files import project_root
from radiodiff.models import AutoencoderKL, UNet
from radiodiff.provenance import current_commit
from radiodiff.reference import read_reference_config
from radiodiff.runs.train import default_run_dir
from radiodiff.simulate import simulate_dataset
from tests.faults import mutate
from tests.reference.cases import SMALL

#: Made in the folder that is watched when a pickle is run.
SIGN = "ran"
SIMULATED = {"maps": 4, "transmitters": 1, "size": 32, "cell_size_m": 8.0}
OVERRIDES = [
    *("name=a", "seed=1", "network.width=8", "training.learning_rate=1e-4", "sampler.steps=2"),
    *("network.filter_size=[1, 1]", "data.root=x", "process.kind=mean_flow", "evaluate.samples=2"),
    *("network.conv.widths=[8, 8, 8, 8]", "autoencoder.multipliers=[1, 1, 1]", "evaluate={}"),
    *("training.precision=no", "data.condition=[buildings, transmitter]", "training.max_steps=3"),
]
REFERENCE = ("radio_train.yaml", "radio_train_r25.yaml", "first_radio.yaml")


class OutsideError(Exception):
    """A path that would leave the folder that was named."""


@dataclass(frozen=True)
class Target:
    """One kind of hostile input."""

    alter: Callable[[Random, Path, Path], None]
    """Called as ``alter(rng, seeds, folder)``; fills the folder from the valid files."""
    read: Callable[[Path], int]
    """Called as ``read(folder)``; returns an exit status, or raises what main would report."""


def write_seeds(folder: Path) -> None:
    """Write a valid file of each kind."""
    root = project_root()
    shutil.copytree(root / "tests/reference", folder / "reference", ignore=lambda *_: ["cases.py"])
    shutil.copy(root / "configs/smoke.yaml", folder / "smoke.yaml")
    shutil.copy(root / "configs/data/sim-demo.yaml", folder / "simulate.yaml")
    simulate_dataset(folder / "data", **SIMULATED, commit=current_commit())
    (folder / "data/SHA256SUMS").unlink()  # or it finds every change
    shutil.copytree(folder / "data", folder / "packed")
    pack_dataset(folder / "packed")
    (folder / "outlines.json").write_text(
        json.dumps([[[2, 2], [2, 6], [6, 6], [6, 2], [2, 2]]]), encoding="utf-8"
    )
    (folder / "antennas.json").write_text(json.dumps([[9, 9], [12, 3]]), encoding="utf-8")
    pairs = ["data.simulate=null", "data.root=../named/data", "evaluate.batch_size=1"]
    config = load_config(folder / "smoke.yaml", pairs)
    (folder / "run").mkdir()
    save_config(config, folder / "run/config.yaml")
    save_weights(UNet(config.network), folder / "run/diffusion.safetensors")
    save_weights(AutoencoderKL(config.autoencoder), folder / "run/autoencoder.safetensors")
    (folder / "run/latents.json").write_text(json.dumps({"latent_scale": 0.5}), encoding="utf-8")
    scenes = {"cell_size_m": 4.0, "sides": [32, 32], "built_low": 0.0, "built_high": 1.0}
    (folder / "run/scenes.json").write_text(json.dumps(scenes), encoding="utf-8")
    tensors = {"scale_factor": torch.tensor(0.3), "first_stage_model.x": torch.zeros(2, 2)}
    save_tensors(tensors, folder / "state.pt")
    save_tensors(tensors, folder / "state.safetensors")


def _altered(rng: Random, source: Path, path: Path) -> None:
    """Write a hostile variant of a file, by its kind."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = source.read_bytes()
    match source.suffix:
        case ".yaml":
            made = mutate.tree(rng, yaml.safe_load(data), "yaml")
        case ".json":
            made = mutate.tree(rng, json.loads(data), "json")
        case ".png":
            made = mutate.png(rng, data)
        case ".npy":
            made = mutate.npy(rng, data)
        case ".safetensors":
            made = mutate.safetensors(rng, data)
        case _:
            made = mutate.torch_file(rng, data, path.parents[1] / SIGN)
    path.unlink(missing_ok=True)
    path.write_bytes(made)


def _copy(rng: Random, seeds: Path, folder: Path, name: str, suffixes: set[str]) -> None:
    """Copy a folder of seeds and alter one of its files."""
    shutil.copytree(seeds / name, folder / name, copy_function=shutil.copy2)
    files = sorted(p for p in (folder / name).rglob("*") if p.suffix in suffixes)
    chosen = rng.choice(files)
    _altered(rng, chosen, chosen)


# Configurations and overrides


def _config(rng: Random, seeds: Path, folder: Path) -> None:
    _altered(rng, seeds / "smoke.yaml", folder / "config.yaml")


def _override(rng: Random, seeds: Path, folder: Path) -> None:
    shutil.copy(seeds / "smoke.yaml", folder / "config.yaml")
    words = [mutate.word(rng, rng.choice(OVERRIDES)) for _ in range(rng.choice((1, 2)))]
    (folder / "words.json").write_text(json.dumps(words), encoding="utf-8")


def _train(folder: Path) -> int:
    """Train without data, so that nothing is computed; a configuration that passes must build."""
    words = folder / "words.json"
    pairs = json.loads(words.read_text(encoding="utf-8")) if words.is_file() else []
    last = [f"data.root={folder}/none", "data.simulate=null", "data.source=radiomapseer"]
    options = [word for pair in (*pairs, *last) for word in ("--set", pair)]
    path = folder / "config.yaml"
    main(["train", "--config", str(path), "--run-dir", str(folder / "run"), *options])
    config = load_config(path, pairs)
    if not default_run_dir(config).resolve().is_relative_to((project_root() / "runs").resolve()):
        raise OutsideError(f"name: {config.name!r:.80} puts the run into {default_run_dir(config)}")
    if default_run_dir(config).resolve() == (project_root() / "runs").resolve():
        raise OutsideError(f"name: {config.name!r:.80} puts the run into runs/ itself")
    with torch.device("meta"):
        UNet(config.network)
        AutoencoderKL(config.autoencoder)
    return 0


def _simulate_config(rng: Random, seeds: Path, folder: Path) -> None:
    _altered(rng, seeds / "simulate.yaml", folder / "sim.yaml")


def _simulate(folder: Path) -> int:
    load_simulate_config(folder / "sim.yaml")
    return 0


# Datasets


def _manifest(rng: Random, seeds: Path, folder: Path) -> None:
    _copy(rng, seeds, folder, "data", {".json"})


def _picture(rng: Random, seeds: Path, folder: Path) -> None:
    _copy(rng, seeds, folder, "data", {".png"})


def _packed(rng: Random, seeds: Path, folder: Path) -> None:
    _copy(rng, seeds, folder, "packed", {".npy"} if rng.random() < 0.5 else {".json"})


def _dataset(folder: Path) -> int:
    """Check, pack and read a dataset, each whatever the other says."""
    (root,) = folder.iterdir()
    statuses = [main(["data", "verify", str(root)])]
    statuses.append(main(["data", "pack", str(root), "--out", str(folder / "packs")]))
    options = RadioMapOptions(packed=str(folder / "packs") if root.name == "data" else None)
    for sample in RadioMapSeer(root, "test", options):
        if not torch.isfinite(sample.radio_map).all():
            raise AssertionError(f"map {sample.name} is not finite")
    return max(statuses)


def _simulate_again(folder: Path) -> int:
    """Simulate into a folder that holds the same dataset, or says that it holds another."""
    words = ["simulate", "--out", str(folder / "data"), "--maps", "4", "--transmitters", "1"]
    return main([*words, "--size", "32", "--cell", "8"])


def _outlines(rng: Random, seeds: Path, folder: Path) -> None:
    chosen = rng.choice(("outlines.json", "antennas.json"))
    for name in ("outlines.json", "antennas.json"):
        if name == chosen:
            _altered(rng, seeds / name, folder / name)
        else:
            shutil.copy(seeds / name, folder / name)


def _simulate_outlines(folder: Path) -> int:
    words = ["simulate", "--outlines", str(folder / "outlines.json"), "--size", "16"]
    words += ["--antennas", str(folder / "antennas.json"), "--out", str(folder / "maps")]
    return main(words)


# Runs and weights


def _run(rng: Random, seeds: Path, folder: Path) -> None:
    shutil.copytree(seeds / "data", folder / "data")
    suffixes = rng.choice(({".json"}, {".json"}, {".yaml"}, {".safetensors"}))
    _copy(rng, seeds, folder, "run", suffixes)


def _sample(folder: Path) -> int:
    words = ["sample", "--run-dir", str(folder / "run"), "--out", str(folder / "pictures")]
    return main([*words, "--steps", "1", "--max-maps", "1"])


def _state(rng: Random, seeds: Path, folder: Path) -> None:
    shutil.copy(seeds / "reference/radio_train.yaml", folder / "radio_train.yaml")
    name = rng.choice(("state.pt", "state.pt", "state.safetensors"))
    _altered(rng, seeds / name, folder / name)


def _import(folder: Path) -> int:
    (state,) = folder.glob("state.*")
    words = ["reference", "import", str(state), "--config", str(folder / "radio_train.yaml")]
    words += [word for pair in SMALL for word in ("--set", pair)]
    status = main([*words, "--out", str(folder / "imported")])
    read_tensors(state)
    return status


def _reference(rng: Random, seeds: Path, folder: Path) -> None:
    name = rng.choice(REFERENCE)
    _altered(rng, seeds / "reference" / name, folder / name)


def _read_reference(folder: Path) -> int:
    (path,) = folder.glob("*.yaml")
    main(["train", "--reference", str(path), "--data", str(folder / "none")])
    run = read_reference_config(path, data_root="none")
    with torch.device("meta"):
        UNet(run.config.network)
        AutoencoderKL(run.config.autoencoder)
    return 0


TARGETS = {
    "config": Target(_config, _train),
    "override": Target(_override, _train),
    "simulate-config": Target(_simulate_config, _simulate),
    "manifest": Target(_manifest, _dataset),
    "picture": Target(_picture, _dataset),
    "simulated": Target(_manifest, _simulate_again),
    "packed": Target(_packed, _dataset),
    "outlines": Target(_outlines, _simulate_outlines),
    "run": Target(_run, _sample),
    "state": Target(_state, _import),
    "reference": Target(_reference, _read_reference),
}
