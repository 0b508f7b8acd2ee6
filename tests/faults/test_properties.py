"""Whatever a file or an override holds, readers return a value or raise one of their errors."""

import io
import json
import math
import string
import struct
import zlib
from unicodedata import category

import pytest
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from radiodiff.checkpoint import read_tensors
from radiodiff.cli.options import MAX_MESSAGE, report
from radiodiff.config import Config, build_config, load_config
from radiodiff.data import DatasetError, PackedImages
from radiodiff.data.images import decode_png, read_gray
from radiodiff.data.splits import read_manifest
from radiodiff.files import FileError, read_json, shorten
from radiodiff.reference import read_reference_config, read_weights
from radiodiff.settings import ConfigError, apply_override, config_text
from radiodiff.simulate.outlines import read_antennas, read_outlines

quick = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes; the examples are small
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
numbers = st.integers() | st.floats() | st.sampled_from([10**400, 2**63, -1, 0, 1])
plain = st.none() | st.booleans() | numbers | st.text(max_size=40)
contents = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
KEYS = st.sampled_from(["seed", "network.width", "training.learning_rate", "data.root", "x"])


def in_one_line(error, length=500):
    """What the rule for messages says."""
    text = str(error)
    assert text
    assert len(text) <= length, text
    assert not any(category(letter) in {"Cc", "Zl", "Zp"} for letter in text), text


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass"))
    return path


# JSON


@quick
@given(contents)
def test_json_is_read_as_it_is_or_refused(tmp_path, content):
    path = write(tmp_path, "a.json", json.dumps(content))
    try:
        assert read_json(path, type(content)) == content
    except FileError as error:
        in_one_line(error)


@quick
@given(contents)
def test_any_json_as_manifest_outlines_antennas(tmp_path, content):
    path = write(tmp_path, "dataset.json", json.dumps(content))
    for reader, argument in (
        (read_manifest, tmp_path),
        (read_outlines, path),
        (read_antennas, path),
    ):
        try:
            reader(argument)
        except (ValueError, DatasetError) as error:
            in_one_line(error)


@quick
@given(st.lists(st.lists(st.lists(numbers, min_size=2, max_size=2), min_size=3, max_size=6)))
def test_rings_of_any_numbers(tmp_path, rings):
    path = write(tmp_path, "a.json", json.dumps(rings))
    try:
        for outline in read_outlines(path):
            assert all(map(math.isfinite, outline.bounds))
    except ValueError as error:
        in_one_line(error)


@quick
@given(st.dictionaries(st.sampled_from(["format", "shape", "bytes", "sha256", "source"]), contents))
def test_any_index_of_a_pack(tmp_path, index):
    folder = tmp_path / "gain/DPM"
    folder.mkdir(parents=True, exist_ok=True)
    (tmp_path / "packed/gain").mkdir(parents=True, exist_ok=True)
    write(tmp_path, "packed/gain/DPM.npy", b"")
    write(tmp_path, "packed/gain/DPM.json", json.dumps(index | {"names": ["0_0.png"]}))
    try:
        assert PackedImages.open(tmp_path, "gain/DPM") is None
    except DatasetError as error:
        in_one_line(error)


# YAML and overrides


def is_read_or_refused_in_one_line(folder, text):
    """As our own configuration, and as the public code's."""
    path = write(folder, "a.yaml", text)
    for reader in (load_config, lambda p: read_reference_config(p, data_root="data")):
        try:
            reader(path)
        except ValueError as error:
            in_one_line(error)


@quick
@given(contents)
def test_any_yaml_as_configuration(tmp_path, content):
    is_read_or_refused_in_one_line(tmp_path, yaml.safe_dump(content, allow_unicode=True))


@quick
@given(st.text(max_size=60))
def test_any_text_as_configuration(tmp_path, text):
    is_read_or_refused_in_one_line(tmp_path, text)


@quick
@given(st.text(max_size=80) | st.builds("{}={}".format, KEYS, st.text(max_size=300)))
def test_any_override(item):
    values = {}
    try:
        apply_override(values, item)
    except ConfigError as error:
        in_one_line(error)
    else:
        assert values


@quick
@given(KEYS, contents)
def test_override_of_any_value_gives_a_configuration_that_comes_back(key, value):
    try:
        config = load_config("smoke", [f"{key}={json.dumps(value)}"])
    except ValueError as error:
        in_one_line(error)
    else:
        assert build_config(yaml.safe_load(config_text(config))) == config


@quick
@given(st.dictionaries(st.sampled_from([*Config.__dataclass_fields__]), contents))
def test_any_sections(sections):
    try:
        config = build_config(sections)
    except ValueError as error:
        in_one_line(error)
    else:
        assert build_config(yaml.safe_load(config_text(config))) == config


# Pictures


def png(header, body):
    made = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b"")):
        made += struct.pack(">I", len(content)) + kind + content
        made += struct.pack(">I", zlib.crc32(kind + content))
    return made


sides = st.integers(0, 5) | st.sampled_from([10**5, 2**31 - 1, 2**32 - 1])


@quick
@given(sides, sides, *[st.sampled_from([0, 1, 2, 3, 4, 6, 8, 16])] * 2, st.binary(max_size=30))
def test_any_header_of_a_picture(tmp_path, width, height, bits, colour, body):
    data = png(struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0), body)
    path = write(tmp_path, "a.png", data)
    for reader in (lambda: read_gray(path), lambda: decode_png(data, None)):
        try:
            assert reader().shape == (height, width)
        except (DatasetError, ValueError, OSError, SyntaxError) as error:
            in_one_line(error)


@quick
@given(st.binary(max_size=80))
def test_any_bytes_as_a_picture(tmp_path, data):
    with pytest.raises(DatasetError) as error:
        read_gray(write(tmp_path, "a.png", data))
    in_one_line(error.value)


# Weights


@quick
@given(st.dictionaries(st.text(max_size=9), contents, max_size=3), st.integers(-9, 9))
def test_any_header_of_safetensors(tmp_path, header, lie):
    text = json.dumps(header).encode()
    data = struct.pack("<Q", max(0, len(text) + lie)) + text + bytes(16)
    try:
        read_tensors(write(tmp_path, "a.safetensors", data))
    except ValueError as error:
        in_one_line(error)


@quick
@given(contents | st.binary(max_size=40))
def test_any_values_in_a_torch_file(tmp_path, content):
    file = io.BytesIO()
    torch.save(content, file)
    for data in (file.getvalue(), content if isinstance(content, bytes) else b""):
        try:
            read_weights(write(tmp_path, "a.pt", data))
        except ValueError as error:
            in_one_line(error)


# Messages


@quick
@given(st.text(max_size=3000))
def test_every_error_is_printed_in_one_line(capsys, text):
    report(ValueError(text), status=2)
    printed = capsys.readouterr().err
    assert printed.endswith("\n")
    in_one_line(printed[:-1], MAX_MESSAGE + 80)


@quick
@given(st.recursive(st.text() | numbers, st.lists))
def test_what_came_is_shortened(value):
    text = shorten(value)
    assert len(text) <= 80 + len("... (1,000,000 characters)")
    assert not set(text) & set(string.whitespace) - {" "}
