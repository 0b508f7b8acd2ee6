"""Judge a model and its baselines on radio maps of cities it never saw."""

import dataclasses
import functools
import logging
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from radiodiff import units
from radiodiff.config import EvaluateConfig
from radiodiff.data import RadioMapSample
from radiodiff.pipeline import RadioDiffPipeline, map_generators
from radiodiff.protocols import PROTOCOLS, MapSums, Protocol, map_sums, reduce_sums
from radiodiff.simulate import DominantPath, trace_outlines
from radiodiff.simulate.outlines import clear_round

__all__ = [
    "Baselines",
    "bootstrap_interval",
    "dominant_path_predictor",
    "evaluate",
    "format_table",
]

logger = logging.getLogger(__name__)

_MAX_BASELINE_MAPS = 2000

#: Maps collated samples to path gain [dB], shape ``(b, 1, h, w)``.
Predictor = Callable[[RadioMapSample], Tensor]


def transmitter_distance_cells(condition: Tensor) -> Tensor:
    """Return the distance of each cell to the transmitter, held at 1 or more [cells].

    Args:
        condition: Second channel is one at the transmitter, shape ``(b, k, h, w)``.

    Returns:
        Distances, shape ``(b, 1, h, w)``.
    """
    b, _, h, w = condition.shape
    place = condition[:, 1].reshape(b, -1).argmax(1)
    rows = torch.arange(h).view(1, h, 1) - (place // w).view(b, 1, 1)
    cols = torch.arange(w).view(1, 1, w) - (place % w).view(b, 1, 1)
    return (rows.square() + cols.square()).sqrt().clamp_min(1)[:, None]


@dataclasses.dataclass(frozen=True)
class Baselines:
    """Predictors that know no buildings, fitted on training maps.

    Attributes:
        mean_map_db: Mean path gain of each cell over the maps where it is outdoors [dB], shape
            ``(1, h, w)``; the mean over all cells where it never is.
        offset_db: Path gain at a distance of one cell [dB].
        slope_db: Change of path gain per decade of distance [dB].
    """

    mean_map_db: Tensor
    offset_db: float
    slope_db: float

    @classmethod
    def fit(cls, dataset: Dataset[RadioMapSample]) -> "Baselines":
        """Fit on at most 2000 maps spread evenly over a dataset.

        The distance law ``offset + slope log10(distance)`` is the least-squares fit over outdoor
        cells: the best that distance alone can do.

        Raises:
            ValueError: If the maps are not path gain on the scale of the files.
        """
        count = min(len(dataset), _MAX_BASELINE_MAPS)
        chosen = np.linspace(0, len(dataset) - 1, count).astype(int)
        total, seen, normal, moment = 0, 0, np.zeros((2, 2)), np.zeros(2)
        for batch in DataLoader(Subset(dataset, chosen.tolist()), batch_size=16):
            _check_scale(batch)
            gain_db = units.model_to_path_gain_db(batch.radio_map).double()
            outdoor = batch.outdoor_mask
            total = total + (gain_db * outdoor).sum(0)
            seen = seen + outdoor.sum(0)
            x = transmitter_distance_cells(batch.condition).double().log10()[outdoor].numpy()
            design = np.stack([np.ones_like(x), x])
            normal += design @ design.T
            moment += design @ gain_db[outdoor].numpy()
        offset, slope = np.linalg.solve(normal, moment)
        mean_map_db = torch.where(seen > 0, total / seen.clamp_min(1), total.sum() / seen.sum())
        return cls(mean_map_db, float(offset), float(slope))

    def predictors(self) -> dict[str, Predictor]:
        """Return the baselines by name."""
        return {
            "mean training map": lambda batch: self.mean_map_db.expand_as(batch.radio_map),
            "distance law": lambda batch: (
                self.offset_db
                + self.slope_db * transmitter_distance_cells(batch.condition).double().log10()
            ),
        }


def dominant_path_predictor(cell_size_m: float) -> Predictor:
    """Return the simulator's dominant path over the buildings that the network sees as a predictor.

    It knows the raster of the buildings and the transmitter, nothing else, and learns nothing: on
    maps that the same engine made over the exact outlines its error is that of the raster.

    Args:
        cell_size_m: Side of a cell of the judged maps [m].
    """

    @functools.lru_cache(maxsize=4)
    def engine(mask: bytes, size: int) -> DominantPath:
        building_mask = np.frombuffer(mask, dtype=bool).reshape(size, size)
        return DominantPath(trace_outlines(building_mask, cell_size_m), size, cell_size_m)

    def predict(batch: RadioMapSample) -> Tensor:
        size = batch.condition.shape[-1]
        maps = []
        for buildings, transmitter in batch.condition[:, :2].numpy() > 0:
            cell = np.unravel_index(transmitter.argmax(), transmitter.shape)
            place_m = units.cell_to_m(cell, size=size, cell_size_m=cell_size_m)
            try:
                gain = engine(buildings.tobytes(), size).path_gain_db(place_m)
            except ValueError:  # smoothed outlines may reach the transmitter: leave it room
                room = clear_round(buildings, cell)
                gain = engine(room.tobytes(), size).path_gain_db(place_m)
            maps.append(np.nan_to_num(gain, nan=units.FLOOR_DB, neginf=units.FLOOR_DB))
        return torch.from_numpy(np.stack(maps))[:, None]

    return predict


def model_predictor(pipeline: RadioDiffPipeline, config: EvaluateConfig) -> Predictor:
    """Return the mean path gain of several samples as a predictor.

    The samples of one map are drawn together and apart from other maps, and their noise is a
    function of the map's name and the seed: the last digit does not depend on the batch size.
    """

    def predict(batch: RadioMapSample) -> Tensor:
        maps = []
        for name, condition in zip(batch.name, batch.condition, strict=True):
            drawn = draw_maps(
                pipeline,
                condition.expand(config.samples, *condition.shape),
                [(name, k) for k in range(config.samples)],
                config,
            )
            maps.append(pipeline.path_gain_db(drawn).double().mean(0).cpu())
        return torch.stack(maps)

    return predict


def draw_maps(
    pipeline: RadioDiffPipeline,
    condition: Tensor,
    draws: Sequence[tuple[str, int]],
    config: EvaluateConfig,
) -> Tensor:
    """Return a radio map in [-1, 1] for each condition, shape ``(b, 1, h, w)``.

    Args:
        pipeline: The model.
        condition: Channels in [0, 1], shape ``(b, k, h, w)``.
        draws: Name of the map and number of the sample of each condition; they seed its noise.
        config: Steps, seed, and whether all maps share their noise.
    """
    names = [f"{'' if config.shared_noise else name}/{number}" for name, number in draws]
    generators = map_generators(names, config.seed)
    return pipeline.radio_maps(condition, steps=config.steps, generator=generators)


def _check_scale(batch: RadioMapSample) -> None:
    """Raise unless a batch holds path gain on the scale of the files, as all protocols need."""
    if (batch.threshold != 0).any():  # NaN is not 0 either
        raise ValueError(
            f"{batch.name[0]}: scores are defined for path gain on the scale of RadioMapSeer's "
            "files; this dataset is thresholded or has no known scale in dB (data.threshold, "
            "data.source). Use data.threshold=0, or look at samples with `radiodiff sample`"
        )


def score_maps(path_gain_db: Tensor, batch: RadioMapSample, protocol: Protocol) -> MapSums:
    """Return what a protocol needs of each map of a batch.

    Args:
        path_gain_db: Predictions [dB], shape ``(b, 1, h, w)``.
        batch: Collated truth.
        protocol: The rule.

    Raises:
        ValueError: If the truth is not path gain on the scale of the files.
    """
    _check_scale(batch)
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
        protocols: Names of protocols, see `radiodiff.protocols.PROTOCOLS`.

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
                method: {metric: _summary(column) for metric, column in columns.items()}
                for method, columns in values.items()
            },
        }
        if rule.reduction == "tiles":
            first, *others = values
            found["differences"] = {
                other: _summary(values[first]["rmse_db"] - values[other]["rmse_db"])
                for other in others
            }
    return result


