"""Checkpoints of the public code as runs of ours, and back."""

import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from radiodiff import RadioDiffPipeline
from radiodiff.cli.main import main
from radiodiff.config import load_config
from radiodiff.models import AutoencoderConfig, AutoencoderKL
from radiodiff.reference import (
    PROFILES,
    R24,
    R25,
    export_run,
    import_run,
    parameter_counts,
    read_weights,
    reference_state_dict,
)
from radiodiff.runs.train import train_run
from tests.conftest import ROOT
from tests.reference.cases import (
    FILES,
    R25_HEADS,
    SMALL,
    SMALL_FIRST,
    losses,
    read,
    same,
    small_state,
    whole_state,
)


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("profile", [R24, R25], ids=["R24", "R25"])
def test_import_and_export_through_files(tmp_path, profile, suffix):
    heads = R25_HEADS if profile is R25 else ("loss",)
    _, state = small_state(profile, heads=heads)
    state = {k: v.half() if "up" in k and v.is_floating_point() else v for k, v in state.items()}
    state["model.relation_layers_up.0.input_conv1.1.num_batches_tracked"] = torch.tensor([7])
    file = tmp_path / f"model-3{suffix}"
    torch.save({"model": state}, file) if suffix == ".pt" else save_file(state, file)
    options = {"overrides": SMALL, "profile": profile}
    import_run(file, FILES / "radio_train.yaml", tmp_path / "run", **options)
    pipeline = RadioDiffPipeline.from_run(tmp_path / "run")
    assert pipeline.space.scale == 0.3
    key = "model.ups.0.0.block1.proj.weight"
    ours = pipeline.network.drift_path.levels[0].block1.conv1.weight
    assert torch.equal(ours, state[key].float())
    assert export_run(tmp_path / "run", tmp_path / f"back{suffix}") == len(state)
    if suffix == ".pt":
        assert same(read_weights(tmp_path / "back.pt"), state)
    else:  # a safetensors file has no order of its own
        back = load_file(tmp_path / "back.safetensors")
        assert same({k: back[k] for k in state}, state)


def test_first_stage_alone_makes_a_run_of_one_stage(tmp_path):
    """The averaged weights of a first-stage checkpoint are preferred, as the public code does."""
    sizes = AutoencoderConfig(width=32, multipliers=(1, 1, 1), blocks=1)
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        own = AutoencoderKL(sizes).state_dict()
        state = reference_state_dict(
            own, None, losses(), autoencoder_config=sizes, unet_config=None
        )
        states.append(state)
    ema = {"initted": torch.tensor([True]), "step": torch.tensor([40])}
    ema |= {f"online_model.{k}": v for k, v in states[0].items()}
    ema |= {f"ema_model.{k}": v for k, v in states[1].items()}
    torch.save({"step": 40, "model": states[0], "ema": ema}, tmp_path / "model-1.pt")
    small = [f"model.ddconfig.{key}={value}" for key, value in SMALL_FIRST.items()]
    for which, expected in (("auto", 1), ("ema", 1), ("model", 0)):
        out = tmp_path / which
        run = import_run(
            tmp_path / "model-1.pt", FILES / "first_radio.yaml", out, overrides=small, which=which
        )
        assert run.stage == "autoencoder"
        assert not (out / "diffusion.safetensors").exists()
        export_run(out, tmp_path / f"{which}.pt")
        assert same(read_weights(tmp_path / f"{which}.pt"), states[expected])
    # The state of the average alone, and a bare state dict, are such files too.
    for name, content in (("average.pt", ema), ("bare.pt", states[1])):
        torch.save(content, tmp_path / name)
        assert same(read_weights(tmp_path / name), states[1])


