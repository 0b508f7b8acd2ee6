"""The public code's own configuration files start runs, in both profiles and both stages."""

import json
import sys

import pytest
import torch
from PIL import Image

from radiodiff import RadioDiffPipeline
from radiodiff.cli.main import main
from radiodiff.models import UNet
from radiodiff.reference import R24, export_run, import_run, read_reference_config, read_weights
from radiodiff.reference.training import _adapted
from radiodiff.settings import ConfigError
from tests.conftest import write_edges
from tests.reference.cases import FILES, SMALL, SMALL_FIRST, same

FIRST = [f"model.ddconfig.{key}={value}" for key, value in SMALL_FIRST.items()]
FIRST += ["model.lossconfig.perceptual_weight=0", "model.lossconfig.disc_start=2"]
SHORT = ["trainer.train_num_steps=4", "trainer.save_and_sample_every=2", "trainer.log_freq=1"]
SECOND = [
    *SMALL,
    "data.batch_size=2",
    "data.num_workers=0",
    "trainer.gradient_accumulate_every=2",
]


def train(file, run_dir, data, *overrides, more=()) -> int:
    words = ["train", "--reference", str(FILES / file), "--data", str(data)]
    words += ["--run-dir", str(run_dir), *more]
    for override in (*SHORT, *overrides):
        words += ["--set", override]
    return main(words)


@pytest.fixture
def first(dataset_root, tmp_path):
    assert train("first_radio.yaml", tmp_path / "first", dataset_root, *FIRST) == 0
    return tmp_path / "first"


