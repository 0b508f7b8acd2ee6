"""Configuration: every shipped file, exact errors, types by field."""

import dataclasses

import pytest
import yaml

from radiodiff.config import (
    AutoencoderLossConfig,
    Config,
    ConfigError,
    DataConfig,
    EdgesConfig,
    build_config,
    check_parameters,
    config_text,
    load_config,
    load_simulate_config,
    save_config,
)

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
    assert 4 * ddp.train.batch_size * ddp.train.accumulation == 528
    shared = dataclasses.replace(ddp, name="full", train=config.training)
    assert shared == config
    assert dataclasses.replace(ddp.train, accumulation=8) == config.training


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
    assert DataConfig(**changes).condition_channels == channels


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
        ("training.max_stps=3", "unknown key 'train.max_stps'; did you mean 'train.max_steps'"),
        ("trian.max_steps=3", "did you mean 'train.max_steps'"),
        ("training.max_steps=many", "train.max_steps must be int, got 'many'"),
        ("training.max_steps=1.5", "train.max_steps must be int, got 1.5"),
        ("training.max_steps=true", "train.max_steps must be int, got True"),
        ("training.learning_rate=fast", "train.learning_rate must be float"),
        ("training.precision=fp8", "train.precision must be one of no, fp16, bf16"),
        ("training.max_steps=0", "max_steps must be at least 1, got 0"),
        ("train=3", "train must be a section of keys, got 3"),
        ("network.filter_size=[4]", "unet.filter_size must have 2 entries"),
        ("network.filter_size=4", "unet.filter_size must be a list"),
        ("train.max_steps", "an override must read key=value"),
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
    (tmp_path / "x.yaml").write_text("name: x\ntrain: {max_stps: 3}\n")
    with pytest.raises(ConfigError, match=r"did you mean 'train.max_steps'"):
        load_config(tmp_path / "x.yaml")


def test_missing_name_and_missing_file_are_refused(tmp_path):
    (tmp_path / "x.yaml").write_text("seed: 1\n")
    with pytest.raises(ConfigError, match="name"):
        load_config(tmp_path / "x.yaml")
    with pytest.raises(FileNotFoundError, match="configs/ holds ablation, demo, full, full_ddp"):
        load_config("smok")
    (tmp_path / "y.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(tmp_path / "y.yaml")


def test_perceptual_weight_needs_a_file():
    with pytest.raises(ConfigError, match="perceptual_weights_file"):
        AutoencoderLossConfig(perceptual_weight=1.0)


def test_every_field_is_explained():
    """A docstring follows each field, so that the file is the manual."""
    import ast
    import inspect

    import radiodiff.config as module

    tree = ast.parse(inspect.getsource(module))
    for node in tree.body:
        if not (
            isinstance(node, ast.ClassDef) and dataclasses.is_dataclass(getattr(module, node.name))
        ):
            continue
        fields = [k for k, item in enumerate(node.body) if isinstance(item, ast.AnnAssign)]
        for k in fields:
            following = node.body[k + 1]
            assert isinstance(following, ast.Expr), f"{node.name}.{node.body[k].target.id}"
    assert dataclasses.is_dataclass(Config)


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
    (tmp_path / "typo.yaml").write_text("map: 3\n")
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
