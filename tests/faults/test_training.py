"""Training is stopped, damaged, crowded out and fed nonsense; nothing is lost and all is named."""

import dataclasses
import errno
import json
import logging
import os
import pickle
import shutil
import signal
import stat

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from radiodiff import checkpoint as checkpoints
from radiodiff.checkpoint import (
    load_checkpoint,
    load_weights,
    newest_checkpoint,
    read_tensors,
    save_checkpoint,
    save_weights,
    sound_checkpoint,
)
from radiodiff.cli.main import main
from radiodiff.data import DatasetError, RadioMapSeer
from radiodiff.files import FileError
from radiodiff.models import AutoencoderKL
from radiodiff.predictors.space import read_scale, write_scale
from radiodiff.runs.guard import check_run
from radiodiff.runs.train import train_run
from radiodiff.settings import ConfigError
from radiodiff.signals import Stopped
from radiodiff.tasks import GenerativeTask
from radiodiff.trainer import NonFiniteLossError, train
from radiodiff.workers import only_writer

from ..conftest import TEST_MAPS, TRAIN_MAPS, tiny_config, write_radiomapseer


def fit(tiny, root, run_dir, **changes):
    torch.manual_seed(0)
    task = GenerativeTask(tiny, AutoencoderKL(tiny.autoencoder), 1.0)
    config = dataclasses.replace(tiny.training, **{"sample_every": 0} | changes)
    return load_file(train(task, RadioMapSeer(root, "train"), config, run_dir, seed=3))


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def dataset_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "RadioMapSeer"
    return write_radiomapseer(root, (*TRAIN_MAPS, *TEST_MAPS))


@pytest.fixture(scope="module")
def tiny(dataset_root):
    return tiny_config(dataset_root)


@pytest.fixture(scope="module")
def unbroken(tiny, dataset_root, tmp_path_factory):
    return fit(tiny, dataset_root, tmp_path_factory.mktemp("unbroken"))


def stop_at(monkeypatch, step, act):
    """Call ``act`` in the forward pass of a step."""
    forward = GenerativeTask.forward

    def forward_and_act(self, batch, name, at, generator):
        if at == step:
            act()
        return forward(self, batch, name, at, generator)

    monkeypatch.setattr(GenerativeTask, "forward", forward_and_act)


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {
    "deleted": lambda path: path.unlink(),
    "emptied": lambda path: path.write_bytes(b""),
    "halved": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "flipped": flip,
    "older": lambda path: path.write_bytes(
        (path.parents[1] / "step-00000002" / path.name).read_bytes()
    ),
}


@pytest.fixture(scope="module")
def stopped_run(tiny, dataset_root, tmp_path_factory):
    """A run of 4 steps with checkpoints at 2 and 3, of which the last steps are still to do."""
    run = tmp_path_factory.mktemp("stopped")
    with pytest.MonkeyPatch.context() as patch:
        stop_at(patch, 2, lambda: os.kill(os.getpid(), signal.SIGTERM))
        with pytest.raises(Stopped):
            fit(tiny, dataset_root, run)
    return run


def test_a_signal_costs_no_step(stopped_run):
    """SIGTERM in step 3: it is finished and saved, though a checkpoint is due at 4."""
    folder = stopped_run / "diffusion/checkpoints"
    assert sorted(p.name for p in folder.iterdir()) == ["step-00000002", "step-00000003"]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


FILES = ["model.safetensors", "optimizer.bin", "random_states_0.pkl", "custom_checkpoint_0.pkl"]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", [*FILES, "state.json"])
def test_damaged_checkpoint_is_named_and_the_older_one_used(stopped_run, copy, name, damage):
    if (name, damage) == ("random_states_0.pkl", "older"):
        pytest.skip("without dropout both are the same")
    folder = copy(stopped_run / "diffusion/checkpoints")
    path = folder / "step-00000003" / name
    DAMAGES[damage](path)
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logging.getLogger("radiodiff").addHandler(handler)
    try:
        assert sound_checkpoint(folder) == folder / "step-00000002"
    finally:
        logging.getLogger("radiodiff").removeHandler(handler)
    (told,) = records
    assert str(path) in told
    assert "set aside as step-00000003.damaged" in told
    assert newest_checkpoint(folder) == folder / "step-00000002"
    DAMAGES["emptied"](folder / "step-00000002" / name)
    with pytest.raises(FileError, match=f"{name}.*no older checkpoint is sound"):
        sound_checkpoint(folder)