def test_embed_dim_and_z_channels_apart(tmp_path):
    """Both stages: the diffusion sees ``embed_dim`` channels; weights come back as they were."""
    sizes = ["model.first_stage.embed_dim=5", "model.first_stage.ddconfig.z_channels=2"]
    overrides = [*SMALL, *sizes, "model.unet.channels=5"]
    config = read("radio_train.yaml", *overrides).config
    assert (config.autoencoder.latent_channels, config.autoencoder.inner_channels) == (5, 2)
    torch.manual_seed(0)
    state = whole_state(R24, config.autoencoder, config.network)
    assert state["first_stage_model.quant_conv.weight"].shape == (10, 4, 1, 1)
    assert state["first_stage_model.post_quant_conv.weight"].shape == (2, 5, 1, 1)
    torch.save(state, tmp_path / "model.pt")
    run = tmp_path / "run"
    import_run(tmp_path / "model.pt", FILES / "radio_train.yaml", run, overrides=overrides)
    pipeline, condition = RadioDiffPipeline.from_run(run), torch.zeros(1, 2, 32, 32)
    condition[0, 1, 16, 16] = 1
    generator = torch.Generator().manual_seed(0)
    assert pipeline.radio_maps(condition, generator=generator).shape == (1, 1, 32, 32)
    export_run(run, tmp_path / "back.pt")
    assert same(read_weights(tmp_path / "back.pt"), state)


def test_first_stage_of_any_loss_and_channels_is_imported(tmp_path, caplog):
    """Weights are read, no loss is computed: what cannot be trained here can be used."""
    caplog.set_level(logging.INFO)
    sizes = AutoencoderConfig(
        in_channels=3,
        out_channels=2,
        latent_channels=4,
        inner_channels=6,
        width=32,
        multipliers=(2, 1),
        blocks=1,
        attention="linear",
        learned_resampling=False,
        bounded=True,
    )
    torch.manual_seed(0)
    own = AutoencoderKL(sizes).state_dict()
    state = reference_state_dict(own, None, losses(), autoencoder_config=sizes, unet_config=None)
    torch.save({"model": state}, tmp_path / "model-1.pt")
    overrides = [
        *("model.embed_dim=4", "model.ddconfig.z_channels=6", "model.ddconfig.in_channels=3"),
        *("model.ddconfig.out_ch=2", "model.ddconfig.ch=32", "model.ddconfig.ch_mult=[2, 1]"),
        *("model.ddconfig.num_res_blocks=1", "model.ddconfig.use_linear_attn=true"),
        *("model.ddconfig.resamp_with_conv=false", "model.ddconfig.tanh_out=true"),
        *("model.lossconfig.disc_loss=vanilla", "model.lossconfig.disc_num_layers=4"),
    ]
    out = tmp_path / "run"
    run = import_run(tmp_path / "model-1.pt", FILES / "first_radio.yaml", out, overrides=overrides)
    assert run.config.autoencoder == load_config(out / "config.yaml").autoencoder == sizes
    assert "no loss is computed: model.lossconfig.disc_weight" not in caplog.text
    assert "model.lossconfig.disc_loss" in caplog.text
    assert "not known to the public code" not in caplog.text
    export_run(out, tmp_path / "back.pt")
    assert same(read_weights(tmp_path / "back.pt"), state)


@pytest.mark.parametrize("profile", [R24, R25], ids=["R24", "R25"])
def test_weights_tell_their_profile(tmp_path, profile):
    """Whatever the file of the configuration looks like: only R25 trained the filter."""
    _, state = small_state(profile)
    torch.save(state, tmp_path / "model.pt")
    for file in ("radio_train.yaml", "radio_train_r25.yaml"):
        run = import_run(
            tmp_path / "model.pt", FILES / file, tmp_path / f"run-{file}", overrides=SMALL
        )
        assert run.profile is profile
        assert run.config.network.fourier_filter == profile.network.fourier_filter
    other = R24 if profile is R25 else R25
    options = {"overrides": SMALL, "profile": other}
    run = import_run(tmp_path / "model.pt", FILES / file, tmp_path / "asked", **options)
    assert run.profile is other


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_full_size_checkpoint_needs_little_memory(tmp_path):
    """1.19 GB there and back; three times that much memory is the limit for each direction."""
    torch.manual_seed(0)
    state = whole_state(R24)
    file = tmp_path / "model-50.pt"
    torch.save({"model": state}, file)
    size = file.stat().st_size
    assert size > 1.19e9
    digests = [hash(v.numpy().tobytes()) for v in state.values()]
    names, kinds = list(state), [v.dtype for v in state.values()]
    del state
    # Not `ru_maxrss`: it is never less than what this process held when it started the other.
    program = (
        "import sys; from radiodiff.cli.main import main; code = main(sys.argv[1:]); "
        "print(*[x.split()[1] for x in open('/proc/self/status') if x.startswith('VmHWM')]); "
        "sys.exit(code)"
    )
    run, back = tmp_path / "run", tmp_path / "back.pt"
    config = FILES / "radio_train.yaml"
    try:
        for words in (
            ["import", str(file), "--config", str(config), "--out", str(run)],
            ["export", str(run), "--out", str(back)],
        ):
            done = subprocess.run(
                [sys.executable, "-c", program, "reference", *words],
                cwd=ROOT,
                capture_output=True,
                encoding="utf-8",
                check=True,
            )
            assert 1024 * int(done.stdout.split()[-1]) < 3 * size
        state = read_weights(back)
        assert list(state) == names
        assert [v.dtype for v in state.values()] == kinds
        assert [hash(v.numpy().tobytes()) for v in state.values()] == digests
    finally:
        shutil.rmtree(run, ignore_errors=True)
        file.unlink()
        back.unlink(missing_ok=True)


