"""The public code's weights and files: names both ways, round trips, meaning, refusals."""

import json
import logging
import pickle
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from radiodiff import RadioDiffPipeline
from radiodiff.cli.main import main
from radiodiff.config import load_config
from radiodiff.data import DataConfig, EdgesConfig
from radiodiff.losses import LPIPS_CHANNELS
from radiodiff.models import (
    AutoencoderConfig,
    AutoencoderKL,
    PatchDiscriminator,
    UNet,
    VGG16Features,
)
from radiodiff.reference import (
    PROFILES,
    R24,
    R25,
    autoencoder_config,
    autoencoder_names,
    autoencoder_state_dict,
    export_run,
    import_run,
    parameter_counts,
    process_config,
    read_reference_config,
    read_weights,
    reference_state_dict,
    split_weights,
    unet_config,
    unet_names,
    unet_state_dict,
)
from radiodiff.runs.train import train_run

from ..conftest import ROOT, SHARED, write_edges

FILES = ROOT / "tests" / "reference"
SWIN = {"embed_dim": 8, "depths": [1, 1, 2, 1], "num_heads": [1, 1, 2, 2]}
#: A small second stage: the fixture files with sizes overridden down.
SMALL_FIRST = {"ch": 32, "ch_mult": [1, 1, 1], "num_res_blocks": 1}
SMALL = [
    *(f"model.first_stage.ddconfig.{key}={value}" for key, value in SMALL_FIRST.items()),
    f"model.swin={json.dumps(SWIN)}",
    "model.unet.dim=16",
    "model.unet.dim_mults=[1, 1, 2, 2]",
    "model.unet.input_size=[24, 24]",
    "model.unet.without_pretrain=true",
]


def read(name: str, *overrides: str, **options):
    return read_reference_config(FILES / name, data_root="data", overrides=overrides, **options)


def edited(tmp_path: Path, name: str, change) -> Path:
    values = yaml.safe_load((FILES / name).read_text())
    change(values)
    path = tmp_path / name
    path.write_text(yaml.safe_dump(values))
    return path


def losses(heads=("loss",), *, device="cpu") -> dict[str, torch.Tensor]:
    """What the public first stage owns beside its networks (spec of its state dict)."""
    state = {}
    with torch.device(device):
        for head in heads:
            lpips = f"{head}.perceptual_loss"
            state[f"{head}.logvar"] = torch.zeros(())
            for name in ("shift", "scale"):
                state[f"{lpips}.scaling_layer.{name}"] = torch.rand(1, 3, 1, 1)
            for key, value in VGG16Features().state_dict().items():
                place, kind = key.removeprefix("features.").split(".")
                piece = 1 + sum(int(place) > last for last in (3, 8, 15, 22))
                state[f"{lpips}.net.slice{piece}.{place}.{kind}"] = value
            for k, channels in enumerate(LPIPS_CHANNELS):
                state[f"{lpips}.lin{k}.model.1.weight"] = torch.rand(1, channels, 1, 1)
            for key, value in PatchDiscriminator().state_dict().items():
                state[f"{head}.discriminator.{key}"] = value
    return state


def whole_state(profile, autoencoder=None, unet=None, *, device="cpu", heads=("loss",)):
    """State dict of a whole ``LatentDiffusion``, in the public code's names and kinds."""
    unet = unet or profile.network
    autoencoder = autoencoder or AutoencoderConfig()
    with torch.device(device):
        rest = {"scale_factor": torch.tensor(0.3)}
        for name in (
            "betas alphas_cumprod alphas_cumprod_prev sqrt_alphas_cumprod "
            "sqrt_one_minus_alphas_cumprod log_one_minus_alphas_cumprod sqrt_recip_alphas_cumprod "
            "sqrt_recipm1_alphas_cumprod posterior_variance posterior_log_variance_clipped "
            "posterior_mean_coef1 posterior_mean_coef2 p2_loss_weight"
        ).split():
            rest[name] = torch.rand(1000)
        if profile is R25 and not unet.condition_mix_inputs:
            rest["model.init_conv_carK.weight"] = torch.rand(3, 5, 1, 1)
            rest["model.init_conv_carK.bias"] = torch.rand(3)
        networks = AutoencoderKL(autoencoder).state_dict(), UNet(unet).state_dict()
    for key, value in losses(heads, device=device).items():
        rest[f"first_stage_model.{key}"] = value
    return reference_state_dict(*networks, rest, autoencoder_config=autoencoder, unet_config=unet)