@pytest.fixture
def copy(tmp_path):
    def copied(folder):
        return shutil.copytree(folder, tmp_path / folder.name)

    return copied


def test_the_run_goes_on_from_the_older_checkpoint(tiny, dataset_root, stopped_run, copy, unbroken):
    run = copy(stopped_run)
    flip(run / "diffusion/checkpoints/step-00000003/random_states_0.pkl")
    assert equal(fit(tiny, dataset_root, run), unbroken)
    names = sorted(p.name for p in (run / "diffusion/checkpoints").iterdir())
    assert names == ["step-00000002", "step-00000003.damaged", "step-00000004"]


def test_weights_that_are_not_whole_are_written_again(tiny, dataset_root, tmp_path, unbroken):
    fit(tiny, dataset_root, tmp_path)
    weights = tmp_path / "diffusion.safetensors"
    whole = weights.read_bytes()
    for damage in ("deleted", "emptied", "halved", "flipped"):
        DAMAGES[damage](weights)
        if damage != "deleted":
            with pytest.raises(ValueError, match=r"diffusion\.safetensors"):
                read_tensors(weights)
        assert equal(fit(tiny, dataset_root, tmp_path), unbroken)
        assert weights.read_bytes() == whole


def test_what_is_not_ours_stays(tmp_path):
    accelerator = Accelerator()
    network = accelerator.prepare(nn.Linear(2, 2))
    foreign = ["step-00000009.bak", "step-00000001-copy", "step-5", "steps", "step-notes.tmp"]
    for name in foreign:
        (tmp_path / name).mkdir()
    (tmp_path / "step-00000099").write_text("a file", encoding="utf-8")
    (tmp_path / "step-00000098.txt").write_text("notes", encoding="utf-8")
    for step in (1, 2, 3):
        save_checkpoint(accelerator, tmp_path, {"step": step}, keep=1)
    assert newest_checkpoint(tmp_path) == tmp_path / "step-00000003"
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {*foreign, "step-00000099", "step-00000098.txt", "step-00000003"}
    assert network is not None


def test_steps_beyond_eight_digits_are_newer(tmp_path):
    for name in ("step-99999999", "step-100000000"):
        (tmp_path / name).mkdir()
    assert newest_checkpoint(tmp_path).name == "step-100000000"


def test_files_are_for_whom_the_umask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        accelerator = Accelerator()
        network = accelerator.prepare(nn.Linear(2, 2))
        path = save_checkpoint(accelerator, tmp_path, {"step": 1}, keep=1)
        save_weights(network, tmp_path / "w.safetensors")
    finally:
        os.umask(before)
    files = [tmp_path / "w.safetensors", *path.iterdir()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o640}


def test_the_size_of_a_checkpoint_is_told_at_the_start(tiny, dataset_root, tmp_path, caplog):
    caplog.set_level(logging.INFO, "radiodiff")
    fit(tiny, dataset_root, tmp_path, keep_checkpoints=3, checkpoint_every=1)
    (said,) = [each.message for each in caplog.records if "checkpoints of about" in each.message]
    told = 1e6 * float(said.split()[3])
    folders = list((tmp_path / "diffusion/checkpoints").iterdir())
    assert said.endswith("the newest 3 stay")
    assert len(folders) == 3
    files = [path.stat().st_size for path in folders[0].iterdir()]
    assert told == pytest.approx(sum(files), rel=0.2)


def test_data_that_vanish_are_named_and_the_run_goes_on_later(
    tiny, tmp_path, monkeypatch, unbroken
):
    root = write_radiomapseer(tmp_path / "maps", (*TRAIN_MAPS, *TEST_MAPS))
    gain = root / "gain/DPM"
    with monkeypatch.context() as patch:
        stop_at(patch, 2, lambda: gain.rename(tmp_path / "gone"))
        with pytest.raises(DatasetError, match=r"gain/DPM") as raised:
            fit(tiny, root, tmp_path / "run")
    assert "\n" not in str(raised.value)
    (tmp_path / "gone").rename(gain)
    assert equal(unbroken, fit(tiny, root, tmp_path / "run"))


