"""The public code's configuration files: their meaning, profiles, refusals."""

import logging
from dataclasses import replace

import pytest

from radiodiff.data import DataConfig, EdgesConfig
from radiodiff.models import AutoencoderConfig
from radiodiff.reference import R24, R25, read_reference_config
from tests.reference.cases import edited, read


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
        ("model.model_name=3", "model_name must be one of"),
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
    (tmp_path / "bad.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ValueError, match="not valid YAML"):
        read_reference_config(tmp_path / "bad.yaml", data_root="data")
    for text in ("[1, 2]", ""):
        (tmp_path / "list.yaml").write_text(text, encoding="utf-8")
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