R25_HEADS = ("loss", "loss_pinn", "loss_pinn_dpm2irt4")


def small_state(profile=R24, **options):
    run = read("radio_train.yaml", *SMALL, profile=profile)
    torch.manual_seed(0)
    state = whole_state(profile, run.config.autoencoder, run.config.network, **options)
    return run, state


def same(first, second) -> bool:
    """Equal in names, their order, types and bytes."""
    return list(first) == list(second) and all(
        first[k].dtype == second[k].dtype
        and first[k].shape == second[k].shape
        and first[k].contiguous().numpy().tobytes() == second[k].contiguous().numpy().tobytes()
        for k in first
    )


# ------------------------------------------------------------------------------------------ names


@pytest.mark.parametrize("mix_inputs", [0, 5])
def test_names_are_one_to_one(mix_inputs):
    unet = replace(R25.network, condition_mix_inputs=mix_inputs)
    with torch.device("meta"):
        networks = (
            (UNet(unet), unet_names(unet)),
            (AutoencoderKL(), autoencoder_names(AutoencoderConfig())),
        )
    for network, names in networks:
        keys = list(network.state_dict())
        theirs = [names.theirs(key) for key in keys]
        assert None not in theirs
        assert len(set(theirs)) == len(keys)
        assert [names.ours(key) for key in theirs] == keys


def test_names_of_an_unknown_key_and_encoder():
    assert autoencoder_names(AutoencoderConfig()).ours("surplus.weight") is None
    with pytest.raises(ValueError, match="encoder swin only"):
        unet_names(replace(R24.network, encoder="conv"))


@pytest.mark.skipif(
    not (SHARED / "spec/upstream_state_dict.json").exists(),
    reason="tables of the public code not found in ../shared/spec",
)
@pytest.mark.parametrize("profile", [R24, R25], ids=["R24", "R25"])
def test_layout_is_that_of_the_public_code(profile):
    """Every key and shape of the published table, none else."""
    table = json.loads((SHARED / "spec/upstream_state_dict.json").read_text())
    heads = R25_HEADS if profile is R25 else ("loss",)
    state = whole_state(profile, device="meta", heads=heads)
    assert {k: list(v.shape) for k, v in state.items()} == table[profile.name]
    integers = {k for k, v in state.items() if not v.is_floating_point()}
    assert integers == set(table["int64_buffers"]) & set(state)


# ------------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("profile", [R24, R25], ids=["R24", "R25"])
def test_full_state_dict_comes_back_as_it_was(profile):
    """Full size: the same tensors under the same names (on the meta device: no copy is made)."""
    heads = R25_HEADS if profile is R25 else ("loss",)
    state = whole_state(profile, device="meta", heads=heads)
    taken = split_weights(state, AutoencoderConfig(), profile.network)
    back = reference_state_dict(
        taken.autoencoder,
        taken.unet,
        taken.rest,
        autoencoder_config=AutoencoderConfig(),
        unet_config=profile.network,
        keys=taken.keys,
    )
    assert list(back) == list(state)
    assert all(back[key] is state[key] for key in state)
    with torch.device("meta"):
        UNet(profile.network).load_state_dict(taken.unet, assign=True)
        AutoencoderKL().load_state_dict(taken.autoencoder, assign=True)


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
                text=True,
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


# -------------------------------------------------------------------------------------- refusals


