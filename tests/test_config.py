"""Configuration: every shipped file, exact errors, types by field."""

import ast
import dataclasses
import inspect
import textwrap
import typing

import pytest
import yaml

from radiodiff.config import (
    RENAMED,
    Config,
    build_config,
    load_config,
    load_simulate_config,
    save_config,
)
from radiodiff.data import DataConfig, EdgesConfig
from radiodiff.losses import AutoencoderLossConfig
from radiodiff.settings import ConfigError, check_parameters, config_text

from .conftest import ROOT


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_file_loads(path):
    assert load_config(path).name == path.stem


def test_full_is_the_paper():
    config = load_config("full")
    assert (config.autoencoder.width, config.network.width, config.network.encoder) == (
        128,
        128,
        "swin",
    )
    assert config.training.batch_size * config.training.accumulation == 528
    ddp = load_config("full_ddp")
    assert 4 * ddp.training.batch_size * ddp.training.accumulation == 528
    shared = dataclasses.replace(ddp, name="full", training=config.training)
    assert shared == config
    assert dataclasses.replace(ddp.training, accumulation=8) == config.training


def test_resolved_file_reads_back_equal(tmp_path):
    config = load_config("demo", ["training.max_steps=3"])
    save_config(config, tmp_path / "config.yaml")
    assert load_config(tmp_path / "config.yaml") == config


def test_a_mapping_without_newer_keys_means_their_defaults():
    """As configurations stored with results, which must stay comparable."""
    config = load_config("demo")
    values = yaml.safe_load(config_text(config))
    del values["data"]["measurements"], values["data"]["edges"], values["evaluate"]["shared_noise"]
    assert build_config(values) == config
    values["data"]["measurments"] = None
    with pytest.raises(ConfigError, match=r"did you mean 'data\.measurements'"):
        build_config(values)


@pytest.mark.parametrize(
    ("changes", "channels"),
    [
        ({}, 2),
        ({"cars": True}, 3),
        ({"cars": True, "hide_cars": True}, 2),
        ({"measurements": (1, 300)}, 3),
        ({"cars": True, "k2_channels": 2}, 5),
        ({"source": "edges"}, 3),
        ({"source": "radiomap3dseer"}, 2),
    ],
)
def test_channels_of_the_condition(changes, channels):
    assert len(DataConfig(**changes).channels) == channels


@pytest.mark.parametrize(
    ("source", "override", "key"),
    [
        ("edges", "data.cars=true", "cars"),
        ("edges", "data.splits=paper", "splits"),
        ("radiomap3dseer", "data.threshold=0.2", "threshold"),
        ("radiomap3dseer", "data.seed=1", "seed"),
        ("radiomapseer", "data.edges.flip=false", "edges"),
    ],
)
def test_keys_of_another_source_are_refused(source, override, key):
    overrides = ["data.simulate=null", f"data.source={source}", override]
    with pytest.raises(ConfigError, match=f"{key} has no meaning for source {source}"):
        load_config("smoke", overrides)


def test_edges_are_configured():
    overrides = ["data.simulate=null", "data.source=edges", "data.edges.crop_size=[64, 96]"]
    assert load_config("smoke", overrides).data.edges == EdgesConfig(crop_size=(64, 96))