@pytest.mark.parametrize("words", [["train", "--config", "smoke"], ["evaluate", "--run-dir", "x"]])
@pytest.mark.parametrize("take", [lambda: torch.empty(2**50), lambda: np.empty(2**55)])
def test_out_of_memory_is_one_line(monkeypatch, capsys, words, take):
    """As the allocators of PyTorch and NumPy really say it."""
    module = "radiodiff.runs.train.train_run", "radiodiff.runs.evaluate.evaluate_run"
    monkeypatch.setattr(module[words[0] == "evaluate"], lambda *_, **__: take())
    assert main(words) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("radiodiff: error: out of memory")
    assert "batch size" in line


def test_other_failures_of_the_program_are_not_hidden(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("radiodiff.runs.train.train_run", fail)
    with pytest.raises(RuntimeError, match="a fault of ours"):
        main(["train", "--config", "smoke"])


def test_sigterm_ends_every_command_with_143(monkeypatch, capsys):
    monkeypatch.setattr(
        "radiodiff.runs.evaluate.evaluate_run",
        lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM),
    )
    assert main(["evaluate", "--run-dir", "x"]) == 143
    assert "stopped by SIGTERM" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_second_signal_stops_at_once(tiny, dataset_root, tmp_path, monkeypatch):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    stop_at(monkeypatch, 2, twice)
    with pytest.raises(Stopped) as stop:
        fit(tiny, dataset_root, tmp_path)
    assert stop.value.status == 130
    assert newest_checkpoint(tmp_path / "diffusion/checkpoints").name == "step-00000002"


def test_stopped_and_resumed_equals_unbroken(tiny, dataset_root, stopped_run, copy, unbroken):
    assert equal(fit(tiny, dataset_root, copy(stopped_run)), unbroken)


def test_weights_that_are_not_finite_are_never_saved(tiny, dataset_root, tmp_path, monkeypatch):
    step = torch.optim.AdamW.step

    def overflow(self, *arguments, **keywords):
        step(self, *arguments, **keywords)
        with torch.no_grad():
            self.param_groups[0]["params"][0].fill_(float("inf"))

    monkeypatch.setattr(torch.optim.AdamW, "step", overflow)
    with pytest.raises(NonFiniteLossError, match="is not finite after step 1"):
        fit(tiny, dataset_root, tmp_path, max_steps=1)
    assert newest_checkpoint(tmp_path / "diffusion/checkpoints") is None
    assert not (tmp_path / "diffusion.safetensors").exists()


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_update_that_is_not_finite_is_skipped_if_asked(
    tiny, dataset_root, tmp_path, monkeypatch, caplog, what
):
    forward = GenerativeTask.forward

    def broken(self, batch, name, at, generator):
        result = forward(self, batch, name, at, generator)
        if at != 1:
            return result
        if what == "loss":
            return result._replace(loss=result.loss * float("nan"))
        return result._replace(loss=result.loss + (0 * result.loss).sqrt())  # slope: infinite

    monkeypatch.setattr(GenerativeTask, "forward", broken)
    with caplog.at_level(logging.WARNING, "radiodiff"):
        weights = fit(tiny, dataset_root, tmp_path, on_nonfinite="skip")
    (told,) = [r.getMessage() for r in caplog.records if "not" not in r.name and "skip" in r.msg]
    assert "the update is skipped" in told
    assert all(value.isfinite().all() for value in weights.values())
    (kept,) = (tmp_path / "diffusion").glob("nonfinite-*.pt")
    content = read_tensors(kept)
    assert content["step"] == 1
    assert len(content["names"]) == len(content["radio_map"]) == tiny.training.batch_size
    assert str(kept) in told