def bootstrap_interval(
    values: np.ndarray, *, resamples: int, rng: np.random.Generator, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean over tiles.

    Args:
        values: One value a tile, shape ``(n,)``.
        resamples: Resamples drawn.
        rng: Source of randomness.
        level: Probability the interval should hold the mean with.

    Returns:
        Lower and upper end, in the unit of ``values``.
    """
    values = np.asarray(values, dtype=float)
    picks = rng.integers(0, len(values), size=(resamples, len(values)))
    tail = (1 - level) / 2
    low, high = np.quantile(values[picks].mean(1), [tail, 1 - tail])
    return float(low), float(high)


def _summary(values: np.ndarray) -> dict[str, float]:
    """Return the first value, and the interval of the resamples that follow it."""
    if len(values) == 1:
        return {"value": float(values[0])}
    low, high = np.quantile(values[1:], [0.025, 0.975])
    return {"value": float(values[0]), "low": float(low), "high": float(high)}


def format_table(result: Mapping[str, Any], protocol: str = "city") -> str:
    """Return an evaluation under one protocol as a text table with its meaning.

    Raises:
        ValueError: If the evaluation does not hold the protocol.
    """
    if protocol not in result["protocols"]:
        raise ValueError(f"no protocol {protocol!r}: there are {', '.join(result['protocols'])}")
    found = result["protocols"][protocol]
    scale = found["rule"]["scale"]
    first = next(iter(found["scores"]))
    has_intervals = "differences" in found
    # With intervals the error in dB says it all; in gray level it is the same in another unit.
    hidden = {"rmse_db", "rmse"} if has_intervals else {"rmse_db"}
    metrics = [name for name in next(iter(found["scores"].values())) if name not in hidden]
    heads = {"nmse": "NMSE", "rmse": f"RMSE [{scale}]", "ssim": "SSIM", "psnr_db": "PSNR [dB]"}
    digits = {"nmse": 4, "rmse": 4, "ssim": 3, "psnr_db": 2}
    widths = {metric: max(8, len(heads[metric]) + 1) for metric in metrics}
    lines = [
        f"{protocol:<18}"
        + f"{'RMSE [dB]':>{21 if has_intervals else 11}}"
        + "".join(f"{heads[metric]:>{widths[metric]}}" for metric in metrics)
        + ("  difference [dB]" if has_intervals else "")
    ]
    for method, scores in found["scores"].items():
        error = scores["rmse_db"]
        if has_intervals:
            cells = f"{error['value']:.2f} [{error['low']:.2f}, {error['high']:.2f}]"
            line = f"{method:<18}{cells:>21}"
        else:
            line = f"{method:<18}{error['value']:>11.2f}"
        for metric in metrics:
            line += f"{scores[metric]['value']:>{widths[metric]}.{digits[metric]}f}"
        if method in found.get("differences", {}):
            gap = found["differences"][method]
            line += f"  {gap['value']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]"
        lines.append(line)
    notes = f"{result['maps']} maps of {result['tiles']} tiles. {found['meaning']}"
    if has_intervals:
        notes += (
            f" Difference: RMSE of {first} minus that of the row; an interval below 0 is a gain."
        )
    lines += textwrap.wrap(notes, width=max(map(len, lines)))
    return "\n".join(lines)
