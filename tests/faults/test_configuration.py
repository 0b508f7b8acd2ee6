"""Configurations that say what they mean, or are refused in one line when they are read."""

import dataclasses
import json
import time

import pytest

from radiodiff.config import build_config, load_config, load_simulate_config
from radiodiff.models import AutoencoderConfig, ConvEncoderConfig, SwinConfig, UNetConfig
from radiodiff.reference import read_reference_config
from radiodiff.settings import ConfigError, check_parameters, parse_yaml, read_yaml, resolve

from ..conftest import ROOT

HEAD = "name: x\nautoencoder_loss: {perceptual_weight: 0}\n"
REFERENCE = ROOT / "tests/reference/radio_train.yaml"


def one_line(error):
    message = str(error.value)
    assert "\n" not in message
    assert len(message) <= 500, message
    return message


def read(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    return load_config(tmp_path / "x.yaml")


def leaves(section, prefix=""):
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value


# A key twice


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (HEAD + "seed: 1\ntraining: {max_steps: 1}\nseed: 2\n", (3, 5)),
        (HEAD + "training: {max_steps: 7}\ntraining: {learning_rate: 1.0e-3}\n", (3, 4)),
        (HEAD + "training:\n  max_steps: 7\n  max_steps: 8\n", (4, 5)),
        (HEAD + "data: {edges: {flip: true,\n  flip: false}}\n", (3, 4)),
        (HEAD + "'seed': 1\n\"seed\": 1\n", (3, 4)),
    ],
)
def test_a_key_that_is_written_twice_is_named_with_both_lines(tmp_path, text, lines):
    with pytest.raises(ConfigError, match="twice") as error:
        read(tmp_path, text)
    assert f"in line {lines[0]} and in line {lines[1]}" in one_line(error)
    assert "x.yaml" in one_line(error)


def test_every_reader_of_yaml_refuses_a_key_twice(tmp_path):
    path = tmp_path / "twice.yaml"
    path.write_text("maps: 3\nmaps: 4\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="'maps' twice"):
        load_simulate_config(path)
    path.write_text(REFERENCE.read_text(encoding="utf-8") + "\ndata: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="'data' twice"):
        read_reference_config(path, data_root="data")


def test_a_key_of_an_alias_may_be_changed(tmp_path):
    text = "training: &t {max_steps: 3}\nautoencoder_training: {<<: *t, batch_size: 2}\n"
    config = read(tmp_path, HEAD + text)
    assert config.autoencoder_training.max_steps == 3
    assert config.autoencoder_training.batch_size == 2
    assert config.training.batch_size == 16


# Limits of the reader


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "nested deeper"),
        ("a: {" * 5000, "nested deeper"),
        ("- " * 5000, "nested deeper"),
        ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *c]", "names *c in line 3, but no & before it"),
        ("? [a]\n: 1\n", "text as keys|key must be text"),
        ("~: 1\n", "key must be text"),
        ("a: !!python/object/apply:os.system [ls]\n", "tag"),
        ("a: !!timestamp 2024-05-01\n", "is not read"),
        ("a: 1\n---\nb: 2\n", "several documents"),
        ("a: 'x\n", "not valid YAML in line"),
        ("a: \x00\n", "not valid YAML"),
        ("[1, 2]", "must be a section of keys"),
        ("false", "must be a section of keys, got False"),
        ("a" * 300_000, "bytes"),
        ("k" * 1000 + ": 1\n", "unknown key"),
        ("training: " + "9" * 100_000, "must be a section"),
        ("name: " + "x" * 100_000, "1 to 4096 characters"),
    ],
)
def test_yaml_without_end_or_sense_is_refused_quickly(tmp_path, text, message):
    began = time.monotonic()
    with pytest.raises(ValueError, match=message.replace("*", r"\*")) as error:
        read(tmp_path, text)
    one_line(error)
    assert time.monotonic() - began < 5


def test_a_billion_laughs_are_not_counted_out(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12)]
    with pytest.raises(ConfigError, match="more than 20,000 values") as error:
        read(tmp_path, "\n".join(lines))
    one_line(error)