def test_one_training_in_a_folder(tiny, tmp_path):
    with only_writer(tmp_path / "run"), pytest.raises(BlockingIOError, match="in use by another"):
        train_run(tiny, tmp_path / "run")
    assert not (tmp_path / "run/config.yaml").exists()


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), RuntimeError("failed")])
def test_full_disk_leaves_the_checkpoints_as_they_were(tmp_path, monkeypatch, error):
    accelerator = Accelerator()
    accelerator.prepare(nn.Linear(2, 2))
    save_checkpoint(accelerator, tmp_path, {"step": 1}, keep=1)

    def refuse(folder):
        (tmp_path / "step-00000002.tmp/model.safetensors").write_bytes(b"half")
        raise error

    monkeypatch.setattr(accelerator, "save_state", refuse)
    with pytest.raises(OSError, match="step-00000002"):
        save_checkpoint(accelerator, tmp_path, {"step": 2}, keep=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001"]


@pytest.mark.parametrize("scale", ["NaN", "0", "-1", '"1"', "null", "[1]", "1e999"])
def test_scale_without_meaning(tmp_path, scale):
    (tmp_path / "latents.json").write_text(f'{{"latent_scale": {scale}}}', encoding="utf-8")
    with pytest.raises(FileError, match=r"latents\.json"):
        read_scale(tmp_path)


def test_scale_of_maps_that_are_all_the_same(tmp_path):
    with pytest.raises(ValueError, match="do the training maps differ"):
        write_scale(tmp_path, float("inf"))
    write_scale(tmp_path, 0.5)
    path = tmp_path / "latents.json"
    path.write_text(path.read_text(encoding="utf-8").replace("0.5", "0.6"), encoding="utf-8")
    with pytest.raises(FileError, match="not as it was written"):
        read_scale(tmp_path)


def test_another_number_of_processes(tiny, tmp_path):
    """As one of 2 x 2 maps was stopped, one process goes on with 4 maps, and with no other."""
    path = tmp_path / "run/diffusion/checkpoints/step-00000002"
    path.mkdir(parents=True)
    state = {"step": 2, "seconds": 1.0, "seed": 0, "processes": 2, "maps_per_step": 4}
    (path / "state.json").write_text(json.dumps(state), encoding="utf-8")
    two = dataclasses.replace(tiny.training, batch_size=2, accumulation=1)
    with pytest.raises(ConfigError, match="steps of 4 maps on 2 processes; this would be 2"):
        check_run(dataclasses.replace(tiny, training=two), tmp_path / "run")
    four = dataclasses.replace(tiny.training, batch_size=4, accumulation=1)
    check_run(dataclasses.replace(tiny, training=four), tmp_path / "run")


class Dangerous:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_no_pickle_of_a_checkpoint_is_run(tmp_path):
    """Accelerate would run what is in the file of the averaged weights."""
    accelerator = Accelerator()
    accelerator.prepare(nn.Linear(2, 2))
    path = save_checkpoint(accelerator, tmp_path, {"step": 1}, keep=1)
    for name in ("custom_checkpoint_0.pkl", "random_states_0.pkl"):
        (path / name).write_bytes(pickle.dumps(Dangerous(tmp_path / "ran"), protocol=2))
        with pytest.raises(ValueError, match=r"refused|does not fit"):
            load_checkpoint(accelerator, path)
        assert not (tmp_path / "ran").exists()
        (path / name).unlink()


def test_variables_of_accelerate_change_nothing(
    tiny, dataset_root, tmp_path, unbroken, monkeypatch
):
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    assert equal(fit(tiny, dataset_root, tmp_path / "a"), unbroken)
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "inductor")
    with pytest.raises(ValueError, match="ACCELERATE_DYNAMO_BACKEND=inductor would train other"):
        fit(tiny, dataset_root, tmp_path / "b")


def test_weights_that_do_not_fit_say_which(tmp_path):
    path = tmp_path / "w.safetensors"
    save_weights(nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 3)}), path)
    network = nn.ModuleDict({"a": nn.Linear(2, 3), "c": nn.Linear(2, 3)})
    with pytest.raises(ValueError, match="does not fit") as caught:
        load_weights(network, path)
    told = str(caught.value)
    assert "2 of 4 are missing (c.weight, c.bias)" in told
    assert "2 of 4 too many (b.bias, b.weight)" in told
    assert "a.weight (2, 2) instead of (3, 2)" in told
    assert "\n" not in told


def test_digest_of_a_checkpoint_is_read(tmp_path, monkeypatch):
    """The look at the digests is what finds the damage: without it there is none."""
    accelerator = Accelerator()
    accelerator.prepare(nn.Linear(2, 2))
    path = save_checkpoint(accelerator, tmp_path, {"step": 1}, keep=1)
    flip(path / "model.safetensors")
    monkeypatch.setattr(
        checkpoints,
        "sha256",
        lambda file: json.loads((path / "state.json").read_text(encoding="utf-8"))["files"][
            file.name
        ],
    )
    assert sound_checkpoint(tmp_path) == path
