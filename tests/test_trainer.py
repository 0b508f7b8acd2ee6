"""The loop: schedule, data order, resuming, stopping; on one process and on two."""

import dataclasses
import json
import logging
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from radiodiff.config import Config, TrainingConfig, save_config
from radiodiff.data import GrayBatches, RadioMapSeer, pack_dataset
from radiodiff.models import AutoencoderKL
from radiodiff.tasks import AutoencoderTask, GenerativeTask
from radiodiff.trainer import NonFiniteLossError, batch_indices, learning_rate, train


def test_schedule_has_a_true_floor():
    """Eq. ``schedule``: ends by hand, floor in the unit of a rate (audit T3), none below T4."""
    config = TrainingConfig(
        max_steps=100, learning_rate=1e-3, min_learning_rate=2e-4, decay_power=0.5, warmup_steps=10
    )
    assert learning_rate(0, config) == pytest.approx(1e-4)
    assert learning_rate(19, config) == pytest.approx(1e-3 * 0.9)
    assert learning_rate(99, config) == 2e-4
    assert learning_rate(1000, config) == 2e-4
    rates = [learning_rate(k, config) for k in range(9, 100)]
    assert rates == sorted(rates, reverse=True)


def test_floor_as_a_factor():
    """What the public code makes of its ``min_lr`` (T3)."""
    config = TrainingConfig(
        max_steps=50000, learning_rate=5e-5, min_learning_rate=5e-6, rate_floor="factor"
    )
    assert learning_rate(50000, config) == pytest.approx(2.5e-10)
    assert learning_rate(49999, config) == pytest.approx(5e-5 * (1 / 50000) ** 0.96)


def test_batches_cover_each_epoch_once():
    seen = [k for position in range(5) for k in batch_indices(15, 3, position, seed=1)]
    assert sorted(seen) == list(range(15))
    assert seen != list(range(15))
    following = [k for position in range(5, 10) for k in batch_indices(15, 3, position, seed=1)]
    assert sorted(following) == list(range(15))
    assert following != seen


def test_processes_share_the_sequence():
    """Two processes of 2 see what one of 4 sees."""
    for position in range(6):
        one = batch_indices(10, 4, position, seed=3)
        two = [batch_indices(10, 2, position, seed=3, rank=r, world=2) for r in range(2)]
        assert sorted(one) == sorted(two[0] + two[1])


def test_batch_may_span_epochs():
    assert len(batch_indices(2, 7, 1, seed=0)) == 7


def build(tiny: Config, stage: str):
    torch.manual_seed(0)
    if stage == "autoencoder":
        return AutoencoderTask(tiny)
    return GenerativeTask(tiny, AutoencoderKL(tiny.autoencoder), 1.0)


def fit(tiny: Config, root, run_dir, stage="diffusion", **changes) -> dict[str, torch.Tensor]:
    config = dataclasses.replace(tiny.training, **changes)
    path = train(build(tiny, stage), RadioMapSeer(root, "train"), config, run_dir, seed=3)
    return load_file(path)