def test_a_mapping_nested_without_end_is_refused():
    values = {}
    for _ in range(5000):
        values = {"training": values or 1}
    with pytest.raises(ConfigError, match="nested deeper"):
        build_config(values)


# Text is text, a number is a number


@pytest.mark.parametrize(
    "text", ["2024-05-01", "007", "0o17", "0x1F", "1_000", "1e3", "3.0", "no", "on", "12:30:15"]
)
def test_a_text_field_takes_what_looks_like_something_else(tmp_path, text):
    assert read(tmp_path, HEAD.replace("name: x", f"name: {text}")).name == text
    assert load_config("smoke", [f"name={text}"]).name == text
    assert load_config("smoke", f"name={text} data.root={text}").data.root == text
    path = tmp_path / "reference.yaml"
    path.write_text(REFERENCE.read_text(encoding="utf-8"), encoding="utf-8")
    overrides = [f"model.first_stage.ckpt_path={text}"]
    run = read_reference_config(path, data_root="data", overrides=overrides)
    assert run.first_stage_weights == text


@pytest.mark.parametrize("text", ["010", "0o10", "0x10", "1_000", "1:30", "1e3", "'7'", '"7"', "٣"])
def test_a_number_field_guesses_nothing(tmp_path, text):
    with pytest.raises(ConfigError, match=r"training\.max_steps must be int") as error:
        read(tmp_path, HEAD + f"training: {{max_steps: {text}}}\n")
    one_line(error)
    with pytest.raises(ConfigError, match=r"training\.max_steps must be int") as error:
        load_config("smoke", [f"training.max_steps={text}"])
    one_line(error)
    if text not in ("1e3", "'7'", '"7"'):
        with pytest.raises(ConfigError, match=r"training\.learning_rate must be float"):
            load_config("smoke", [f"training.learning_rate={text}"])


def test_numbers_and_truth_values_are_read():
    overrides = "training.learning_rate=1e-2 training.decay_power=2 seed=+3 data.augment=yes"
    config = load_config("smoke", overrides)
    assert config.training.learning_rate == 1e-2
    assert (config.training.decay_power, config.seed, config.data.augment) == (2.0, 3, True)
    assert resolve(parse_yaml("{a: 1, b: [2.5, no, x, 010], c: null}", "x")) == {
        "a": 1,
        "b": [2.5, False, "x", "010"],
        "c": None,
    }


def test_what_a_file_of_json_holds_is_read_as_before(tmp_path):
    values = resolve(read_yaml(ROOT / "configs/smoke.yaml"))
    assert build_config(json.loads(json.dumps(values))) == load_config("smoke")


# Overrides


@pytest.mark.parametrize(
    ("overrides", "root"),
    [
        ('data.root="/drive/My Drive/maps" seed=3', "/drive/My Drive/maps"),
        ("seed=3 data.root='/a b'", "/a b"),
        ("data.root=/a=b?c=d seed=3", "/a=b?c=d"),
        ("data.root=/it's/here seed=3", "/it's/here"),
        (["data.root=/drive/My Drive/maps", "seed=3"], "/drive/My Drive/maps"),
        (["data.root='/a b'", "seed=3"], "/a b"),
        (["data.root=/a: b #c", "seed=3"], "/a: b #c"),
        (["data.root=[x] *y &z", "seed=3"], "[x] *y &z"),
        (["data.root=C:\\maps", "seed=3"], "C:\\maps"),
    ],
)
def test_values_of_overrides_may_hold_spaces_quotes_and_equals(overrides, root):
    config = load_config("smoke", overrides)
    assert (config.data.root, config.seed) == (root, 3)


def test_lists_and_sections_in_one_text():
    config = load_config(
        "smoke",
        "network.multipliers=[1, 1, 1, 1] data.simulate={maps: 3, size: 32} data.simulate.seed=4",
    )
    assert config.network.multipliers == (1, 1, 1, 1)
    assert (config.data.simulate.maps, config.data.simulate.seed) == (3, 4)