class Attack:
    """Unpickling this would run code."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize("container", ["torch", "legacy", "pickle"])
def test_a_file_that_would_run_code_is_refused(tmp_path, container):
    trace, file = tmp_path / "ran", tmp_path / "model-1.pt"
    content = {"model": {"quant_conv.weight": torch.zeros(1)}, "extra": Attack(trace)}
    if container == "pickle":
        file.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, file, _use_new_zipfile_serialization=container == "torch")
    with pytest.raises(ValueError, match="could run code"):
        read_weights(file)
    assert not trace.exists()
    words = ["import", str(file), "--config", str(FILES / "radio_train.yaml")]
    assert main(["reference", *words, "--out", str(tmp_path / "run")]) == 2
    assert not trace.exists()
    assert not (tmp_path / "run").exists()


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


def test_parts_refuse_what_is_left_over():
    run, state = small_state()
    assert set(unet_state_dict(state, run.config.network))
    assert set(autoencoder_state_dict(state, run.config.autoencoder))
    for prefix, take, config in (
        ("model.", unet_state_dict, run.config.network),
        ("first_stage_model.", autoencoder_state_dict, run.config.autoencoder),
    ):
        bare = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        assert take(bare, config).keys() == take(state, config).keys()
        with pytest.raises(ValueError, match="unexpected: surplus"):
            take(bare | {"surplus": torch.zeros(1)}, config)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"model": 3}, "holds no state dict"),
        ({"model": {"a": 1.0}}, "entries are no tensors"),
        ([torch.zeros(1)], "must hold a dictionary"),
        ({0: torch.zeros(1)}, "keys must be text"),
        ({"ema": 3}, "entries are no tensors"),
    ],
)
def test_files_that_hold_no_state_dict(tmp_path, content, message):
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(ValueError, match=message):
        read_weights(tmp_path / "file.pt")


def test_the_yaml_file_of_the_other_stage_is_told(tmp_path):
    run, state = small_state()
    with pytest.raises(ValueError, match="holds both stages"):
        split_weights(state, run.config.autoencoder, None)
    prefix = "first_stage_model."
    first = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    with pytest.raises(ValueError, match="holds the first stage alone"):
        split_weights(first, run.config.autoencoder, run.config.network)


@pytest.mark.parametrize("text", [b"hello", b"\x80\x04", b"a: 1", b"", b"(", b"PK\x03\x04"])
def test_what_is_no_weights_file_is_one_line(tmp_path, text, capsys):
    (tmp_path / "text.pt").write_bytes(text)
    words = ["import", str(tmp_path / "text.pt"), "--config", str(FILES / "radio_train.yaml")]
    assert main(["reference", *words, "--out", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("radiodiff: error: ")


def test_damaged_and_missing_files(tmp_path):
    for name in ("file.pt", "file.safetensors"):
        with pytest.raises(FileNotFoundError, match="no file"):
            read_weights(tmp_path / name)
        (tmp_path / name).write_bytes(b"nothing of the kind")
        with pytest.raises(ValueError, match=r"is not a|is refused"):
            read_weights(tmp_path / name)
    torch.save({"model": {"a": torch.zeros(9)}}, tmp_path / "cut.pt")
    whole = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"is not a PyTorch file|is refused"):
        read_weights(tmp_path / "cut.pt")
    torch.save({"model": {"a": torch.zeros(9)}}, tmp_path / "plain.pt")
    with pytest.raises(ValueError, match="no averaged weights"):
        read_weights(tmp_path / "plain.pt", "ema")


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


# ----------------------------------------------------------------------------- configuration files


def test_second_stage_file_has_its_meaning():
    run = read("radio_train.yaml")
    config, train = run.config, run.config.training
    assert (run.stage, run.profile, run.saves_state) == ("diffusion", R24, False)
    assert config.network == R24.network
    assert config.process == replace(R24.process, scale_maps=66)
    assert config.autoencoder == AutoencoderConfig()
    assert config.data.splits == "radiodiff-r24"
    assert (config.data.workers, config.data.simulation, config.data.cars) == (2, "DPM", False)
    assert (train.batch_size, train.accumulation, train.max_steps) == (66, 8, 50000)
    assert (train.learning_rate, train.min_learning_rate) == (5e-5, 5e-6)
    assert (train.rate_floor, train.decay_power) == ("factor", 0.96)
    assert (train.weight_decay, train.clip_norm, train.precision) == (1e-4, 1.0, "no")
    assert (train.ema_decay, train.ema_start, train.ema_every) == (0.999, 10000, 10)
    assert (train.log_every, train.sample_every, train.checkpoint_every) == (1000, 200, 200)
    assert train.sample_before
    sampler, evaluate = config.sampler, config.evaluate
    assert (sampler.steps, sampler.schedule, evaluate.seed) == (1, "reference", 42)
    assert (sampler.window, sampler.stride, evaluate.batch_size) == ((256, 256), (256, 256), 1)
    assert run.pretrained_encoder
    assert not run.first_stage_weights


def test_first_stage_file_has_its_meaning():
    run = read("first_radio.yaml", "model.lossconfig.perceptual_weight=0")
    config, train = run.config, run.config.autoencoder_training
    assert run.stage == "autoencoder"
    assert (train.batch_size, train.accumulation, train.max_steps) == (2, 1, 150000)
    assert (train.learning_rate, train.min_learning_rate) == (5e-6, 5e-7)
    assert (train.rate_floor, train.decay_power, train.weight_decay) == ("factor", 0.95, 0.01)
    assert train.clip_norm is None
    assert (train.ema_decay, train.ema_start, train.ema_every) == (0.995, 100, 10)
    assert (train.sample_every, train.checkpoint_every, train.log_every) == (5000, 5000, 100)
    loss = config.autoencoder_loss
    assert (loss.kl_weight, loss.discriminator_weight) == (1e-6, 0.5)
    assert (loss.discriminator_start, loss.train_idle_discriminator) == (50001, True)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("embed_dim=5", {"latent_channels": 5, "inner_channels": 3}),
        ("ddconfig.z_channels=5", {"latent_channels": 3, "inner_channels": 5}),
        ("ddconfig.dropout=0.1", {"dropout": 0.1}),
        ("ddconfig.attn_type=none", {"attention": "none"}),
        ("ddconfig.attn_type=linear", {"attention": "linear"}),
        ("ddconfig.use_linear_attn=true", {"attention": "linear"}),
        ("ddconfig.resamp_with_conv=false", {"learned_resampling": False}),
        ("ddconfig.tanh_out=true", {"bounded": True}),
        ("ddconfig.attn_resolutions=[16, 8]", {}),
    ],
)
def test_arguments_of_the_autoencoder(override, expected, caplog):
    """Each has its meaning; numbers in ``attn_resolutions`` have none, as in the public code."""
    caplog.set_level(logging.INFO)
    config = read("first_radio.yaml", f"model.{override}", perceptual_weights="vgg.pt").config
    assert config.autoencoder == AutoencoderConfig(**expected)
    assert config.network.latent_channels == config.autoencoder.latent_channels
    assert ("attn_resolutions" in caplog.text) == (not expected)
    assert "not known" not in caplog.text


def test_first_stage_asks_for_the_perceptual_weights():
    with pytest.raises(ValueError, match="perceptual_weights_file"):
        read("first_radio.yaml")
    run = read("first_radio.yaml", perceptual_weights="vgg.pt")
    assert run.config.autoencoder_loss.perceptual_weights_file == "vgg.pt"


def test_july_2025_is_told_by_its_keys():
    run = read("radio_train_r25.yaml")
    assert run.profile is R25
    assert run.config.network.fourier_filter == "fixed"
    assert run.config.process.constant_sde.weighting == "exponential"
    assert run.config.data.workers == 0
    assert (run.config.evaluate.seed, run.config.evaluate.shared_noise) == (0, True)
    unweighted = read("radio_train_r25.yaml", "model.weighting_loss=false")
    assert unweighted.config.process.constant_sde.weighting == "uniform"
    with pytest.raises(ValueError, match="radio gives 2 condition channels, the network takes 5"):
        read("radio_train_r25.yaml", "model.unet.DPMCARK=true")
    with pytest.raises(ValueError, match="DPMCARK gives 5 condition channels, the network takes 3"):
        read("radio_train_r25.yaml", "data.name=DPMCARK")
    cars = read(
        "radio_train_r25.yaml", "model.unet.DPMCARK=true", for_training=False
    ).config.network
    assert (cars.condition_mix_inputs, cars.condition_inputs, cars.swin.in_channels) == (5, 5, 3)
    old = read("radio_train_r25.yaml", "model.unet.DPMCARK=true", profile=R24).config.network
    assert old.condition_mix_inputs == 0  # December 2024 does not know the key
    assert read("radio_train.yaml", profile=R25).config.network == R25.network


@pytest.mark.parametrize(
    ("name", "expected", "channels"),
    [
        ("radio", {}, 2),
        ("IRT4", {"simulation": "IRT4"}, 2),
        ("IRT4K", {"simulation": "IRT4", "k2_channels": 1, "byte_channels": 2}, 3),
        ("DPMK", {"k2_channels": 1, "byte_channels": 2, "splits": "radiodiff-r24"}, 3),
        ("DPMCAR", {"cars": True}, 3),
        ("DPMCARK", {"cars": True, "k2_channels": 2, "byte_channels": 3}, 5),
    ],
)
def test_data_sets_of_july_2025(name, expected, channels):
    """Simulation, condition with its fault (X2) and ranges of each loader."""
    overrides = [f"data.name={name}", f"model.unet.DPMCARK={str(channels == 5).lower()}"]
    config = read("radio_train_r25.yaml", *overrides).config
    common = {"root": "data", "splits": "radiodiff-r25", "workers": 0}
    assert config.data == DataConfig(**common | expected)
    assert len(config.data.channels) == channels
    assert config.condition_fits


def test_edge_data():
    """Crops have the sides that the public code takes for each stage, 320 as configured."""
    edge = "data={name: edge, batch_size: 2, img_folder: x, augment_horizontal_flip: false"
    second = read("radio_train.yaml", edge + ", crop_type: rand_resize_crop}").config.data
    assert second == DataConfig(
        source="edges",
        root="data",
        edges=EdgesConfig(crop_size=(320, 320), crop="resized", flip=False),
        workers=2,
    )
    overrides = [edge + ", crop_type: rand_resize_crop}", "model.ddconfig.resolution=[64, 96]"]
    first = read("first_radio.yaml", *overrides, perceptual_weights="vgg.pt").config.data
    # As upstream: the first stage does not look at crop_type.
    assert first.edges == EdgesConfig(crop_size=(64, 96), crop="random", flip=False)


def start(file, run_dir, data, *overrides) -> int:
    words = ["train", "--reference", str(FILES / file), "--data", str(data)]
    words += ["--run-dir", str(run_dir)]
    short = ["trainer.train_num_steps=2", "trainer.save_and_sample_every=2", "data.batch_size=2"]
    for override in (*overrides, *short):
        words += ["--set", override]
    return main(words)


FIRST = [
    *(f"model.ddconfig.{key}={value}" for key, value in SMALL_FIRST.items()),
    "model.lossconfig.perceptual_weight=0",
]


def test_edges_train_from_the_public_codes_files(tmp_path):
    """Both stages, then edges for pictures of another size, window by window."""
    root = write_edges(tmp_path / "edges")
    edge = "data={name: edge, num_workers: 0, augment_horizontal_flip: true}"
    window = "sampler={crop_size: [32, 32], stride: [32, 32]}"
    first, second = tmp_path / "first", tmp_path / "second"
    size = "model.ddconfig.resolution=[32, 32]"
    assert start("first_radio.yaml", first, root, *FIRST, edge, size) == 0
    more = [f"model.first_stage.ckpt_path={first / 'model-1.pt'}", "model.image_size=[32, 32]"]
    assert start("radio_train.yaml", second, root, *SMALL, edge, *more, window) == 0
    assert (second / "model-1.pt").is_file()
    assert main(["sample", "--run-dir", str(second), "--out", str(tmp_path / "drawn")]) == 0
    assert {path.name for path in (tmp_path / "drawn").glob("*.png")} == {"a.png", "b.png"}


def test_five_channels_train_from_the_public_codes_file(variants_root, tmp_path):
    """DPMCARK: cars and twice the k² map; exported, the weights have the public code's names."""
    assert start("first_radio.yaml", tmp_path / "first", variants_root, *FIRST) == 0
    cars = ["data.name=DPMCARK", "model.unet.DPMCARK=true", "trainer.gradient_accumulate_every=1"]
    cars += [f"model.first_stage.ckpt_path={tmp_path / 'first/model-1.pt'}"]
    run = tmp_path / "run"
    assert start("radio_train_r25.yaml", run, variants_root, *SMALL, *cars) == 0
    state = read_weights(run / "model-1.pt")
    assert state["model.init_conv_carK.weight"].shape == (3, 5, 1, 1)
    assert (variants_root / "features/k2/carsDPM/159_0.png").is_file()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({}, {"scale": None, "error": "both"}),
        ({"default_scale": True, "scale_factor": 0.3}, {"scale": 0.3}),
        ({"scale_by_std": False, "scale_factor": 0.3}, {"scale": 1.0}),
        ({"scale_by_softsign": True}, {"scaling": "softsign"}),
        ({"use_l1": False}, {"error": "squared"}),
        ({"loss_type": "l1"}, {"error": "absolute"}),
        ({"loss_type": "l1", "use_l1": False}, {"error": "absolute"}),
        ({"eps": "1e-3"}, {"t_min": 1e-3}),
    ],
)
def test_process_and_loss(model, expected):
    found = process_config(model, R25)
    values = asdict(found.constant_sde) | {"scale": found.scale, "scaling": found.scaling}
    assert {key: values[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("fp16", "amp", "precision", "clip_norm"),
    [
        ("false", "false", "no", 1.0),
        ("true", "false", "no", 1 / 65536),
        ("false", "true", "fp16", 1.0),
        ("true", "true", "fp16", 1.0),
    ],
)
def test_mixed_precision_as_it_comes_out(fp16, amp, precision, clip_norm):
    """T11: without autocast, clipping acts on gradients times 65536."""
    train = read("radio_train.yaml", f"trainer.fp16={fp16}", f"trainer.amp={amp}").config.training
    assert (train.precision, train.clip_norm) == (precision, clip_norm)


def test_keys_without_effect_are_named_once(caplog):
    caplog.set_level(logging.INFO)
    read("radio_train.yaml", "trainer.lrr=3", "model.unet.dim_mult=[1]")
    ignored, elsewhere, unknown = (record.getMessage() for record in caplog.records)
    keys = ignored.partition("public code: ")[2].split(", ")
    assert len(set(keys)) == len(keys)
    assert {"model.objective", "model.unet.cond_dim", "sampler.sample_num"} <= set(keys)
    assert "trainer.results_folder" in elsewhere
    assert "trainer.lrr; did you mean 'trainer.lr'?" in unknown
    assert "model.unet.dim_mult; did you mean 'model.unet.dim_mults'?" in unknown


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.model_type=linear", "model.model_type must be 'const_sde'"),
        ("model.model_name=ncsnpp9", "model.model_name must be one of"),
        ("model.start_dist=uniform", "model.start_dist must be 'normal'"),
        ("model.loss_type=huber", "must be l1 or l2"),
        ("model.default_scale=false", "scale_factor must be 1"),
        ("model.input_keys=[cond]", "must contain 'image'"),
        ("model.ignore_keys=[model]", "ignore_keys must be empty"),
        ("model.unet.cond_net=vit", "unet.cond_net must be one of"),
        ("model.unet.cond_net=null", "model.unet.cond_net is missing"),
        ("model.unet.cond_pe=true", "cond_pe must be False"),
        ("model.unet.dim=big", "model.unet.dim must be int"),
        ("model.first_stage.embed_dim=4", "unet.channels must be the first stage's embed_dim, 4"),
        ("model.first_stage.ddconfig.double_z=false", "double_z must be True"),
        ("model.first_stage.ddconfig.give_pre_end=true", "give_pre_end must be False"),
        ("model.first_stage.ddconfig.attn_type=flash", "attn_type must be one of vanilla"),
        (
            "model.first_stage.ddconfig.attn_resolutions=[[80, 80]]",
            r"attn_resolutions must be \[\]: .* at full resolution only",
        ),
        ("model.first_stage.ddconfig.dropout=1", r"dropout must lie in \[0, 1\)"),
        ("model.first_stage.ddconfig=null", "section model.first_stage.ddconfig is missing"),
        ("data=3", "data must be a section"),
        ("data.name=DPMCARK", "July 2025 code only"),
        ("data.name=DPMCAR", "July 2025 code only"),
        ("data.name=IRT4", "July 2025 code only"),
        ("data.name=IRT5", "data.name must be one of edge, radio, DPMCAR"),
        ("data.name=MASK_R", "sampling masks .* part of neither"),
        (
            "data={name: edge, batch_size: 2, crop_type: whole}",
            "crop_type must be one of rand_crop",
        ),
        ("trainer.lr=fast", "trainer.lr must be float"),
        ("trainer={}", "section trainer is empty"),
        ("model.unet=3", "model.unet must be a section"),
        ("model.first_stage.ckpt_path=3", "ckpt_path must be str"),
        ("model.unet.window_sizes1=[8, 8]", "must be list|must be two integers"),
        ("model.unet.input_size=[80]", "input_size must be two integers"),
        ("model.swin={depths: [1]}", "swin.embed_dim is missing"),
        ("sampler.stride=[300, 300]", "stride <= window"),
        ("model.sampling_timesteps=20000", "between 1 and 1 / t_min"),
        ("sampler.sample_type=whole", "must be slide"),
        ("trainer", "must read key=value"),
    ],
)
def test_what_cannot_be_meant_is_refused(override, message):
    with pytest.raises(ValueError, match=message):
        read("radio_train.yaml", override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.gradient_accumulate_every=8", "must be 2"),
        ("model.lossconfig.disc_loss=vanilla", "must be 'hinge'"),
        ("model.lossconfig.disc_start=null", "disc_start is missing"),
        ("model.ckpt_path=x.pt", "must be null"),
        ("model.lossconfig.logvar_init=2", "logvar_init must be 0.0"),
        ("model.lossconfig.disc_in_channels=3", "disc_in_channels must be 1"),
        ("model.ddconfig.out_ch=2", "out_ch must be 1"),
    ],
)
def test_first_stage_refuses_what_the_public_code_cannot_do(override, message):
    with pytest.raises(ValueError, match=message):
        read("first_radio.yaml", override, perceptual_weights="vgg.pt")


