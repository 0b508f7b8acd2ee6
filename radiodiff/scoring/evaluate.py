"""Judge predictors on radio maps of cities they never saw."""

import dataclasses
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from radiodiff import units
from radiodiff.config import EvaluateConfig
from radiodiff.data import RadioMapSample
from radiodiff.data.loading import sound_batches
from radiodiff.predictors.base import Predictor, check_scale, mean_of_samples
from radiodiff.scoring.intervals import summary, tile_means, tile_picks
from radiodiff.scoring.journal import Journal
from radiodiff.scoring.probabilistic import SAMPLE_SCORES
from radiodiff.scoring.protocols import PROTOCOLS, MapSums, Protocol, map_sums, reduce_sums

__all__ = ["check_protocols", "evaluate", "score_maps", "score_samples"]

logger = logging.getLogger(__name__)


def score_maps(path_gain_db: Tensor, batch: RadioMapSample, protocol: Protocol) -> MapSums:
    """Return what a protocol needs of each map of a batch.

    Args:
        path_gain_db: Predictions [dB], shape ``(b, 1, h, w)``.
        batch: Collated truth.
        protocol: The rule.

    Raises:
        ValueError: If the truth is not path gain on the scale of the files.
    """
    check_scale(batch)
    prediction = units.path_gain_db_to_gray(path_gain_db.double().cpu())
    target = units.model_to_gray(batch.radio_map.double())
    return map_sums(prediction, target, batch.outdoor_mask, protocol)


def score_samples(path_gain_db: Tensor, batch: RadioMapSample) -> dict[str, np.ndarray]:
    """Return the scores of samples of each map over its outdoor cells, each of shape ``(b,)``.

    Args:
        path_gain_db: Samples [dB], held to the scale of the files here, shape ``(b, k, h, w)``.
        batch: Collated truth.

    Returns:
        Name of a score in `radiodiff.scoring.SAMPLE_SCORES` to its values; those are left out
        that need more samples.

    Raises:
        ValueError: If the truth is not path gain on the scale of the files.
    """
    check_scale(batch)
    drawn = path_gain_db.double().cpu().clamp(units.FLOOR_DB, units.PEAK_DB).numpy()
    truth = units.model_to_path_gain_db(batch.radio_map[:, 0].double()).numpy()
    outdoor = batch.outdoor_mask[:, 0].numpy()
    cells = [(x[:, mask], y[mask]) for x, y, mask in zip(drawn, truth, outdoor, strict=True)]
    return {
        name: np.array([score.of_map(*one) for one in cells])
        for name, score in SAMPLE_SCORES.items()
        if score.least <= drawn.shape[1]
    }


def check_protocols(names: Sequence[str]) -> None:
    """Raise a `ValueError` unless all names are protocols, and there is one."""
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown or not names:
        raise ValueError(f"expected protocols among {', '.join(PROTOCOLS)}, got {list(names)}")