def test_everything_that_does_not_fit_is_listed_and_nothing_written(tmp_path):
    _, state = small_state()
    del state["model.init_conv.0.weight"], state["first_stage_model.quant_conv.bias"]
    state["model.projects.0.bias"] = torch.zeros(3)
    state["model.surplus"] = state["first_stage_model.loss_other.logvar"] = torch.zeros(1)
    state["model.final_conv.bias"] = torch.zeros(3, dtype=torch.int64)
    torch.save(state, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="do not fit") as error:
        import_run(
            tmp_path / "model.pt", FILES / "radio_train.yaml", tmp_path / "run", overrides=SMALL
        )
    assert sorted(str(error.value).splitlines()[1:]) == [
        "missing: first_stage_model.quant_conv.bias",
        "missing: model.init_conv.0.weight",
        "shape of model.projects.0.bias: expected (16,), got (3,)",
        "type of model.final_conv.bias: expected floating point, got torch.int64",
        "unexpected: first_stage_model.loss_other.logvar",
        "unexpected: model.surplus",
    ]
    assert not (tmp_path / "run").exists()


def test_measured_scale_needs_a_number_on_import(tmp_path):
    _, state = small_state()
    del state["scale_factor"]
    torch.save(state, tmp_path / "model.pt")
    overrides = [*SMALL, "model.default_scale=false", "model.scale_factor=1"]
    with pytest.raises(ValueError, match="holds no scale_factor"):
        import_run(
            tmp_path / "model.pt",
            FILES / "radio_train.yaml",
            tmp_path / "run",
            overrides=overrides,
        )
    assert not (tmp_path / "run").exists()


def test_runs_without_counterpart_are_not_exported(tmp_path, tiny):
    assert main(["reference", "export", str(tmp_path), "--out", "x.pt"]) == 2
    run = train_run(tiny, tmp_path / "run")
    for name, message in (
        ("x.zip", "must end in"),
        ("x.pt", "process.constant_sde.drift_skip corrected"),
    ):
        with pytest.raises(ValueError, match=message):
            export_run(run, tmp_path / name)


def test_no_file_is_overwritten(tmp_path):
    (tmp_path / "there.pt").write_bytes(b"")
    with pytest.raises(FileExistsError, match="name another file"):
        export_run(tmp_path, tmp_path / "there.pt")


def test_an_existing_folder_is_not_touched(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(FileExistsError, match="name another folder"):
        import_run(tmp_path / "x.pt", FILES / "radio_train.yaml", tmp_path / "run")


def test_parameter_counts_are_those_of_the_public_code():
    counts = {
        name: parameter_counts(read("radio_train.yaml", profile=profile))
        for name, profile in PROFILES.items()
    }
    assert counts["R24"] == {
        "first stage": 55_307_453,
        "first stage with its losses": 72_787_199,
        "condition encoder": 87_768_224,
        "U-Net": 224_869_478,
        "total": 297_656_677,
        "trainable": 224_869_414,
    }
    assert counts["R25"]["first stage with its losses"] == 107_746_691
    assert counts["R25"]["total"] == 332_616_187
    assert counts["R25"]["trainable"] == 224_869_432
    frozen = parameter_counts(read("radio_train.yaml", "model.unet.fix_bb=true"))
    assert frozen["trainable"] == 224_869_414 - 87_768_224