@pytest.mark.parametrize(
    "overrides",
    [
        *("data.root='/a b", "network.multipliers=[1, 2", "seed", ["seed"], [3], {"seed": 3}),
        *(None, 3, ["=3"], [" =3"], ["..=3"], ["a" * 9999 + "=3"], ["data.root='x"]),
        ["training={"],
    ],
)
def test_broken_overrides_are_refused(overrides):
    with pytest.raises(ConfigError) as error:
        load_config("smoke", overrides)
    one_line(error)


@pytest.mark.parametrize(
    ("own", "given", "message"),
    [
        ('run_dir = ""', "run_dir = 2024", r"must be text, got 2024.*-r run_dir"),
        ('overrides = ""', "overrides = True", "must be text"),
        ("steps = 5", 'steps = "5"', "must be int"),
        ("steps = 5", "steps = 5.0", "must be int"),
        ("level_db = -100.0", 'level_db = float("nan")', "must be float"),
    ],
)
def test_papermill_parameters_of_another_type_are_refused(own, given, message):
    with pytest.raises(ConfigError, match=message):
        check_parameters([own, f"# Parameters\n{given}\n"])


@pytest.mark.parametrize(
    ("own", "given"),
    [
        ('overrides = ""', 'overrides = ["seed=1"]'),
        ("level_db = -100.0", "level_db = -90"),
        ("steps = 5", "steps = 6"),
        ('run_dir = ""', 'run_dir = "007"'),
        ("steps = 2 + 3", "steps = 6"),
    ],
)
def test_papermill_parameters_of_their_type_pass(own, given):
    check_parameters([own, f"# Parameters\n{given}\n"])


# Values without meaning


@pytest.mark.parametrize("key", [k for k, v in leaves(load_config("smoke")) if type(v) is float])
@pytest.mark.parametrize("value", [".nan", "nan", ".inf", "-.inf", "inf", "1e999", "true", "x"])
def test_no_field_takes_a_number_that_is_not_finite(key, value):
    with pytest.raises(ConfigError, match=key.replace(".", r"\.")) as error:
        load_config("smoke", [f"{key}={value}"])
    one_line(error)


@pytest.mark.parametrize("key", [k for k, v in leaves(load_config("smoke")) if type(v) is int])
@pytest.mark.parametrize("value", ["-1", "-9223372036854775808", "18446744073709551616", "1.5"])
def test_no_field_takes_a_negative_or_endless_whole_number(key, value):
    with pytest.raises(ConfigError, match=key.split(".")[-1]) as error:
        load_config("smoke", [f"{key}={value}"])
    one_line(error)


SIZES = [
    *("autoencoder.width", "autoencoder.latent_channels", "autoencoder.in_channels"),
    *("network.width", "network.latent_channels", "network.conv.in_channels"),
    *("network.swin.window", "network.swin.width", "network.swin.mlp_ratio"),
    *("data.simulate.size", "data.simulate.maps", "data.simulate.cell_size_m"),
    *("training.batch_size", "training.max_steps", "training.ema_every", "training.log_every"),
    *("training.checkpoint_every", "training.keep_checkpoints", "training.accumulation"),
    *("training.clip_norm", "process.scale", "process.scale_maps", "sampler.steps"),
    *("sampler.start", "evaluate.samples", "evaluate.max_maps", "evaluate.bootstrap"),
    *("network.fourier_scale", "process.constant_sde.t_min", "process.mean_flow.time_law.std"),
]


@pytest.mark.parametrize("key", SIZES)
def test_sizes_of_zero_are_refused(key):
    with pytest.raises(ConfigError, match=key.split(".")[-1]) as error:
        load_config("smoke", [f"{key}=0"])
    one_line(error)


