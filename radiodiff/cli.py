"""Command line: ``radiodiff simulate``, ``data``, ``train``, ``sample``, ``evaluate``..."""

import argparse
import dataclasses
import difflib
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from radiodiff import __version__
from radiodiff.config import DataConfig, load_config, load_simulate_config, project_path
from radiodiff.data import (
    DatasetError,
    RadioMapSeer,
    format_report,
    pack_dataset,
    verify_dataset,
)
from radiodiff.data.splits import read_manifest
from radiodiff.evaluate import format_table
from radiodiff.experiment import (
    current_commit,
    default_run_dir,
    evaluate_run,
    log_progress,
    sample_run,
    show_log,
    train_run,
)
from radiodiff.plots import plot_sample
from radiodiff.protocols import PROTOCOLS
from radiodiff.reference import PROFILES, export_run, import_run, read_reference_config
from radiodiff.reference.training import train_reference_run
from radiodiff.simulate import CITY_NAMES, VARIANTS, simulate_dataset, simulate_outlines
from radiodiff.trainer import NonFiniteLossError, process_state

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    0; 1 (training failed, or a dataset is not sound); 2 (bad input); 130 (interrupted).

    Args:
        arguments: Words after ``radiodiff``; those of the process if ``None``.
    """
    options = _parser().parse_args(arguments)
    show_log(sys.stderr, "%(asctime)s %(message)s")
    if os.environ.get("RANK", "0") != "0":  # under torchrun the first process speaks for all
        logging.getLogger("radiodiff").setLevel(logging.ERROR)
    try:
        status = options.run(options)
    except (ValueError, OSError, ImportError, DatasetError) as error:
        print(f"radiodiff: error: {error}", file=sys.stderr)
        return 2
    except NonFiniteLossError as error:
        print(f"radiodiff: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "radiodiff: interrupted; train, simulate and data pack go on when called again",
            file=sys.stderr,
        )
        return 130
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="radiodiff", description="Radio maps by diffusion.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_simulate(
        commands.add_parser(
            "simulate",
            help="simulate radio maps in RadioMapSeer's layout",
            description="Simulate a dataset described by --config or by --maps, --transmitters "
            "and the rest, or the radio maps of one city given by --outlines and --antennas.",
        )
    )
    _add_data_commands(commands.add_parser("data", help="check, show and pack a dataset"))

    train = commands.add_parser("train", help="train a run, or go on with it")
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", help="YAML file, or a name in configs/")
    source.add_argument(
        "--reference",
        type=Path,
        metavar="YAML",
        help="configuration file of the public RadioDiff code; needs --data",
    )
    _add_overrides(train, "train.max_steps=100; with --reference in that file's keys")
    _add_reference_options(train)
    train.add_argument(
        "--encoder-weights",
        type=_absolute,
        help="torchvision's file for the condition encoder (--reference)",
    )
    train.add_argument(
        "--perceptual-weights",
        type=_absolute,
        help="VGG16 and LPIPS weights for the first stage (--reference)",
    )
    # torchrun takes --run for an abbreviation of an option of its own; --run-dir passes.
    train.add_argument("--run-dir", "--run", type=Path, help="run folder (runs/<name>)")
    train.add_argument(
        "--resume",
        choices=("auto", "true", "false"),
        default="auto",
        help="auto: go on from a checkpoint if there is one; true: need one; false: refuse one",
    )
    train.set_defaults(run=_train)

    sample = commands.add_parser("sample", help="draw the maps of a split as pictures")
    sample.add_argument("--run-dir", "--run", type=Path, required=True, help="run folder")
    sample.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    sample.add_argument("--split", choices=("train", "val", "test"), help="maps (the run's)")
    sample.add_argument("--max-maps", type=int, help="first so many tiles (the run's)")
    sample.add_argument("--steps", type=int, help="denoiser calls (the run's)")
    sample.set_defaults(run=_sample)

    reference = commands.add_parser("reference", help="checkpoints of the public RadioDiff code")
    verbs = reference.add_subparsers(required=True, metavar="VERB")
    import_ = verbs.add_parser("import", help="make a run folder of a checkpoint")
    import_.add_argument("checkpoint", type=Path, help=".pt or .safetensors file")
    import_.add_argument("--config", type=Path, required=True, help="its YAML file")
    import_.add_argument("--out", type=Path, required=True, help="run folder to make")
    import_.add_argument(
        "--weights",
        choices=("auto", "ema", "model"),
        default="auto",
        help="averaged weights or not; auto takes the averaged ones if there are any",
    )
    _add_overrides(import_, "model.unet.dim=64, in the YAML file's keys")
    _add_reference_options(import_)
    import_.set_defaults(run=_import)
    export = verbs.add_parser("export", help="write a run's weights as the public code does")
    export.add_argument("run_dir", type=Path, help="run folder of profile R24 or R25")
    export.add_argument("--out", type=Path, required=True, help=".pt or .safetensors file")
    export.set_defaults(run=_export)

    evaluate = commands.add_parser("evaluate", help="score a run against baselines")
    evaluate.add_argument("--run-dir", "--run", type=Path, required=True, help="run folder")
    evaluate.add_argument("--out", type=Path, help="results folder (results/<name>)")
    evaluate.add_argument(
        "--protocol",
        action="append",
        choices=list(PROTOCOLS),
        metavar="NAME",
        help=(
            f"rule for the numbers, may be repeated: {', '.join(PROTOCOLS)} (without it all are "
            "stored and city is printed)"
        ),
    )
    evaluate.add_argument(
        "--allow-leak",
        action="store_true",
        help="judge although judged maps are in another split too; recorded in metrics.json",
    )
    evaluate.set_defaults(run=_evaluate)
    return parser


def _add_simulate(simulate: argparse.ArgumentParser) -> None:
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


def _add_data_commands(data: argparse.ArgumentParser) -> None:
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
        choices=("DPM", "IRT2", "IRT4", "carsDPM", "carsIRT2", "carsIRT4"),
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


def _absolute(path: str) -> str:
    """Return a path as a configuration may hold it: there, relative ones count from the project."""
    return str(Path(path).resolve())


def _add_overrides(parser: argparse.ArgumentParser, example: str) -> None:
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help=f"change one key, e.g. {example}; may be repeated",
    )


def _add_reference_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=_absolute, help="dataset folder")
    parser.add_argument(
        "--profile", choices=tuple(PROFILES), help="state of the public code (told by the YAML)"
    )


def _simulate(options: argparse.Namespace) -> None:
    of_dataset = ("maps", "transmitters", "seed", "cities")
    of_city = ("antennas", "antenna_ids", "shift")
    of_both = ("size", "cell", "variants")
    if options.config is not None:
        _refuse(options, "--config", "outlines", *of_dataset, *of_city, *of_both)
        settings = dataclasses.asdict(load_simulate_config(options.config))
        out = options.out or project_path(Path("data") / Path(options.config).stem)
    else:
        settings = {
            {"cell": "cell_size_m", "shift": "shift_cells"}.get(name, name): value
            for name in (*of_dataset, *of_city, *of_both)
            if (value := getattr(options, name)) is not None
        }
        for name in {"cities", "variants", "antenna_ids"} & settings.keys():
            settings[name] = [word.strip() for word in settings[name].split(",")]
        out = options.out
        if out is None:
            raise ValueError("--out is needed: which folder shall receive the maps?")
    if options.outlines is not None:
        _refuse(options, "--outlines", "workers", *of_dataset)
        if options.antennas is None:
            raise ValueError("--outlines needs --antennas: where do the transmitters stand?")
        settings["antenna_ids"] = _numbers("--antenna-ids", settings.get("antenna_ids"))
        progress = log_progress("simulated %d of %d transmitters")
        for path in simulate_outlines(out, options.outlines, progress=progress, **settings):
            print(path)
        return
    _refuse(options, "--outlines", *of_city, present=False)
    missing = [name for name in ("maps", "transmitters") if name not in settings]
    if missing:
        raise ValueError(
            f"--{missing[0]} is needed; or name --config, or --outlines with --antennas"
        )
    if options.workers is not None:
        settings["workers"] = options.workers
    progress = log_progress("simulated %d of %d city tiles")
    simulate_dataset(out, **settings, commit=current_commit(), progress=progress)
    print(f"dataset: {out}")


def _refuse(options: argparse.Namespace, option: str, *names: str, present: bool = True) -> None:
    """Raise if an option was given that another excludes, or that means nothing without it."""
    for name in names:
        if getattr(options, name) is not None:
            relation = "does not go with" if present else "belongs to"
            raise ValueError(f"--{name.replace('_', '-')} {relation} {option}")


def _numbers(option: str, words: Sequence[str] | None) -> list[int] | None:
    try:
        return None if words is None else [int(word) for word in words]
    except ValueError:
        raise ValueError(f"{option} must be numbers with commas, got {','.join(words)}") from None


def _verify(options: argparse.Namespace) -> int:
    progress = log_progress("checked %d of %d files")
    report = verify_dataset(options.root, sample=options.sample, progress=progress)
    print(json.dumps(report, indent=1) if options.json else format_report(report))
    return 0 if report["verdict"] == "sound" else 1


def _show(options: argparse.Namespace) -> None:
    has_cars = options.simulation.startswith("cars")
    dataset = RadioMapSeer(
        options.root, "all", simulation=options.simulation.removeprefix("cars"), cars=has_cars
    )
    names = [f"{map_id}_{transmitter}" for map_id, transmitter in dataset.pairs]
    if options.name not in names:
        close = difflib.get_close_matches(options.name, names) or names[:3]
        raise ValueError(
            f"no sample {options.name} in {dataset.gain_dir}, with {len(names)} radio maps of "
            f"{len(dataset.maps)} tiles; is it one of {', '.join(close)}?"
        )
    sample = dataset[names.index(options.name)]
    manifest = read_manifest(options.root) or {}
    figure = plot_sample(
        sample,
        title=f"{options.name}, {options.simulation}",
        cell_size_m=manifest.get("parameters", {}).get("cell_size_m", 1.0),
        cars_mask=sample.condition[2].numpy() > 0 if has_cars else None,
    )
    out = options.out or Path(f"{options.name}_{options.simulation}.png")
    figure.savefig(out, dpi=110)
    print(f"picture: {out}")


def _pack(options: argparse.Namespace) -> None:
    out = pack_dataset(
        options.root,
        folders=options.folders,
        out=options.out,
        workers=options.workers,
        progress=log_progress("packed %d of %d images"),
    )
    print(f"packs: {out}")


def _train(options: argparse.Namespace) -> None:
    resume = {"auto": "auto", "true": True, "false": False}[options.resume]
    if options.reference is None:
        names = ("data", "profile", "encoder_weights", "perceptual_weights")
        unused = [name for name in names if getattr(options, name) is not None]
        if unused:
            shown = ", ".join(f"--{name.replace('_', '-')}" for name in unused)
            raise ValueError(f"{shown} belongs to --reference, not to --config")
        config = load_config(options.config, options.overrides)
        run_dir = train_run(config, options.run_dir or default_run_dir(config), resume=resume)
    else:
        if options.data is None:
            raise ValueError("--reference needs --data ROOT: the public code has its folder inside")
        run = read_reference_config(
            options.reference,
            data_root=options.data,
            profile=PROFILES.get(options.profile),
            overrides=options.overrides,
            encoder_weights=options.encoder_weights,
            perceptual_weights=options.perceptual_weights,
        )
        run_dir = options.run_dir or default_run_dir(run.config)
        run_dir = train_reference_run(run, run_dir, resume=resume)
    if process_state().is_main_process:
        print(f"run: {run_dir}")


def _sample(options: argparse.Namespace) -> None:
    out_dir = sample_run(
        options.run_dir,
        options.out,
        split=options.split,
        max_maps=options.max_maps,
        steps=options.steps,
    )
    print(f"pictures: {out_dir}")


def _import(options: argparse.Namespace) -> None:
    run = import_run(
        options.checkpoint,
        options.config,
        options.out,
        data_root=options.data or DataConfig.root,
        profile=PROFILES.get(options.profile),
        overrides=options.overrides,
        which=options.weights,
    )
    print(f"profile: {run.profile.name}, {run.stage}")
    print(f"run: {options.out}")


def _export(options: argparse.Namespace) -> None:
    count = export_run(options.run_dir, options.out)
    print(f"{count} tensors: {options.out}")


def _evaluate(options: argparse.Namespace) -> None:
    results_dir = options.out or project_path("results") / options.run_dir.resolve().name
    wanted = list(dict.fromkeys(options.protocol or ()))
    result = evaluate_run(
        options.run_dir,
        results_dir,
        protocols=wanted or tuple(PROTOCOLS),
        allow_leak=options.allow_leak,
    )
    for protocol in wanted or ["city"]:
        print(format_table(result, protocol) + "\n")
    print(f"figure:  {results_dir / 'predictions.png'}")
    print(f"metrics: {results_dir / 'metrics.json'}")
    print(f"run:     {options.run_dir}")
