"""``radiodiff simulate``: radio maps in RadioMapSeer's layout."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from radiodiff.cli.choices import CITY_NAMES, VARIANTS
from radiodiff.cli.options import numbers, refuse
from radiodiff.files import project_path
from radiodiff.progress import show_progress
from radiodiff.provenance import current_commit

__all__ = ["add_commands"]

_OF_DATASET = ("maps", "transmitters", "seed", "cities")
_OF_CITY = ("antennas", "antenna_ids", "shift")
_OF_BOTH = ("size", "cell", "variants")


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add ``simulate``."""
    simulate = commands.add_parser(
        "simulate",
        help="simulate radio maps in RadioMapSeer's layout",
        description="Simulate a dataset described by --config or by --maps, --transmitters "
        "and the rest, or the radio maps of one city given by --outlines and --antennas.",
    )
    simulate.add_argument("--out", type=Path, help="folder to write (data/<name> with --config)")
    simulate.add_argument("--workers", type=int, help="processes (1)")
    dataset = simulate.add_argument_group("a dataset")
    dataset.add_argument("--config", help="YAML file, or a name in configs/data/")
    dataset.add_argument("--maps", type=int, help="city tiles")
    dataset.add_argument("--transmitters", type=int, help="transmitters per tile")
    dataset.add_argument("--seed", type=int, help="seed (0)")
    dataset.add_argument("--cities", help=f"comma-separated, of: {','.join(CITY_NAMES)}")
    city = simulate.add_argument_group("a city of your own")
    city.add_argument("--outlines", type=Path, metavar="JSON", help="rings of buildings [cells]")
    city.add_argument("--antennas", type=Path, metavar="JSON", help="list of [x, y] [cells], y up")
    city.add_argument("--antenna-ids", help="which of them, comma-separated, from 0 (all)")
    city.add_argument(
        "--shift",
        type=float,
        help="added to the outlines' coordinates [cells] (-0.501, for RadioMapSeer's own)",
    )
    both = simulate.add_argument_group("both, not with --config")
    both.add_argument("--size", type=int, help="cells along a side (256)")
    both.add_argument("--cell", type=float, help="side of a cell [m] (1.0)")
    both.add_argument("--variants", help=f"comma-separated, of: {','.join(VARIANTS)} (DPM)")
    simulate.set_defaults(run=_simulate)


def _simulate(options: argparse.Namespace) -> None:
    settings, out = _read_settings(options)
    if options.outlines is not None:
        _simulate_city(options, settings, out)
    else:
        _simulate_dataset(options, settings, out)


def _read_settings(options: argparse.Namespace) -> tuple[dict[str, Any], Path]:
    """Return what the simulation is told, by parameter, and the folder to write."""
    if options.config is not None:
        from radiodiff.config import load_simulate_config

        refuse(options, "--config", "outlines", *_OF_DATASET, *_OF_CITY, *_OF_BOTH)
        settings = dataclasses.asdict(load_simulate_config(options.config))
        return settings, options.out or project_path(Path("data") / Path(options.config).stem)
    settings = {
        {"cell": "cell_size_m", "shift": "shift_cells"}.get(name, name): value
        for name in (*_OF_DATASET, *_OF_CITY, *_OF_BOTH)
        if (value := getattr(options, name)) is not None
    }
    for name in {"cities", "variants", "antenna_ids"} & settings.keys():
        settings[name] = [word.strip() for word in settings[name].split(",")]
    if options.out is None:
        raise ValueError("--out is needed: which folder shall receive the maps?")
    return settings, options.out


def _simulate_city(options: argparse.Namespace, settings: dict[str, Any], out: Path) -> None:
    from radiodiff.simulate import simulate_outlines

    refuse(options, "--outlines", "workers", *_OF_DATASET)
    if options.antennas is None:
        raise ValueError("--outlines needs --antennas: where do the transmitters stand?")
    settings["antenna_ids"] = numbers("--antenna-ids", settings.get("antenna_ids"))
    with show_progress("simulated", "transmitters") as progress:
        more = {"commit": current_commit(), "progress": progress}
        paths = simulate_outlines(out, options.outlines, **more, **settings)
    for path in paths:
        print(path)


def _simulate_dataset(options: argparse.Namespace, settings: dict[str, Any], out: Path) -> None:
    from radiodiff.simulate import simulate_dataset

    refuse(options, "--outlines", *_OF_CITY, present=False)
    missing = [name for name in ("maps", "transmitters") if name not in settings]
    if missing:
        raise ValueError(
            f"--{missing[0]} is needed; or name --config, or --outlines with --antennas"
        )
    if options.workers is not None:
        settings["workers"] = options.workers
    with show_progress("simulated", "city tiles") as progress:
        simulate_dataset(out, **settings, commit=current_commit(), progress=progress)
    print(f"dataset: {out}")