@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_interrupted_run_equals_unbroken_run(tiny, dataset_root, tmp_path, stage, monkeypatch):
    """Bit for bit, dropout included: stop after step 3, newest checkpoint at 2, go on to 4."""
    unbroken = fit(tiny, dataset_root, tmp_path / "a", stage)
    task = build(tiny, stage)
    forward = type(task).forward

    def interrupted(self, batch, pass_name, step, generator):
        if step == 3:
            raise KeyboardInterrupt
        return forward(self, batch, pass_name, step, generator)

    with monkeypatch.context() as patch:
        patch.setattr(type(task), "forward", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fit(tiny, dataset_root, tmp_path / "b", stage)
    resumed = fit(tiny, dataset_root, tmp_path / "b", stage)
    assert all(torch.equal(unbroken[name], resumed[name]) for name in unbroken)
    rows = [
        json.loads(x)
        for x in (tmp_path / "b" / stage / "log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]


def test_clipping_can_be_switched_off(tiny, dataset_root, tmp_path):
    """The public first stage does not clip (V1); a tiny norm changes what Adam sees (T11)."""
    loose = fit(tiny, dataset_root, tmp_path / "a", "autoencoder", clip_norm=None)
    huge = fit(tiny, dataset_root, tmp_path / "b", "autoencoder", clip_norm=1e9)
    tight = fit(tiny, dataset_root, tmp_path / "c", "autoencoder", clip_norm=1 / 65536)
    assert all(torch.equal(loose[name], huge[name]) for name in loose)
    assert not all(torch.equal(loose[name], tight[name]) for name in loose)


@pytest.mark.parametrize("workers", [0, 1])
def test_packed_maps_train_the_same_network(tiny, dataset_root, tmp_path, monkeypatch, workers):
    """Bit for bit, though the batches travel as bytes."""
    images = fit(tiny, dataset_root, tmp_path / "images")
    pack_dataset(dataset_root)
    assert GrayBatches.serve(RadioMapSeer(dataset_root, "train"))
    monkeypatch.setattr(RadioMapSeer, "__getitem__", None)  # nothing else is read
    config = dataclasses.replace(tiny.training, sample_every=0, sample_before=False)
    task, dataset = build(tiny, "diffusion"), RadioMapSeer(dataset_root, "train")
    packed = load_file(train(task, dataset, config, tmp_path / "p", seed=3, workers=workers))
    assert all(torch.equal(images[name], packed[name]) for name in images)


def test_average_or_network_is_written(tiny, dataset_root, tmp_path):
    """T9: by default the average; the other choice is the network of the last step."""
    found = {
        export: fit(tiny, dataset_root, tmp_path / export, export=export)
        for export in ("average", "network")
    }
    names = [n for n, v in found["average"].items() if v.is_floating_point()]
    assert not all(torch.equal(found["average"][n], found["network"][n]) for n in names)
    state = load_file(tmp_path / "average/diffusion/checkpoints/step-00000004/model.safetensors")
    assert all(torch.equal(state[f"unet.{n}"], found["network"][n]) for n in names)


def test_training_changes_weights_and_leaves_the_global_generator(tiny, dataset_root, tmp_path):
    task = build(tiny, "diffusion")
    before = {name: value.clone() for name, value in task.averaged.state_dict().items()}
    state = torch.random.get_rng_state()
    train(task, RadioMapSeer(dataset_root, "train"), tiny.training, tmp_path, seed=3)
    assert torch.equal(state, torch.random.get_rng_state())
    changed = [n for n, v in task.averaged.state_dict().items() if not torch.equal(v, before[n])]
    assert len(changed) > len(before) / 2


def test_accumulation_equals_one_large_batch(tiny, dataset_root, tmp_path):
    """2 micro-batches of 2 and 1 of 4 see the same maps; without noise the loss is the same."""
    config = dataclasses.replace(
        tiny.training, max_steps=1, learning_rate=0.1, min_learning_rate=0.0
    )

    class Mean(torch.nn.Module):
        name, passes, frozen = "mean", ("mean",), ()

        def __init__(self):
            super().__init__()
            self.value = torch.nn.Parameter(torch.zeros(1))
            self.averaged = torch.nn.Linear(1, 1)

        def parameters_of(self, pass_name):
            return [self.value]

        def active_passes(self, step):
            return self.passes

        def forward(self, batch, pass_name, step, generator):
            from radiodiff.tasks import StepLoss

            return StepLoss((self.value - batch.radio_map.mean()).square().sum(), {})

    gradients = []
    for micro, batch_size in ((2, 2), (1, 4)):
        run = tmp_path / str(micro)
        changed = dataclasses.replace(
            config, accumulation=micro, batch_size=batch_size, sample_every=0, sample_before=False
        )
        train(Mean(), RadioMapSeer(dataset_root, "train"), changed, run, seed=1)
        (row,) = map(json.loads, (run / "mean/log.jsonl").read_text(encoding="utf-8").splitlines())
        gradients.append(row["mean_gradient_norm"])
    assert gradients[0] == pytest.approx(gradients[1], rel=1e-5)


def test_non_finite_loss_stops_and_says_where(tiny, dataset_root, tmp_path, monkeypatch):
    def broken(self, batch, pass_name, step, generator):
        result = forward(self, batch, pass_name, step, generator)
        return result._replace(loss=result.loss * (float("nan") if step == 3 else 1))

    forward = GenerativeTask.forward
    monkeypatch.setattr(GenerativeTask, "forward", broken)
    with pytest.raises(NonFiniteLossError, match=r"diffusion loss is nan at step 3.*step-00000002"):
        fit(tiny, dataset_root, tmp_path)
    state = load_file(tmp_path / "diffusion/checkpoints/step-00000002/model.safetensors")
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())


def test_non_finite_gradient_never_reaches_the_weights(tiny, dataset_root, tmp_path, monkeypatch):
    """The loss is finite, its gradient is not: 0 times infinity."""

    def broken(self, batch, pass_name, step, generator):
        result = forward(self, batch, pass_name, step, generator)
        weight = next(self.unet.parameters())
        extra = (weight - weight.detach()).abs().sqrt().sum() if step == 1 else 0.0
        return result._replace(loss=result.loss + extra)

    forward = GenerativeTask.forward
    monkeypatch.setattr(GenerativeTask, "forward", broken)
    with pytest.raises(NonFiniteLossError, match=r"diffusion gradient norm is (nan|inf) at step 1"):
        fit(tiny, dataset_root, tmp_path)
    assert not (tmp_path / "diffusion.safetensors").exists()


def test_log_tensorboard_and_samples(tiny, dataset_root, tmp_path, caplog):
    caplog.set_level(logging.INFO, "radiodiff")
    fit(tiny, dataset_root, tmp_path, "autoencoder", sample_every=2, sample_before=True)
    folder = tmp_path / "autoencoder"
    assert {p.name for p in folder.glob("samples-*.png")} == {
        "samples-00000000.png",
        "samples-00000002.png",
        "samples-00000004.png",
    }
    assert "autoencoder step 4/4: loss autoencoder" in caplog.text
    assert str(folder) in caplog.text
    events = EventAccumulator(str(folder))
    events.Reload()
    assert {"train/autoencoder", "train/discriminator", "train/learning_rate"} <= set(
        events.Tags()["scalars"]
    )
    assert events.Tags()["images"] == ["samples/truth_above_network_below"]


def launch(processes: int, script, *arguments) -> None:
    """Run a script in so many processes, which find each other through gloo."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes)]
    command += ["--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, *map(str, (script, *arguments))],
        capture_output=True,
        encoding="utf-8",
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("synchronise", [True, False])
def test_two_processes_train_one_model(tiny, dataset_root, tmp_path, synchronise):
    """Gradients are synchronised (audit T2): both ranks end with the same weights; or not."""
    stage = dataclasses.replace(tiny.autoencoder_training, synchronise_gradients=synchronise)
    tiny = dataclasses.replace(tiny, autoencoder_training=stage)
    script = tmp_path / "two.py"
    script.write_text(
        "import sys, torch\n"
        "from radiodiff.config import load_config\n"
        "from radiodiff.data import RadioMapSeer\n"
        "from radiodiff.tasks import AutoencoderTask\n"
        "from radiodiff.trainer import train\n"
        "from radiodiff.workers import process_state\n"
        "config, root, out = load_config(sys.argv[1]), sys.argv[2], sys.argv[3]\n"
        "rank = process_state().process_index\n"
        "assert process_state().num_processes == 2\n"
        "torch.manual_seed(0)\n"
        "task = AutoencoderTask(config)\n"
        "train(task, RadioMapSeer(root, 'train'), config.autoencoder_training, out, seed=3)\n"
        "torch.save(task.state_dict(), f'{out}/rank{rank}.pt')\n",
        encoding="utf-8",
    )
    save_config(tiny, tmp_path / "config.yaml")
    launch(2, script, tmp_path / "config.yaml", dataset_root, tmp_path / "run")
    ranks = [torch.load(tmp_path / f"run/rank{r}.pt", weights_only=True) for r in range(2)]
    trained = [name for name in ranks[0] if "running" not in name and "tracked" not in name]
    assert all(torch.equal(ranks[0][name], ranks[1][name]) for name in trained) == synchronise


@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_two_processes_train_as_one_with_twice_the_batch(tiny, dataset_root, tmp_path, stage):
    """20 steps in double precision: the same losses and weights, to 1e-8.

    Without dropout and the discriminator's batch normalisation, which are a process's own.
    """
    config = dataclasses.replace(
        tiny,
        autoencoder=dataclasses.replace(tiny.autoencoder, dropout=0.0),
        network=dataclasses.replace(tiny.network, dropout=0.0),
        autoencoder_loss=dataclasses.replace(tiny.autoencoder_loss, discriminator_weight=0.0),
    )
    script = tmp_path / "double.py"
    script.write_text(
        "import dataclasses, sys, torch\n"
        "from radiodiff.config import load_config\n"
        "from radiodiff.data import RadioMapSeer\n"
        "from radiodiff.models import AutoencoderKL\n"
        "from radiodiff.tasks import AutoencoderTask, GenerativeTask\n"
        "from radiodiff.trainer import train\n"
        "from radiodiff.workers import process_state\n"
        "torch.set_default_dtype(torch.float64)\n"
        "class Double(torch.utils.data.Dataset):\n"
        "    def __init__(self, maps):\n"
        "        self.maps = maps\n"
        "    def __len__(self):\n"
        "        return len(self.maps)\n"
        "    def __getitem__(self, index):\n"
        "        item = self.maps[index]\n"
        "        maps = {k: getattr(item, k).double() for k in ('radio_map', 'condition')}\n"
        "        return item._replace(**maps)\n"
        "config, root, out, stage = load_config(sys.argv[1]), *sys.argv[2:]\n"
        "process_state()\n"
        "torch.manual_seed(0)\n"
        "if stage == 'autoencoder':\n"
        "    task = AutoencoderTask(config)\n"
        "else:\n"
        "    task = GenerativeTask(config, AutoencoderKL(config.autoencoder), 1.0)\n"
        "train(task, Double(RadioMapSeer(root, 'train')), config.training, out, seed=3)\n",
        encoding="utf-8",
    )
    weights, losses = [], []
    for processes in (1, 2):
        training = dataclasses.replace(
            config.training, max_steps=20, batch_size=4 // processes, sample_every=0
        )
        run = tmp_path / str(processes)
        save_config(dataclasses.replace(config, training=training), tmp_path / "config.yaml")
        launch(processes, script, tmp_path / "config.yaml", dataset_root, run, stage)
        weights.append(load_file(run / f"{stage}.safetensors"))
        lines = (run / stage / "log.jsonl").read_text(encoding="utf-8").splitlines()
        losses.append([json.loads(line)[stage] for line in lines])
    assert len(losses[0]) == 20
    assert losses[0] == pytest.approx(losses[1], rel=1e-8)
    for name, value in weights[0].items():
        assert value.dtype == torch.float64 or not value.is_floating_point()
        assert torch.allclose(value, weights[1][name], rtol=1e-8, atol=1e-8), name


@pytest.mark.parametrize("stage", ["autoencoder", "diffusion"])
def test_mixed_precision_trains(tiny, dataset_root, tmp_path, stage):
    """bfloat16 autocast runs through every layer; weights stay float32 and near the plain run's."""
    plain = fit(tiny, dataset_root, tmp_path / "plain", stage)
    mixed = fit(tiny, dataset_root, tmp_path / "mixed", stage, precision="bf16")
    assert all(value.dtype == plain[name].dtype for name, value in mixed.items())
    assert all(value.isfinite().all() for value in mixed.values())
    assert any(not torch.equal(value, plain[name]) for name, value in mixed.items())
    for name, value in mixed.items():
        if value.is_floating_point():
            assert (value - plain[name]).norm() <= 0.05 * plain[name].norm() + 0.05, name


def flat(state):
    """All trained numbers of a state dict in a row."""
    return torch.cat([value.flatten() for value in state.values() if value.is_floating_point()])


def test_fused_optimizer_takes_the_same_steps(tiny, dataset_root, tmp_path, monkeypatch):
    """Within 1e-5 of the one that updates one weight after the other."""
    fused = fit(tiny, dataset_root, tmp_path / "fused")
    monkeypatch.setattr("radiodiff.trainer.loop._FUSED", ())
    plain = fit(tiny, dataset_root, tmp_path / "plain")
    for name, is_fused in (("fused", True), ("plain", None)):
        (checkpoint, *_) = sorted(tmp_path.glob(f"{name}/diffusion/checkpoints/step-*"))
        state = torch.load(checkpoint / "optimizer.bin", weights_only=True)
        assert state["param_groups"][0]["fused"] is is_fused
    assert (flat(fused) - flat(plain)).norm() <= 1e-5 * flat(plain).norm()


def test_order_in_memory_changes_last_digits_alone(tiny, dataset_root, tmp_path):
    """Within 1e-4 without dropout; a run that goes on in the other order keeps its moments."""
    tiny = dataclasses.replace(tiny, network=dataclasses.replace(tiny.network, dropout=0.0))
    fixed = {"decay_power": 0.0, "sample_every": 0}
    found = {
        last: fit(tiny, dataset_root, tmp_path / str(last), channels_last=last, **fixed)
        for last in (True, False)
    }
    assert all(value.is_contiguous() for value in found[True].values())
    for run, first in (("a", True), ("b", False)):
        fit(tiny, dataset_root, tmp_path / run, channels_last=first, max_steps=2, **fixed)
        changed = fit(tiny, dataset_root, tmp_path / run, channels_last=not first, **fixed)
        assert (flat(changed) - flat(found[True])).norm() <= 1e-4 * flat(changed).norm()
    assert (flat(found[False]) - flat(found[True])).norm() <= 1e-4 * flat(found[True]).norm()


def test_steps_flush_denormals_and_leave_the_thread_as_it_was(
    tiny, dataset_root, tmp_path, monkeypatch
):
    if not torch.set_flush_denormal(False):
        pytest.skip("this processor cannot flush denormals")
    forward, seen = GenerativeTask.forward, []

    def watched(self, *arguments):
        seen.append(bool(torch.tensor(1e-40) * 1 == 0))
        return forward(self, *arguments)

    monkeypatch.setattr(GenerativeTask, "forward", watched)
    fit(tiny, dataset_root, tmp_path, sample_every=0, max_steps=1)
    assert seen == [True]
    assert torch.tensor(1e-40) * 1 != 0
