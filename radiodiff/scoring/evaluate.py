"""Judge predictors on radio maps of cities they never saw."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from radiodiff import units
from radiodiff.config import EvaluateConfig
from radiodiff.data import RadioMapSample
from radiodiff.predictors.base import Predictor, check_scale
from radiodiff.scoring.intervals import summary
from radiodiff.scoring.protocols import PROTOCOLS, MapSums, Protocol, map_sums, reduce_sums

__all__ = ["check_protocols", "evaluate", "score_maps"]

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
) -> dict[str, Any]:
    """Score predictors on a dataset, under one or several protocols.

    Args:
        predictors: Name to predictor; the first is compared with each of the others.
        dataset: Maps of the split that is judged.
        config: Batch size, resamples and seed.
        protocols: Names of protocols, see `radiodiff.scoring.protocols.PROTOCOLS`.

    Returns:
        ``tiles``, ``maps`` and ``protocols``: name → ``meaning``, ``rule`` (its fields) and
        ``scores`` (method → metric → ``value``, with ``low`` and ``high`` where the protocol has
        intervals). ``city`` also has ``differences`` (method → RMSE [dB] of the first method minus
        its, paired by tile).

    Raises:
        ValueError: If there is no such protocol, or the maps are not path gain on the scale of
            the files.
    """
    check_protocols(protocols)
    parts: dict[tuple[str, str], list[MapSums]] = {
        (protocol, method): [] for protocol in protocols for method in predictors
    }
    names: list[str] = []
    loader = DataLoader(dataset, batch_size=config.batch_size)
    for number, batch in enumerate(loader, start=1):
        names += batch.name
        for method, predictor in predictors.items():
            path_gain_db = predictor(batch)
            for protocol in protocols:
                sums = score_maps(path_gain_db, batch, PROTOCOLS[protocol])
                parts[protocol, method].append(sums)
        logger.info(
            "evaluated %d of %d maps", min(number * config.batch_size, len(dataset)), len(dataset)
        )
    tiles = [name.split("_")[0] for name in names]
    result = {"tiles": len(set(tiles)), "maps": len(names), "protocols": {}}
    for protocol in protocols:
        rule = PROTOCOLS[protocol]
        # The same resamples for every method, so differences are paired.
        values = {
            method: reduce_sums(
                MapSums(*map(torch.cat, zip(*parts[protocol, method], strict=True))),
                tiles,
                rule,
                resamples=config.bootstrap if rule.reduction == "tiles" else 0,
                rng=np.random.default_rng(config.seed),
            )
            for method in predictors
        }
        found = result["protocols"][protocol] = {
            "meaning": str(rule),
            "rule": dataclasses.asdict(rule),
            "scores": {
                method: {metric: summary(column) for metric, column in columns.items()}
                for method, columns in values.items()
            },
        }
        if rule.reduction == "tiles":
            first, *others = values
            found["differences"] = {
                other: summary(values[first]["rmse_db"] - values[other]["rmse_db"])
                for other in others
            }
    return result
