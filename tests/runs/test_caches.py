"""What a run computes once: kept latents train the same network, and are never stale."""

import dataclasses
import logging
import pickle
import shutil
from collections import namedtuple

import numpy as np
import pytest
import torch

from radiodiff.data import (
    EightSymmetries,
    GrayBatches,
    RadioMapSeer,
    WithLatents,
    pack_dataset,
    to_samples,
)
from radiodiff.data import latent_cache as module
from radiodiff.files import read_json_lines
from radiodiff.models import AutoencoderKL
from radiodiff.runs import caches
from radiodiff.runs.caches import fill_channels, with_latents
from radiodiff.runs.train import train_run
from radiodiff.workers import run_jobs

from ..conftest import with_data


def changed(config, *, cached=True, **training):
    process = dataclasses.replace(config.process, cache_latents=cached)
    training = dataclasses.replace(config.training, **training)
    return dataclasses.replace(config, process=process, training=training)


@pytest.fixture
def stage(tiny, training, tmp_path):
    """The start of a second stage: a folder with weights, and what `with_latents` takes."""
    torch.manual_seed(0)
    autoencoder = AutoencoderKL(tiny.autoencoder).eval()
    run = tmp_path / "run"
    run.mkdir()
    (run / "autoencoder.safetensors").write_bytes(b"weights")
    return tiny, run, training, training, autoencoder


@pytest.mark.parametrize(("augment", "batch_size"), [(False, 2), (True, 12)])
def test_training_is_the_same_with_and_without(tiny, tmp_path, augment, batch_size):
    """All losses agree to 1e-6; the weights stand still, so that no difference can grow."""
    config = with_data(tiny, augment=augment)
    still = {"learning_rate": 0.0, "min_learning_rate": 0.0, "sample_before": False}
    still |= {"batch_size": batch_size, "sample_every": 0}
    losses = []
    for cached in (True, False):
        run = train_run(changed(config, cached=cached, **still), tmp_path / f"run{cached}")
        assert (run / "latent_cache").exists() == cached
        rows = read_json_lines(run / "diffusion/log.jsonl")
        losses.append([row["diffusion"] for row in rows])
    assert len(losses[0]) == 4
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-6)


def test_each_symmetry_is_encoded_as_it_is(stage):
    config, run, maps, _, autoencoder = stage
    items = EightSymmetries(maps)
    kept = with_latents(changed(config, max_steps=24), run, maps, items, autoencoder)
    assert isinstance(kept, WithLatents)
    assert len(kept) == 48
    for index in (0, 5, 47):
        with torch.no_grad():
            posterior = autoencoder.encode(items[index].radio_map[None])
        expected = torch.stack([posterior.mean[0], posterior.log_variance[0]])
        torch.testing.assert_close(kept[index].latent, expected, rtol=1e-5, atol=1e-6)
    turned = torch.rot90(kept[0].latent, 1, (-2, -1))
    assert not torch.allclose(kept[1].latent, turned, atol=1e-3)


def test_a_killed_build_goes_on_with_the_blocks_that_are_missing(stage, monkeypatch):
    monkeypatch.setattr(module, "BLOCK", 2)
    write, encode = module.write_atomically, stage[-1].encode
    written, encoded = [], []

    def killed(path, content):
        if len(written) == 1:
            raise KeyboardInterrupt
        written.append(path)
        write(path, content)

    monkeypatch.setattr(module, "write_atomically", killed)
    with pytest.raises(KeyboardInterrupt):
        with_latents(*stage)
    monkeypatch.setattr(module, "write_atomically", write)
    stamp = written[0].stat().st_mtime_ns
    monkeypatch.setattr(stage[-1], "encode", lambda x: encoded.append(len(x)) or encode(x))
    kept = with_latents(*stage)
    assert encoded == [2, 2]  # of three blocks
    assert written[0].stat().st_mtime_ns == stamp
    (written[0].parent / "block-00001.npy").write_bytes(b"cut short")
    again = with_latents(*stage)
    assert encoded == [2, 2, 2]
    assert all(torch.equal(kept[k].latent, again[k].latent) for k in range(6))


