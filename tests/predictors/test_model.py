"""A trained pipeline as a predictor: its noise is a function of name, number and seed."""

import zlib

import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from radiodiff.models import AutoencoderKL, UNet
from radiodiff.predictors import PipelinePredictor, RadioDiffPipeline, dataset_conditions, model
from radiodiff.predictors.pipeline import map_generators
from radiodiff.scene import stack_scenes


@pytest.fixture
def pipeline(tiny):
    torch.manual_seed(0)
    return RadioDiffPipeline(AutoencoderKL(tiny.autoencoder), UNet(tiny.network), 1.0, tiny)


def test_noise_may_be_shared(pipeline, training):
    """D17: with one noise for all maps, equal conditions give equal maps."""
    scene = training[0].scene
    twice = stack_scenes([scene, scene._replace(name="another")])
    for shared in (False, True):
        first, second = PipelinePredictor(pipeline, shared_noise=shared)(twice)
        assert torch.allclose(first, second, atol=1e-3) == shared


def test_a_sample_depends_on_name_number_and_seed_alone(pipeline, training):
    scenes = default_collate([sample.scene for sample in training])
    predict = PipelinePredictor(pipeline)
    few, many = (predict(scenes, samples=k) for k in (2, 3))
    assert (many.shape[:2], many.dtype) == ((len(training), 3), torch.float64)
    assert torch.allclose(many[:, :2], few, atol=1e-3)
    assert not torch.allclose(many[:, 0], many[:, 1], atol=1e-3)
    alone = predict(stack_scenes([training[1].scene]), samples=3)
    assert torch.allclose(alone[0], many[1], rtol=0, atol=1e-3)
    assert torch.equal(predict(scenes, samples=3), many)
    assert not torch.allclose(predict(scenes, samples=2, seed=1), few, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 2, 5, 100])
def test_a_sample_does_not_depend_on_what_it_is_drawn_with(pipeline, training, monkeypatch, rows):
    """Parts end where they may, in the middle of a map's samples too."""
    scenes = default_collate([sample.scene for sample in training])
    monkeypatch.setattr(model, "_CPU_CELLS", 32 * 32 * rows + 5)
    drawn, draw = [], model.draw_maps
    monkeypatch.setattr(
        model, "draw_maps", lambda *args, **more: drawn.append(args[2]) or draw(*args, **more)
    )
    found = PipelinePredictor(pipeline)(scenes, samples=3)
    assert [len(part) for part in drawn] == [min(rows, 18 - k) for k in range(0, 18, rows)]
    for m, name in enumerate(scenes.name):
        condition = pipeline.condition(stack_scenes([training[m].scene]))
        for k in range(3):
            alone = pipeline.path_gain_db(draw(pipeline, condition, [(name, k)]))[0, 0].double()
            assert torch.allclose(found[m, k], alone, rtol=0, atol=1e-3)


def test_few_maps_are_drawn_together_where_they_are_large():
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert [model.rows_at_once(cpu, (n, n)) for n in (32, 64, 256, 1000)] == [128, 32, 2, 1]
    assert [model.rows_at_once(gpu, (n, n)) for n in (64, 256, 4000)] == [1024, 64, 1]


def test_noise_of_a_map_follows_name_and_seed():
    """Large seeds too: a CPU generator heeds 32 bits alone, and 0 is what published runs used."""
    seeds = (0, 1, 2, 2**31, 2**32 - 1)
    drawn = {
        (name, seed): torch.randn(3, generator=map_generators([name], seed)[0])
        for name in ("1_0/0", "1_0/1", "10_0/0")
        for seed in seeds
    }
    assert len({tuple(noise.tolist()) for noise in drawn.values()}) == len(drawn)
    plain = torch.Generator().manual_seed(zlib.crc32(b"1_0/1"))
    assert torch.equal(drawn["1_0/1", 0], torch.randn(3, generator=plain))


def test_conditions_of_the_dataset_are_those_of_the_scenes(pipeline, training):
    """Bit by bit, here where the dataset computes nothing that scenes do not tell."""
    scenes = next(iter(DataLoader(training, batch_size=4, shuffle=True))).scene
    looked_up = PipelinePredictor(pipeline, conditions=dataset_conditions(training))
    assert torch.equal(looked_up(scenes, samples=2), PipelinePredictor(pipeline)(scenes, samples=2))
