"""``radiodiff data``: check, show and pack a dataset."""

import argparse
import difflib
import json
from pathlib import Path

from radiodiff.cli.choices import VARIANTS
from radiodiff.progress import show_progress

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add ``data verify``, ``data show`` and ``data pack``."""
    data = commands.add_parser("data", help="check, show and pack a dataset")
    verbs = data.add_subparsers(required=True, metavar="VERB")
    verify = verbs.add_parser("verify", help="is a dataset whole and sound? Exit status 1 if not")
    verify.add_argument("root", type=Path, help="dataset folder")
    verify.add_argument("--json", action="store_true", help="print the whole report as JSON")
    verify.add_argument(
        "--sample", type=int, metavar="N", help="read N images of each folder, not all"
    )
    verify.set_defaults(run=_verify)
    show = verbs.add_parser("show", help="draw one sample as a picture")
    show.add_argument("root", type=Path, help="dataset folder")
    show.add_argument("name", help="<map>_<transmitter>, e.g. 3_17")
    show.add_argument(
        "--simulation",
        choices=VARIANTS,
        default="DPM",
        help="target (DPM)",
    )
    show.add_argument("--out", type=Path, help="picture (<name>_<simulation>.png)")
    show.set_defaults(run=_show)
    pack = verbs.add_parser("pack", help="decode all images once, for faster training")
    pack.add_argument("root", type=Path, help="dataset folder")
    pack.add_argument("--out", type=Path, help="folder of the packs (ROOT/packed)")
    pack.add_argument("--workers", type=int, default=1, help="processes (1)")
    pack.add_argument(
        "--folder",
        dest="folders",
        action="append",
        help="image folder, e.g. gain/DPM; may be repeated (all of gain/ and png/)",
    )
    pack.set_defaults(run=_pack)


def _verify(options: argparse.Namespace) -> int:
    from radiodiff.data import format_report, verify_dataset

    with show_progress("checked", "files") as progress:
        report = verify_dataset(options.root, sample=options.sample, progress=progress)
    print(json.dumps(report, indent=1) if options.json else format_report(report))
    return 0 if report["verdict"] == "sound" else 1


def _show(options: argparse.Namespace) -> None:
    from radiodiff.data import RadioMapOptions, RadioMapSeer
    from radiodiff.plots import plot_sample, save_figure

    has_cars = options.simulation.startswith("cars")
    simulation = options.simulation.removeprefix("cars")
    dataset = RadioMapSeer(
        options.root, "all", RadioMapOptions(simulation=simulation, cars=has_cars)
    )
    names = [f"{map_id}_{transmitter}" for map_id, transmitter in dataset.pairs]
    if options.name not in names:
        close = difflib.get_close_matches(options.name, names) or names[:3]
        raise ValueError(
            f"no sample {options.name} in {dataset.gain_dir}, with {len(names)} radio maps of "
            f"{len(dataset.maps)} tiles; is it one of {', '.join(close)}?"
        )
    sample = dataset[names.index(options.name)]
    figure = plot_sample(sample, title=f"{options.name}, {options.simulation}")
    out = options.out or Path(f"{options.name}_{options.simulation}.png")
    print(f"picture: {save_figure(figure, out)}")


def _pack(options: argparse.Namespace) -> None:
    from radiodiff.data import pack_dataset

    with show_progress("packed", "images") as progress:
        out = pack_dataset(
            options.root,
            folders=options.folders,
            out=options.out,
            workers=options.workers,
            progress=progress,
        )
    print(f"packs: {out}")