def test_file_that_is_no_configuration(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        read_reference_config(tmp_path / "no.yaml", data_root="data")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="not valid YAML"):
        read_reference_config(tmp_path / "bad.yaml", data_root="data")
    for text in ("[1, 2]", ""):
        (tmp_path / "list.yaml").write_text(text)
        with pytest.raises(ValueError, match=r"list\.yaml: the file must be a section"):
            read_reference_config(tmp_path / "list.yaml", data_root="data", overrides=["a.b=1"])


@pytest.mark.parametrize(
    ("key", "expected"),
    [("model.eps", 1e-4), ("model.sampling_timesteps", 1), ("data.num_workers", 2)],
)
def test_null_is_the_default(key, expected):
    config = read("radio_train.yaml", f"{key}=null").config
    found = (config.process.constant_sde.t_min, config.sampler.steps, config.data.workers)
    assert expected in found


def test_first_stage_precision_has_no_clipping_to_tell_of(caplog):
    caplog.set_level(logging.INFO)
    run = read("first_radio.yaml", "trainer.fp16=true", perceptual_weights="vgg.pt")
    assert run.config.autoencoder_training.clip_norm is None
    assert "clip_norm" not in caplog.text


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


def test_sections_are_read_alone_too():
    values = yaml.safe_load((FILES / "radio_train.yaml").read_text())["model"]
    assert autoencoder_config(values["first_stage"]) == AutoencoderConfig()
    assert unet_config(values["unet"], R24) == R24.network
    small = unet_config(values["unet"], R25, swin=SWIN | {"window_size": [5, 5]}).swin
    assert (small.width, small.depths, small.window) == (8, (1, 1, 2, 1), 5)
    assert not small.classifier_tail


def test_a_file_for_sampling_need_not_say_how_to_train(tmp_path):
    def change(values):
        del values["trainer"], values["data"]["batch_size"]
        values["model"]["sampling_timesteps"] = 5

    path = edited(tmp_path, "radio_train.yaml", change)
    with pytest.raises(ValueError, match="section trainer is missing"):
        read_reference_config(path, data_root="data")
    run = read_reference_config(path, data_root="data", for_training=False)
    assert run.config.sampler.steps == 5
    for key in ("lr", "train_num_steps", "save_and_sample_every"):
        path = edited(
            tmp_path, "radio_train.yaml", lambda values, key=key: values["trainer"].pop(key)
        )
        with pytest.raises(ValueError, match=f"trainer.{key} is missing"):
            read_reference_config(path, data_root="data")