def test_first_stage(first, capsys):
    assert (first / "autoencoder.safetensors").is_file()
    assert not (first / "diffusion.safetensors").exists()
    rows = [
        json.loads(line)
        for line in (first / "autoencoder/log.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    # The idle discriminator's optimizer runs from the first step, on a loss of zero (V5).
    assert [row["discriminator"] == 0 for row in rows] == [True, True, False, False]
    assert "adaptive_weight" not in rows[1]
    assert "adaptive_weight" in rows[2]
    for milestone in (1, 2):
        content = torch.load(first / f"model-{milestone}.pt", weights_only=True)
        assert content["step"] == 2 * milestone
        assert "loss.discriminator.main.0.weight" in content["model"]
        assert content["ema"].keys() > {"initted", "step"}
        with Image.open(first / f"sample-{milestone}.png") as grid:
            assert grid.mode == "L"
    assert not (first / "model-3.pt").exists()
    # Its milestones are files of the public code: they load back, discriminator included.
    small = [*FIRST, "data.name=radio"]
    import_run(first / "model-2.pt", FILES / "first_radio.yaml", first / "back", overrides=small)
    averaged = read_weights(first / "model-2.pt", "ema")
    export_run(first / "back", first / "again.pt")
    assert same(read_weights(first / "again.pt"), averaged)


@pytest.mark.parametrize(
    ("file", "profile", "enable_resume"),
    [("radio_train.yaml", "R24", "false"), ("radio_train_r25.yaml", "R25", "true")],
)
def test_second_stage(first, dataset_root, tmp_path, capsys, file, profile, enable_resume):
    run = tmp_path / "run"
    second = [
        *SECOND,
        f"model.first_stage.ckpt_path={first / 'model-2.pt'}",
        f"trainer.enable_resume={enable_resume}",
    ]
    capsys.readouterr()
    assert train(file, run, dataset_root, *second) == 0
    printed = capsys.readouterr()
    assert f"profile {profile}; parameters as the public code counts them:" in printed.err
    assert "trainable" in printed.err
    assert "4 steps of 4 maps" in printed.err
    assert printed.out == f"run: {run}\n"
    assert (run / "diffusion/samples-00000000.png").is_file()  # test_before
    assert (run / "sample-2.png").is_file()
    content = torch.load(run / "model-2.pt", weights_only=True)
    assert set(content) == ({"model"} if profile == "R24" else {"model", "step", "ema"})
    # The first stage's losses travel along; the network is the one of the run.
    assert "first_stage_model.loss.discriminator.main.0.weight" in content["model"]
    options = {"overrides": SECOND, "data_root": str(dataset_root)}
    for which in ("model", "ema") if enable_resume == "true" else ("model",):
        back = tmp_path / f"back-{which}"
        found = import_run(run / "model-2.pt", FILES / file, back, which=which, **options)
        assert found.profile.name == profile
        export_run(back, tmp_path / f"{which}.pt")
        assert same(read_weights(tmp_path / f"{which}.pt"), read_weights(run / "model-2.pt", which))
        pipeline = RadioDiffPipeline.from_run(back)
        condition = torch.zeros(1, 2, 32, 32)
        condition[0, 1, 16, 16] = 1
        generator = torch.Generator().manual_seed(0)
        assert pipeline.radio_maps(condition, generator=generator).isfinite().all()
    # The run itself can be exported too.
    assert export_run(run, tmp_path / "run.safetensors") > 1000
    # A run that is over stays as it is; a longer one goes on.
    assert train(file, run, dataset_root, *second) == 0
    assert "is trained: 4 steps" in capsys.readouterr().err
    assert train(file, run, dataset_root, *second, "trainer.train_num_steps=6") == 0
    assert "resumed from" in capsys.readouterr().err
    assert (run / "model-3.pt").is_file()


def test_both_stages_with_embed_dim_and_z_channels_apart(dataset_root, tmp_path):
    """The diffusion is trained on ``embed_dim`` channels."""
    sizes = ["model.embed_dim=2", "model.ddconfig.z_channels=5"]
    assert train("first_radio.yaml", tmp_path / "first", dataset_root, *FIRST, *sizes) == 0
    second = [override.replace("model.", "model.first_stage.") for override in sizes]
    second += ["model.unet.channels=2"]
    second += [f"model.first_stage.ckpt_path={tmp_path / 'first/model-2.pt'}"]
    assert train("radio_train.yaml", tmp_path / "run", dataset_root, *SECOND, *second) == 0
    weights = read_weights(tmp_path / "run/model-2.pt")
    assert weights["first_stage_model.post_quant_conv.weight"].shape == (5, 2, 1, 1)
    assert weights["model.final_conv.weight"].shape[0] == 2


def test_imported_run_is_sampled_and_evaluated(first, dataset_root, tmp_path, capsys):
    second = [*SECOND, f"model.first_stage.ckpt_path={first / 'model-2.pt'}"]
    assert train("radio_train.yaml", tmp_path / "run", dataset_root, *second) == 0
    words = ["reference", "import", str(tmp_path / "run/model-2.pt")]
    words += ["--config", str(FILES / "radio_train.yaml"), "--data", str(dataset_root)]
    for override in SECOND:
        words += ["--set", override]
    assert main([*words, "--out", str(tmp_path / "back")]) == 0
    pictures = tmp_path / "pictures"
    sample = ["sample", "--run-dir", str(tmp_path / "back"), "--out", str(pictures)]
    assert main([*sample, "--max-maps", "1"]) == 0
    before = {path: path.stat().st_mtime_ns for path in pictures.glob("*.png")}
    assert len(before) == 3
    assert main(sample) == 0  # goes on where it stopped
    assert "kept 3 maps" in capsys.readouterr().err
    assert len(list(pictures.glob("*.png"))) == 6
    assert {path: path.stat().st_mtime_ns for path in before} == before
    with Image.open(pictures / "103_0.png") as picture:
        assert (picture.mode, picture.size) == ("L", (32, 32))
    for more, message in (
        (["--steps", "3"], "other weights or settings"),
        (["--steps", "0"], "steps must be at least 1"),
        (["--max-maps", "0"], "max_maps must be at least 1"),
    ):
        assert main([*sample, *more]) == 2
        assert message in capsys.readouterr().err
    # An imported run is not trained over.
    stored = (tmp_path / "back/diffusion.safetensors").read_bytes()
    assert train("radio_train.yaml", tmp_path / "back", dataset_root, *second) == 2
    assert (tmp_path / "back/diffusion.safetensors").read_bytes() == stored
    results = tmp_path / "results"
    evaluate = ["evaluate", "--run-dir", str(tmp_path / "back"), "--out", str(results)]
    assert main(evaluate) == 2  # its validation maps are test maps
    assert "--allow-leak" in capsys.readouterr().err
    assert main([*evaluate, "--allow-leak"]) == 0
    stored = json.loads((results / "metrics.json").read_text(encoding="utf-8"))
    assert stored["trained_at"][0].startswith("imported from model-2.pt, sha256 ")
    assert stored["config"]["data"]["splits"] == "radiodiff-r24"
    assert main(["reference", "export", str(tmp_path / "back"), "--out", "x.zip"]) == 2
    assert "must end in .pt or .safetensors" in capsys.readouterr().err


def test_weights_to_start_from(first, dataset_root, tmp_path):
    """``model.ckpt_path`` in R24; with a rate of 0 the run ends with the weights it began with."""
    second = [*SECOND, f"model.first_stage.ckpt_path={first / 'model-2.pt'}"]
    assert train("radio_train.yaml", tmp_path / "a", dataset_root, *second) == 0
    begin = [f"model.ckpt_path={tmp_path / 'a/model-2.pt'}", "trainer.lr=0", "trainer.min_lr=0"]
    assert train("radio_train.yaml", tmp_path / "b", dataset_root, *second, *begin) == 0
    weights = [read_weights(tmp_path / run / "model-2.pt") for run in "ab"]
    trained = [k for k in weights[0] if not k.endswith(("running_mean", "running_var", "tracked"))]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in trained)


def test_a_whole_file_brings_its_autoencoder_and_scale(first, dataset_root, tmp_path):
    """What ``model.ckpt_path`` loads in R24, unless ``only_model``."""
    second = [*SECOND, f"model.first_stage.ckpt_path={first / 'model-2.pt'}"]
    assert train("radio_train.yaml", tmp_path / "a", dataset_root, *second) == 0
    content = torch.load(tmp_path / "a/model-2.pt", weights_only=True)["model"]
    content["scale_factor"] = torch.tensor(0.75)
    content["first_stage_model.quant_conv.bias"] += 1
    torch.save({"model": content}, tmp_path / "init.pt")
    begin = f"model.ckpt_path={tmp_path / 'init.pt'}"
    assert train("radio_train.yaml", tmp_path / "b", dataset_root, *SECOND, begin) == 0
    found = read_weights(tmp_path / "b/model-2.pt")
    assert found["scale_factor"] == 0.75
    key = "first_stage_model.quant_conv.bias"
    assert torch.equal(found[key], content[key])
    more = [begin, "model.only_model=true"]
    assert train("radio_train.yaml", tmp_path / "c", dataset_root, *second, *more) == 0
    found = read_weights(tmp_path / "c/model-2.pt")
    assert found["scale_factor"].item() == pytest.approx(0.3)
    assert torch.allclose(found[key], content[key] - 1, atol=1e-6)


def test_another_first_stage_needs_another_folder(first, dataset_root, tmp_path, capsys):
    run = tmp_path / "run"
    for milestone, code in ((2, 0), (1, 2)):
        path = f"model.first_stage.ckpt_path={first / f'model-{milestone}.pt'}"
        assert train("radio_train.yaml", run, dataset_root, *SECOND, path) == code
    assert "started from other weights" in capsys.readouterr().err
    # Nothing is written into a folder that holds something else.
    before = sorted(path.name for path in first.iterdir())
    assert train("radio_train.yaml", first, dataset_root, *SECOND, path) == 2
    assert sorted(path.name for path in first.iterdir()) == before


def test_pretrained_encoder(first, dataset_root, tmp_path, capsys):
    """torchvision's names; without the file a line says what to do."""
    second = [*SECOND, f"model.first_stage.ckpt_path={first / 'model-2.pt'}"]
    second += ["model.unet.without_pretrain=false", "trainer.lr=0", "trainer.min_lr=0"]
    assert train("radio_train.yaml", tmp_path / "a", dataset_root, *second) == 2
    assert "swin_b-68c6b09e.pth" in capsys.readouterr().err
    overrides = {"overrides": SECOND}
    config = read_reference_config(FILES / "radio_train.yaml", data_root="x", **overrides).config
    encoder = UNet(config.network).condition_encoder
    published = encoder.state_dict() | {"head.weight": torch.zeros(1000, 64)}
    torch.save(published, tmp_path / "swin.pth")
    more = ["--encoder-weights", str(tmp_path / "swin.pth")]
    assert train("radio_train.yaml", tmp_path / "a", dataset_root, *second, more=more) == 0
    found = RadioDiffPipeline.from_run(tmp_path / "a").network.condition_encoder.state_dict()
    assert all(torch.equal(found[key], value) for key, value in encoder.state_dict().items())
    torch.save({"features.0.0.weight": torch.zeros(1)}, tmp_path / "swin.pth")
    assert train("radio_train.yaml", tmp_path / "b", dataset_root, *second, more=more) == 2
    assert "does not fit the condition encoder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([], "model.first_stage.ckpt_path is empty"),
        (["model.first_stage.ckpt_path=none.pt"], "no file none.pt"),
        (["trainer.resume_milestone=3"], "needs trainer.enable_resume"),
        (["model.unet.cond_net=resnet"], "torchvision"),
    ],
)
def test_what_cannot_run_says_so(dataset_root, tmp_path, capsys, monkeypatch, overrides, message):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    run = tmp_path / "run"
    assert train("radio_train.yaml", run, dataset_root, *SECOND, *overrides) == 2
    assert message in capsys.readouterr().err
    assert not (run / "diffusion").exists()