def test_other_weights_or_maps_are_encoded_again(stage, monkeypatch, caplog):
    config, run, maps, _, autoencoder = stage
    caplog.set_level(logging.INFO, "radiodiff")
    first = with_latents(*stage)[0].latent
    block = run / "latent_cache/block-00000.npy"
    stamp = block.stat().st_ino, block.stat().st_mtime_ns
    assert torch.equal(with_latents(*stage)[0].latent, first)
    assert (block.stat().st_ino, block.stat().st_mtime_ns) == stamp
    assert "made again" not in caplog.text
    with torch.no_grad():
        autoencoder.quant_conv.bias += 1
    (run / "autoencoder.safetensors").write_bytes(b"others")
    assert not torch.allclose(with_latents(*stage)[0].latent, first)
    scaled = with_data(config, threshold=0.2)
    dimmed = RadioMapSeer(maps.root, "train", scaled.data)
    with_latents(scaled, run, dimmed, dimmed, autoencoder)
    monkeypatch.setattr(caches, "_VERSION", 2)
    with_latents(scaled, run, dimmed, dimmed, autoencoder)
    (next(maps.gain_dir.iterdir())).touch()
    with_latents(scaled, run, dimmed, dimmed, autoencoder)
    assert caplog.text.count("of other weights or maps: made again") == 4


def test_training_does_without_where_it_saves_nothing_or_has_no_room(stage, monkeypatch, caplog):
    config, run, *rest = stage
    caplog.set_level(logging.INFO, "radiodiff")
    few = changed(config, max_steps=2)  # four maps of six
    assert with_latents(few, run, *rest) is rest[1]
    assert "6 maps, of which training draws 4" in caplog.messages[-1]
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1000))
    assert with_latents(*stage) is rest[1]
    assert "they take 0.0 GB" in caplog.messages[-1]
    monkeypatch.undo()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_atomically", full)
    caplog.set_level(logging.INFO, "radiodiff")
    assert with_latents(*stage) is rest[1]
    assert "not cached: [Errno 28]" in caplog.text


def test_batches_of_bytes_carry_the_same_latents(stage):
    config, run, maps, _, autoencoder = stage
    pack_dataset(maps.root)
    maps = RadioMapSeer(maps.root, "train")
    config = changed(config, max_steps=24)
    kept = with_latents(config, run, maps, EightSymmetries(maps), autoencoder)
    assert GrayBatches.serve(kept)
    batch = to_samples(GrayBatches(kept)[[3, 17, 40]])
    for row, index in enumerate((3, 17, 40)):
        assert torch.equal(batch.latent[row], kept[index].latent)
        assert torch.equal(batch.radio_map[row], kept[index].radio_map)


def test_slow_channels_are_made_ahead(dataset_root, monkeypatch):
    def pickled(function, jobs, workers):
        """As other processes get them."""
        assert workers == 2
        return run_jobs(*pickle.loads(pickle.dumps((function, jobs))), 1)

    monkeypatch.setattr(caches, "_CHUNK", 2)
    monkeypatch.setattr(caches, "run_jobs", pickled)
    channels = ("buildings", "transmitter", "line_of_sight", "occlusion")
    dataset = RadioMapSeer(dataset_root, "train", channels=channels)
    lazy = dataset[1].condition
    assert dataset.without_channels() == [0, 2, 3, 4, 5]
    fill_channels(dataset, workers=2)
    assert dataset.without_channels() == []
    folder = dataset_root / "features/occlusion/buildings"
    stamps = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert len(stamps) == 6
    fill_channels(dataset)
    assert torch.equal(dataset[1].condition, lazy)
    fresh = RadioMapSeer(dataset_root, "train", channels=channels)
    assert [len(sample.condition) for sample in (fresh[k] for k in range(6))] == [4] * 6
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stamps