@pytest.mark.parametrize(
    "override",
    [
        *("training.ema_decay=1.5", "training.ema_decay=-0.1", "training.weight_decay=-1"),
        *("network.dropout=1", "autoencoder.dropout=-0.5", "process.scale=-1"),
        *("autoencoder_loss.kl_weight=-1", "process.mean_flow.weight_power=-1"),
        *("network.multipliers=[1, 0, 2, 2]", "network.multipliers=[]", "network.heads=[]"),
        *("network.multipliers=[1, -2, 2, 2]", "autoencoder.multipliers=[1, 0, 1]"),
        *("network.conv.widths=[16, 16, 0, 16]", "network.conv.widths=[16, 16, -8, 16]"),
        *("network.condition_windows=[[0, 2], [1, 1], [1, 1], [1, 1]]", "data.workers=100000"),
        *("network.feature_windows=[[2, 2], [1, -1], [1, 1], [1, 1]]", "network.filter_size=[0,1]"),
        *("network.swin.heads=[0, 8, 16, 32]", "network.swin.depths=[2, -2, 18, 2]"),
        *("data.measurements=[0, 3]", "data.simulate.variants=[]", "data.edges.crop_size=[0, 8]"),
        *("sampler.window=[0, 32]", "sampler.window=[32, 32] sampler.stride=[-1, 4]"),
        *("sampler.steps=2000000000", "training.batch_size=4294967296", "data.simulate.size=99999"),
        "autoencoder.width=1099511627776",
    ],
)
def test_values_that_no_run_can_mean_are_refused(override):
    with pytest.raises(ConfigError) as error:
        load_config("smoke", override)
    one_line(error)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("data.simulate.size=30", r"data\.simulate\.size must be a multiple of 4 and at least 32"),
        ("data.simulate.size=28", "at least 32"),
        ("sampler.window=[34, 32]", r"sampler\.window must be a multiple of 4"),
        ("network.latent_channels=4", r"network\.latent_channels must be autoencoder\.latent"),
        (
            "process.space=map network.latent_channels=1 data.simulate.size=18",
            "multiple of 4 and at least 8",
        ),
        (
            "data.simulate=null data.source=edges data.edges.crop_size=[64, 65]",
            r"data\.edges\.crop_size must be a multiple",
        ),
    ],
)
def test_sizes_that_the_networks_cannot_take_are_refused(overrides, message):
    with pytest.raises(ConfigError, match=message) as error:
        load_config("smoke", overrides)
    one_line(error)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        (UNetConfig, {"width": float("nan")}),
        (UNetConfig, {"dropout": float("inf")}),
        (AutoencoderConfig, {"multipliers": (1, "2")}),
        (ConvEncoderConfig, {"widths": (16.0, float("nan"))}),
        (SwinConfig, {"depths": (), "heads": ()}),
    ],
)
def test_a_section_made_in_python_is_checked_too(kind, changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        kind(**changes)


# Names


NAMES = ["../../x", "..", ".", "/x", "a/b", "a\\b", "", " ", " a", "a ", "a\nb", "a\0b", "\x7f"]


@pytest.mark.parametrize("name", [*NAMES, "x" * 201, "ä" * 101, "a\u2028b", "\ud800"])
def test_the_name_of_a_run_is_the_name_of_one_folder(tmp_path, name):
    with pytest.raises(ConfigError, match="name") as error:
        build_config({"name": name, "autoencoder_loss": {"perceptual_weight": 0}})
    one_line(error)
    if name.isprintable():
        with pytest.raises(ConfigError, match="name"):
            read(tmp_path, HEAD.replace("name: x", f"name: {json.dumps(name)}"))


@pytest.mark.parametrize("name", ["münchen", "run-1.b_c", "...", "~", "ä" * 100, "a b", "007"])
def test_other_names_are_taken(name):
    values = {"name": name, "autoencoder_loss": {"perceptual_weight": 0}}
    assert build_config(values).name == name


@pytest.mark.parametrize("key", ["data.root", "data.cache", "data.packed", "encoder_weights_file"])
@pytest.mark.parametrize("value", ["", "a\nb", "a\0b", "a\x1bb"])
def test_paths_are_one_line_of_text(key, value):
    values = resolve(read_yaml(ROOT / "configs/smoke.yaml"))
    section, _, last = key.rpartition(".")
    (values[section] if section else values)[last] = value
    with pytest.raises(ConfigError, match=last) as error:
        build_config(values)
    one_line(error)
