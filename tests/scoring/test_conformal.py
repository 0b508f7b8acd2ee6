"""Conformal bounds: hand-computed ranks, and the promised coverage on exchangeable tiles."""

import numpy as np
import pytest

from radiodiff.scoring import conformal_bound, tile_scores


@pytest.mark.parametrize(
    ("count", "level", "rank"),
    [(9, 0.9, 9), (10, 0.9, 10), (19, 0.9, 18), (99, 0.9, 90), (9, 0.5, 5), (4, 0.8, 4)],
)
def test_bound_is_the_score_of_this_rank(count, level, rank):
    """``ceil((n + 1) level)``: of nine scores the ninth for 90 %, of 99 the ninetieth."""
    scores = np.random.default_rng(0).permutation(np.arange(1.0, count + 1))
    assert conformal_bound(scores, level=level) == rank


def test_too_few_tiles_promise_nothing():
    assert conformal_bound(np.arange(8.0), level=0.9) == np.inf
    assert conformal_bound(np.arange(9.0), level=0.9) == 8


def test_score_of_a_tile_holds_its_share():
    misfits = np.array([5.0, 1, 4, 2, 3, 10, 30, 20, 40])
    tiles = list("aaaaabbbb")
    assert tile_scores(misfits, tiles, share=0.8).tolist() == [4, 40]
    assert tile_scores(misfits, tiles, share=0.5).tolist() == [3, 20]
    assert tile_scores(misfits, tiles, share=1).tolist() == [5, 40]
    mixed = np.random.default_rng(0).permutation(9)
    found = tile_scores(misfits[mixed], [tiles[k] for k in mixed], share=0.8)
    assert sorted(found) == [4, 40]


@pytest.mark.parametrize(("count", "level"), [(9, 0.9), (12, 0.8), (30, 0.9)])
def test_promise_is_kept_on_exchangeable_tiles(count, level):
    """On tiles that err together, each in its own size: ``level``, and at most 1 / (n + 1) more.

    Bounds per cell, blind to tiles, would not do: one tile's cells are no fresh evidence.
    """
    rng = np.random.default_rng(2)
    trials, cells, share = 1500, 40, 0.9
    kept = []
    for _ in range(trials):
        size = rng.lognormal(0, 0.7, count + 1)
        misfits = np.abs(size[:, None] * rng.normal(size=(count + 1, cells)))
        tiles = np.repeat(np.arange(count), cells).astype(str)
        bound = conformal_bound(tile_scores(misfits[:-1].ravel(), tiles, share=share), level=level)
        kept.append(np.mean(misfits[-1] <= bound) >= share)
    error = 3 * np.sqrt(level * (1 - level) / trials)
    assert level - error <= np.mean(kept) <= level + 1 / (count + 1) + error


def test_impossible_input_is_refused():
    with pytest.raises(ValueError, match="a tile for each cell, got 1 for 2"):
        tile_scores(np.zeros(2), ["a"])
    with pytest.raises(ValueError, match="share must lie in"):
        tile_scores(np.zeros(2), ["a", "b"], share=0)
    with pytest.raises(ValueError, match="level must lie in"):
        conformal_bound(np.zeros(2), level=1)
    with pytest.raises(ValueError, match="got none"):
        conformal_bound(np.zeros(0))
