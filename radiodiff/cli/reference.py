"""``radiodiff reference``: checkpoints of the public RadioDiff code, both ways."""

import argparse
from pathlib import Path

from radiodiff.cli.options import add_overrides, add_reference_options

__all__ = ["add_commands"]


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add ``reference import`` and ``reference export``."""
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
    add_overrides(import_, "model.unet.dim=64, in the YAML file's keys")
    add_reference_options(import_)
    import_.set_defaults(run=_import)
    export = verbs.add_parser("export", help="write a run's weights as the public code does")
    export.add_argument("run_dir", type=Path, help="run folder of profile R24 or R25")
    export.add_argument("--out", type=Path, required=True, help=".pt or .safetensors file")
    export.set_defaults(run=_export)


def _import(options: argparse.Namespace) -> None:
    from radiodiff.data import DataConfig
    from radiodiff.reference import PROFILES, import_run

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
    from radiodiff.reference import export_run

    count = export_run(options.run_dir, options.out)
    print(f"{count} tensors: {options.out}")