def test_overrides_take_the_fields_type():
    config = load_config(
        "smoke",
        ["training.learning_rate=5e-3", "network.multipliers=[1, 1, 1, 1]", "data.simulate=null"],
    )
    assert config.training.learning_rate == 5e-3  # PyYAML alone reads a string
    assert config.network.multipliers == (1, 1, 1, 1)
    assert config.data.simulate is None
    assert load_config("full", ["data.simulate.maps=3"]).data.simulate.maps == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "training.max_stps=3",
            "unknown key 'training.max_stps'; did you mean 'training.max_steps'",
        ),
        ("trainig.max_steps=3", "did you mean 'training.max_steps'"),
        ("training.max_steps=many", "training.max_steps must be int, got 'many'"),
        ("training.max_steps=1.5", "training.max_steps must be int, got 1.5"),
        ("training.max_steps=true", "training.max_steps must be int, got True"),
        ("training.learning_rate=fast", "training.learning_rate must be float"),
        ("training.precision=fp8", "training.precision must be one of no, fp16, bf16"),
        ("training.max_steps=0", "max_steps must be at least 1, got 0"),
        ("training=3", "training must be a section of keys, got 3"),
        ("network.filter_size=[4]", "network.filter_size must have 2 entries"),
        ("network.filter_size=4", "network.filter_size must be a list"),
        ("training.max_steps", "an override must read key=value"),
        ("evaluate.samples=0", "evaluate: samples must be at least 1"),
        ("training.learning_rate=1e-9", "below min_learning_rate"),
        ("autoencoder.width=17", "autoencoder: width must be"),
    ],
)
def test_wrong_overrides_are_refused(override, message):
    with pytest.raises(ConfigError) as error:
        load_config("smoke", [override])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_unknown_key_in_a_file_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_text("name: x\ntraining: {max_stps: 3}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"did you mean 'training.max_steps'"):
        load_config(tmp_path / "x.yaml")


def test_missing_name_and_missing_file_are_refused(tmp_path):
    (tmp_path / "x.yaml").write_text("seed: 1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="name"):
        load_config(tmp_path / "x.yaml")
    with pytest.raises(FileNotFoundError, match="configs/ holds ablation, demo, demo-latent, full"):
        load_config("smok")
    (tmp_path / "y.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(tmp_path / "y.yaml")


def test_perceptual_weight_needs_a_file():
    with pytest.raises(ConfigError, match="perceptual_weights_file"):
        AutoencoderLossConfig(perceptual_weight=1.0)


def sections(kind):
    """A dataclass and those in its fields."""
    yield kind
    for hint in typing.get_type_hints(kind).values():
        for inner in (hint, *typing.get_args(hint)):
            if dataclasses.is_dataclass(inner):
                yield from sections(inner)


@pytest.mark.parametrize("section", dict.fromkeys(sections(Config)), ids=lambda kind: kind.__name__)
def test_every_field_is_explained(section):
    """A docstring follows each field, so that the file is the manual."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    for k, item in enumerate(node.body):
        if isinstance(item, ast.AnnAssign):
            following = node.body[k + 1]
            is_text = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
            assert is_text, f"{section.__name__}.{item.target.id}"


OLD = """
name: old
autoencoder_loss: {perceptual_weight: 0}
train_autoencoder: {max_steps: 7}
unet: {width: 16}
diffusion: {t_min: 1.0e-3, latent_scale: 0.3, latent_scaling: factor, drift_skip: reference}
train: {max_steps: 9}
evaluate: {steps: 3, schedule: reference, window: [64, 64], samples: 2}
"""


def test_files_with_old_names_mean_the_same(tmp_path):
    """One table of renamed keys serves files, overrides and configurations stored with results."""
    (tmp_path / "old.yaml").write_text(OLD, encoding="utf-8")
    config = load_config(tmp_path / "old.yaml", ["train.batch_size=5", "evaluate.stride=[32, 32]"])
    assert (config.autoencoder_training.max_steps, config.training.max_steps) == (7, 9)
    assert (config.network.width, config.training.batch_size) == (16, 5)
    assert (config.process.scale, config.process.kind) == (0.3, "constant_sde")
    assert (config.process.constant_sde.t_min, config.process.constant_sde.drift_skip) == (
        1e-3,
        "reference",
    )
    assert (config.sampler.steps, config.sampler.schedule) == (3, "reference")
    assert (config.sampler.window, config.sampler.stride) == ((64, 64), (32, 32))
    assert config.evaluate.samples == 2
    save_config(config, tmp_path / "new.yaml")
    assert load_config(tmp_path / "new.yaml") == config
    assert not {"unet", "train", "diffusion"} & yaml.safe_load(config_text(config)).keys()


def test_no_old_name_is_a_name_of_today():
    """Otherwise files of today would be read as old ones."""
    known = yaml.safe_load(config_text(load_config("demo")))
    for old, new in RENAMED.items():
        for key, is_there in ((old, False), (new, True)):
            place = known
            for word in key.split("."):
                place = place.get(word, {}) if isinstance(place, dict) else {}
            assert (place != {}) == is_there, key


def test_a_key_under_both_names_is_refused(tmp_path):
    (tmp_path / "x.yaml").write_text(
        "name: x\ntrain: {max_steps: 1}\ntraining: {max_steps: 2}\n", encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"training.max_steps is given twice, once as"):
        load_config(tmp_path / "x.yaml")


def test_forward_differentiation_does_not_know_channels_last():
    with pytest.raises(ConfigError, match=r"training.channels_last must be false .* mean_flow"):
        load_config("smoke", ["process.kind=mean_flow", "training.channels_last=true"])


def test_the_process_decides_heads_and_times_of_the_network():
    config = load_config("smoke", ["process.kind=mean_flow"])
    assert (config.network.heads, config.network.times) == (("average_velocity",), 2)
    assert load_config("smoke").network.heads == ("drift", "noise")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["process.kind=diffusion"], "process.kind must be one of constant_sde"),
        (["process.space=map"], "network.latent_channels is 3: a radio map has 1"),
        (["process.residual_to=buildings"], "must be a path gain"),
        (["process.kind=flow_matching", "sampler.schedule=reference"], "constant SDE"),
        (["data.condition=[buildings, house]"], "expected channels among buildings"),
        (["data.condition=[buildings, transmitter, cars]"], "condition lists cars"),
        (["data.condition=[transmitter, buildings]"], "transmitter in the second channel"),
        (
            [
                "data.measurements=[1, 9]",
                "data.withheld_share=0.5",
                "data.condition=[buildings, transmitter, measurements]",
            ],
            "needs measured",
        ),
    ],
)
def test_processes_and_conditions_that_do_not_fit(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_config("smoke", ["data.simulate=null", *overrides])


def test_misspelt_notebook_parameters_are_refused():
    own = 'config = "smoke"  # name\noverrides: list = []\nrun_dir = ""'
    check_parameters(["", own, "import os", "x = 1"])
    check_parameters(["", own, '# Parameters\nconfig = "demo"\n', "x = 1"])
    with pytest.raises(ConfigError, match=r"'cofnig'.*did you mean 'config'"):
        check_parameters(["", own, '# Parameters\ncofnig = "smoke"\n'])


def test_words_that_yaml_takes_for_booleans():
    config = load_config("smoke", "network.fourier_filter=off training.precision=no")
    assert (config.network.fourier_filter, config.training.precision) == ("off", "no")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.clip_norm=0", "clip_norm must be above 0"),
        ("sampler.stride=[4,4]", "needs a window"),
        ("sampler.window=[0,4]", "stride <= window"),
        ("sampler.schedule=reference sampler.steps=10000", "between 1 and 1 / t_min"),
    ],
)
def test_values_without_meaning(override, message):
    with pytest.raises(ConfigError, match=message):
        load_config("smoke", override)


@pytest.mark.parametrize("name", [p.stem for p in (ROOT / "configs/data").glob("*.yaml")])
def test_every_described_dataset_loads(name):
    assert load_simulate_config(name).maps >= 1


def test_unknown_key_of_a_dataset_is_named(tmp_path):
    (tmp_path / "typo.yaml").write_text("map: 3\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="unknown key 'map'; did you mean 'maps'"):
        load_simulate_config(tmp_path / "typo.yaml")


def test_demo_trains_on_the_described_dataset():
    demo = load_config("demo")
    assert demo.data.simulate == load_simulate_config("sim-demo")
    full = load_simulate_config("sim-full")
    assert full.maps >= 500
    assert full.transmitters >= 20
    assert full.size == 256
    assert set(full.variants) >= {"DPM", "IRT2", "IRT4", "carsDPM"}
