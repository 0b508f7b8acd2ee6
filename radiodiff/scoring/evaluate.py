"""Judge predictors on radio maps of cities they never saw."""

import dataclasses
import logging
import pickle
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from radiodiff import units
from radiodiff.config import EvaluateConfig
from radiodiff.data import RadioMapSample
from radiodiff.predictors.base import Predictor, check_scale, mean_of_samples
from radiodiff.predictors.model import PipelinePredictor
from radiodiff.progress import show_progress
from radiodiff.scoring.intervals import summary, tile_means, tile_picks
from radiodiff.scoring.journal import Journal
from radiodiff.scoring.probabilistic import SAMPLE_SCORES
from radiodiff.scoring.protocols import PROTOCOLS, MapSums, Protocol, map_sums, reduce_sums
from radiodiff.workers import run_jobs

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
    workers: int = 1,
) -> dict[str, Any]:
    """Score predictors on a dataset, under one or several protocols.

    Args:
        predictors: Name to predictor; the first is compared with each of the others.
        dataset: Maps of the split that is judged.
        config: Samples of each map, batch size, resamples and seed.
        protocols: Names of protocols, see `radiodiff.scoring.protocols.PROTOCOLS`.
        journal: Keeps the numbers of each batch; batches that it has are not scored again.
        workers: Processes that predict and score; the result does not depend on it. With more
            than one, predictors that cannot be pickled, or draw on a GPU, stay in this process
            and work beside the others. Callers need the usual ``if __name__ == "__main__"``
            guard then, as processes are spawned.

    Returns:
        ``tiles``, ``maps`` and ``protocols``: name → ``meaning``, ``rule`` (its fields) and
        ``scores`` (method → metric → ``value``, with ``low`` and ``high`` where the protocol has
        intervals). ``city`` also has ``differences`` (method → RMSE [dB] of the first method minus
        its, paired by tile). If a predictor gives several samples there is also ``samples``: name
        of a score in `radiodiff.scoring.SAMPLE_SCORES` → method → ``value``, ``low`` and ``high``,
        means over the transmitters of a tile, then over tiles, and ``count`` → method → samples.

    Raises:
        ValueError: If there is no such protocol, the maps are not path gain on the scale of the
            files, or ``workers`` is below 1.
        OSError: If a worker process is killed; what is scored is in the journal.
    """
    check_protocols(protocols)
    if workers < 1:
        raise ValueError(f"expected workers >= 1, got {workers}")
    journal = Journal() if journal is None else journal
    try:
        _score_batches(_Scorer(dataset, predictors, config, protocols), journal, workers)
    except BrokenExecutor as error:
        raise OSError(
            "a worker process was killed (out of memory?): take fewer workers or a smaller batch; "
            "what is scored is kept, and the same call goes on from there"
        ) from error
    rows = sorted(journal.rows, key=lambda row: row["start"])
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


@dataclass(frozen=True)
class _Scorer:
    """What scores a batch, in whatever process."""

    dataset: Dataset[RadioMapSample]
    predictors: Mapping[str, Predictor]
    config: EvaluateConfig
    protocols: Sequence[str]

    def only(self, methods: Sequence[str]) -> "_Scorer":
        """Return what scores some of the predictors."""
        chosen = {method: self.predictors[method] for method in methods}
        return dataclasses.replace(self, predictors=chosen)

    def batch(self, start: int) -> RadioMapSample:
        """Read the batch that begins at a place of the dataset."""
        places = range(start, min(start + self.config.batch_size, len(self.dataset)))
        return default_collate([self.dataset[place] for place in places])

    def movable(self) -> list[str]:
        """Return which predictors another process can ask."""
        return [method for method, one in self.predictors.items() if _is_movable(one)]


def _is_movable(predictor: Predictor) -> bool:
    """Whether another process can ask a predictor: it can be pickled, and needs no GPU."""
    if isinstance(predictor, PipelinePredictor) and predictor.pipeline.device.type != "cpu":
        return False
    try:
        pickle.dumps(predictor)
    except (AttributeError, TypeError, pickle.PicklingError):
        return False
    return True


def _score_batches(scorer: _Scorer, journal: Journal, workers: int) -> None:
    """Score the batches that the journal lacks, and note each one there."""
    count, size = len(scorer.dataset), scorer.config.batch_size
    noted = {row["start"] for row in journal.rows}
    left = [start for start in range(0, count, size) if start not in noted]
    done = count - sum(min(size, count - start) for start in left)
    if done:
        logger.info("kept the scores of %d maps", done)
    everywhere = scorer.movable() if workers > 1 else list(scorer.predictors)
    elsewhere = scorer.only(everywhere)
    here = scorer.only([method for method in scorer.predictors if method not in everywhere])
    if not everywhere:  # then there is nothing for other processes to do
        elsewhere, here, workers = here, elsewhere, 1
    began = time.monotonic()
    with show_progress("evaluated", "maps") as progress:
        progress(done, count)
        for number, row in run_jobs(_scored, [(start,) for start in left], workers, elsewhere):
            if here.predictors:
                own = _scored(here, left[number])
                row = _joined(row, own, list(scorer.predictors))
            now = time.monotonic()
            journal.append(row | {"seconds": now - began})
            began = now
            done += len(row["names"])
            progress(done, count)


def _scored(scorer: _Scorer, start: int) -> dict[str, Any]:
    """Return what one batch adds to the result, as JSON holds it to the last bit."""
    batch, config, protocols = scorer.batch(start), scorer.config, scorer.protocols
    row: dict[str, Any] = {"start": start, "names": list(batch.name), "count": {}, "samples": {}}
    row["sums"] = {protocol: {} for protocol in protocols}
    for method, predictor in scorer.predictors.items():
        path_gain_db = predictor(batch.scene, samples=config.samples, seed=config.seed)
        row["count"][method] = path_gain_db.shape[1]
        scores = score_samples(path_gain_db, batch) if config.samples > 1 else {}
        row["samples"][method] = {name: values.tolist() for name, values in scores.items()}
        mean_db = mean_of_samples(path_gain_db)
        for protocol in protocols:
            sums = score_maps(mean_db, batch, PROTOCOLS[protocol])
            row["sums"][protocol][method] = [values.tolist() for values in sums]
    return row


def _joined(row: dict[str, Any], other: dict[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """Return two rows of one batch as one, with the methods in their order."""

    def both(key: str) -> dict[str, Any]:
        found = row[key] | other[key]
        return {method: found[method] for method in methods}

    sums = {name: {**row["sums"][name], **other["sums"][name]} for name in row["sums"]}
    return row | {"count": both("count"), "samples": both("samples"), "sums": sums}


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
