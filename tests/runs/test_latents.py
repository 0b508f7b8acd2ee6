"""Latents that are encoded once: the same training, whatever happens to the file."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from radiodiff.data import GrayBatches, WithPosterior, pack_dataset, to_samples
from radiodiff.data.open import make_dataset
from radiodiff.models import AutoencoderKL
from radiodiff.runs import latents, train
from radiodiff.runs.train import train_run


def changed(config, *, keep=True, augment=False):
    """The configuration with latents kept or not, and enough steps for keeping to pay."""
    process = dataclasses.replace(config.process, keep_latents=keep)
    training = dataclasses.replace(config.training, max_steps=30 if augment else 6, log_every=1)
    data = dataclasses.replace(config.data, augment=augment)
    return dataclasses.replace(config, process=process, training=training, data=data)


def losses(run):
    rows = [json.loads(line) for line in (run / "diffusion/log.jsonl").read_text().splitlines()]
    return [row["diffusion"] for row in rows]


@pytest.fixture
def reads(monkeypatch):
    """Names of what training reads its maps from."""
    found = []
    plain = train.train

    def spy(task, maps, **keywords):
        found.append(type(maps).__name__)
        return plain(task, maps, **keywords)

    monkeypatch.setattr(train, "train", spy)
    return found


@pytest.mark.parametrize("augment", [False, True])
def test_training_is_the_same_with_them_and_without(tiny, tmp_path, augment, reads):
    """Same losses, given the same posterior noise; the maps under their symmetries too."""
    with_them = train_run(changed(tiny, augment=augment), tmp_path / "with")
    without = train_run(changed(tiny, keep=False, augment=augment), tmp_path / "without")
    assert reads[1] == "WithPosterior"
    assert "WithPosterior" not in reads[2:]
    assert losses(with_them) == pytest.approx(losses(without), rel=1e-6)
    assert not (with_them / "latents").exists()  # kept while it trains


@pytest.fixture
def encoded(tiny, tmp_path):
    """An encoded dataset with what encoded it."""
    config, run = changed(tiny), tmp_path / "run"
    run.mkdir()
    (run / "autoencoder.safetensors").write_bytes(b"weights")
    autoencoder = AutoencoderKL(config.autoencoder).eval()
    return config, run, make_dataset(config, "train"), autoencoder


def test_each_posterior_is_that_of_its_map(encoded):
    config, run, dataset, autoencoder = encoded
    kept = latents.with_latents(config, run, dataset, autoencoder)
    assert isinstance(kept, WithPosterior)
    for index in (0, len(dataset) - 1):
        with torch.no_grad():
            posterior = autoencoder.encode(dataset[index].radio_map[None])
        mean, log_variance = kept[index].posterior.chunk(2)
        torch.testing.assert_close(mean, posterior.mean[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(log_variance, posterior.log_variance[0], rtol=1e-5, atol=1e-6)


def test_it_goes_on_where_it_was_killed(encoded, monkeypatch):
    config, run, dataset, autoencoder = encoded
    monkeypatch.setattr(latents, "_BATCH", 1)
    monkeypatch.setattr(latents, "_NOTE_S", 0.0)
    calls = []

    def encode(radio_map):
        if len(calls) == 3:
            raise KeyboardInterrupt
        calls.append(radio_map)
        return AutoencoderKL.encode(autoencoder, radio_map)

    monkeypatch.setattr(autoencoder, "encode", encode)
    with pytest.raises(KeyboardInterrupt):
        latents.with_latents(config, run, dataset, autoencoder)
    assert not (run / "latents/posterior.npy").exists()
    calls.insert(0, None)  # no more interrupts
    kept = latents.with_latents(config, run, dataset, autoencoder)
    assert len(calls) - 1 == len(dataset)
    monkeypatch.undo()
    for index in range(len(dataset)):
        with torch.no_grad():
            posterior = autoencoder.encode(dataset[index].radio_map[None])
        torch.testing.assert_close(kept[index].posterior.chunk(2)[0], posterior.mean[0])


def test_other_weights_or_maps_are_encoded_anew(encoded):
    config, run, dataset, autoencoder = encoded
    kept = latents.with_latents(config, run, dataset, autoencoder)
    path = kept.path
    before = np.load(path)
    path.write_bytes(path.read_bytes())
    stamp = path.stat().st_mtime_ns
    latents.with_latents(config, run, dataset, autoencoder)
    assert path.stat().st_mtime_ns == stamp  # nothing to do
    other = AutoencoderKL(config.autoencoder).eval()
    (run / "autoencoder.safetensors").write_bytes(b"other weights")
    latents.with_latents(config, run, dataset, other)
    assert not np.array_equal(np.load(path), before)


def test_a_full_disk_costs_only_time(encoded, monkeypatch, caplog):
    config, run, dataset, autoencoder = encoded
    monkeypatch.setattr(latents.shutil, "disk_usage", lambda path: (10, 10, 0))
    assert latents.with_latents(config, run, dataset, autoencoder) is dataset
    assert not (run / "latents").exists()


def test_few_steps_do_not_pay(encoded):
    config, run, dataset, autoencoder = encoded
    training = dataclasses.replace(config.training, max_steps=1, batch_size=1)
    config = dataclasses.replace(config, training=training)
    assert latents.with_latents(config, run, dataset, autoencoder) is dataset


def test_packed_maps_have_them_too(encoded):
    config, run, dataset, autoencoder = encoded
    pack_dataset(dataset.root)
    dataset = make_dataset(config, "train")
    kept = latents.with_latents(config, run, dataset, autoencoder)
    assert GrayBatches.serve(kept)
    batch = to_samples(GrayBatches(kept)[[1, 0]])
    assert torch.equal(batch.posterior[0], kept[1].posterior)
    assert torch.equal(batch.radio_map[1], kept[0].radio_map)