def test_options_that_do_not_belong_together(tmp_path, capsys):
    assert main(["train", "--config", "smoke", "--data", "x", "--profile", "R24"]) == 2
    assert "--data, --profile belongs to --reference" in capsys.readouterr().err
    assert main(["train", "--reference", str(FILES / "radio_train.yaml")]) == 2
    assert "--reference needs --data" in capsys.readouterr().err


def test_batch_is_that_of_all_processes(monkeypatch):
    run = read_reference_config(FILES / "radio_train.yaml", data_root="x", profile=R24)
    assert _adapted(run, 3).training.batch_size == 22
    with pytest.raises(ConfigError, match="multiple of their number, 4"):
        _adapted(run, 4)


def test_edges_train_from_the_public_codes_files(tmp_path):
    """Both stages, then edges for pictures of another size, window by window."""
    root = write_edges(tmp_path / "edges")
    edge = "data={name: edge, batch_size: 2, num_workers: 0, augment_horizontal_flip: true}"
    window = "sampler={crop_size: [32, 32], stride: [32, 32]}"
    first, second = tmp_path / "first", tmp_path / "second"
    size = "model.ddconfig.resolution=[32, 32]"
    assert train("first_radio.yaml", first, root, *FIRST, edge, size) == 0
    more = [f"model.first_stage.ckpt_path={first / 'model-1.pt'}", "model.image_size=[32, 32]"]
    assert train("radio_train.yaml", second, root, edge, *SECOND, *more, window) == 0
    assert (second / "model-1.pt").is_file()
    assert main(["sample", "--run-dir", str(second), "--out", str(tmp_path / "drawn")]) == 0
    assert {path.name for path in (tmp_path / "drawn").glob("*.png")} == {"a.png", "b.png"}


def test_five_channels_train_from_the_public_codes_file(variants_root, tmp_path):
    """DPMCARK: cars and twice the k² map; exported, the weights have the public code's names."""
    assert train("first_radio.yaml", tmp_path / "first", variants_root, *FIRST) == 0
    cars = ["data.name=DPMCARK", "model.unet.DPMCARK=true"]
    cars += [f"model.first_stage.ckpt_path={tmp_path / 'first/model-1.pt'}"]
    run = tmp_path / "run"
    assert train("radio_train_r25.yaml", run, variants_root, *SECOND, *cars) == 0
    state = read_weights(run / "model-1.pt")
    assert state["model.init_conv_carK.weight"].shape == (3, 5, 1, 1)
    assert (variants_root / "features/k2/carsDPM/159_0.png").is_file()