def evaluate(
    predictors: Mapping[str, Predictor],
    dataset: Dataset[RadioMapSample],
    config: EvaluateConfig,
    *,
    protocols: Sequence[str] = tuple(PROTOCOLS),
    journal: Journal | None = None,
) -> dict[str, Any]:
    """Score predictors on a dataset, under one or several protocols.

    Args:
        predictors: Name to predictor; the first is compared with each of the others.
        dataset: Maps of the split that is judged.
        config: Samples of each map, batch size, resamples and seed.
        protocols: Names of protocols, see `radiodiff.scoring.protocols.PROTOCOLS`.
        journal: Keeps the numbers of each batch; batches that it has are not scored again.

    Returns:
        ``tiles``, ``maps`` and ``protocols``: name → ``meaning``, ``rule`` (its fields) and
        ``scores`` (method → metric → ``value``, with ``low`` and ``high`` where the protocol has
        intervals). ``city`` also has ``differences`` (method → RMSE [dB] of the first method minus
        its, paired by tile). If a predictor gives several samples there is also ``samples``: name
        of a score in `radiodiff.scoring.SAMPLE_SCORES` → method → ``value``, ``low`` and ``high``,
        means over the transmitters of a tile, then over tiles, and ``count`` → method → samples.

    Raises:
        ValueError: If there is no such protocol, or the maps are not path gain on the scale of
            the files.
    """
    check_protocols(protocols)
    journal = journal or Journal()
    start = len(journal.rows) * config.batch_size
    if start:
        logger.info("kept the scores of %d maps", min(start, len(dataset)))
    left = Subset(dataset, range(start, len(dataset))) if start else dataset
    began = time.monotonic()
    for batch in sound_batches(DataLoader(left, batch_size=config.batch_size)):
        row = _scored(batch, predictors, config, protocols)
        now = time.monotonic()
        journal.append(row | {"seconds": now - began})
        began = now
        done = len(journal.rows) * config.batch_size
        logger.info("evaluated %d of %d maps", min(done, len(dataset)), len(dataset))
    rows = journal.rows
    parts = {
        (protocol, method): [MapSums(*map(_doubles, row["sums"][protocol][method])) for row in rows]
        for protocol in protocols
        for method in predictors
    }
    drawn = {
        method: [{k: np.array(v) for k, v in row["samples"][method].items()} for row in rows]
        for method in predictors
    }
    names = [name for row in rows for name in row["names"]]
    count = rows[-1]["count"]
    tiles = [name.split("_")[0] for name in names]
    result = {"tiles": len(set(tiles)), "maps": len(names)}
    result["protocols"] = {
        protocol: _numbers(
            PROTOCOLS[protocol],
            {method: parts[protocol, method] for method in predictors},
            tiles,
            config,
        )
        for protocol in protocols
    }
    if max(count.values()) > 1:
        result["samples"] = {"count": count, **_summaries(drawn, tiles, config)}
    return result


def _scored(
    batch: RadioMapSample,
    predictors: Mapping[str, Predictor],
    config: EvaluateConfig,
    protocols: Sequence[str],
) -> dict[str, Any]:
    """Return what one batch adds to the result, as JSON holds it to the last bit."""
    row: dict[str, Any] = {"names": list(batch.name), "count": {}, "samples": {}}
    row["sums"] = {protocol: {} for protocol in protocols}
    for method, predictor in predictors.items():
        path_gain_db = predictor(batch.scene, samples=config.samples, seed=config.seed)
        row["count"][method] = path_gain_db.shape[1]
        scores = score_samples(path_gain_db, batch) if config.samples > 1 else {}
        row["samples"][method] = {name: values.tolist() for name, values in scores.items()}
        mean_db = mean_of_samples(path_gain_db)
        for protocol in protocols:
            sums = score_maps(mean_db, batch, PROTOCOLS[protocol])
            row["sums"][protocol][method] = [values.tolist() for values in sums]
    return row


def _doubles(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _numbers(
    rule: Protocol,
    parts: Mapping[str, Sequence[MapSums]],
    tiles: Sequence[str],
    config: EvaluateConfig,
) -> dict[str, Any]:
    """Return what one protocol makes of the sums of each method."""
    has_intervals = rule.reduction == "tiles"
    # The same resamples for every method, so differences are paired.
    values = {
        method: reduce_sums(
            MapSums(*map(torch.cat, zip(*batches, strict=True))),
            tiles,
            rule,
            resamples=config.bootstrap if has_intervals else 0,
            rng=np.random.default_rng(config.seed),
        )
        for method, batches in parts.items()
    }
    found = {
        "meaning": str(rule),
        "rule": dataclasses.asdict(rule),
        "scores": {
            method: {metric: summary(column) for metric, column in columns.items()}
            for method, columns in values.items()
        },
    }
    if has_intervals:
        first, *others = values
        found["differences"] = {
            other: summary(values[first]["rmse_db"] - values[other]["rmse_db"]) for other in others
        }
    return found


def _summaries(
    parts: Mapping[str, Sequence[Mapping[str, np.ndarray]]],
    tiles: Sequence[str],
    config: EvaluateConfig,
) -> dict[str, dict[str, dict[str, float]]]:
    """Return score → method → value and interval, of batches of scores of samples."""
    rng = np.random.default_rng(config.seed)
    index, picks = tile_picks(tiles, resamples=config.bootstrap, rng=rng)
    return {
        name: {
            method: summary(tile_means(np.concatenate([p[name] for p in of_method]), index, picks))
            for method, of_method in parts.items()
            if name in of_method[0]
        }
        for name in SAMPLE_SCORES
    }
