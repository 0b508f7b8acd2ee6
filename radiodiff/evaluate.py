"""Judge a model and its baselines on radio maps of cities it never saw."""

import functools
import logging
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from radiodiff import metrics, units
from radiodiff.config import EvaluateConfig
from radiodiff.data import RadioMapSample
from radiodiff.pipeline import RadioDiffPipeline, map_generators
from radiodiff.simulate import DominantPath, trace_outlines

__all__ = [
    "METRICS",
    "PROTOCOL",
    "Baselines",
    "bootstrap_interval",
    "dominant_path_predictor",
    "evaluate",
    "format_table",
]

logger = logging.getLogger(__name__)

#: How the numbers are defined; printed and stored with them.
PROTOCOL = (
    "One value per map, mean over the transmitters of a tile, then over tiles; 95 % percentile "
    "bootstrap over tiles. RMSE [dB]: outdoor cells, path gain held at -147 dB or more. NMSE, "
    "RMSE [gray], SSIM (Gaussian window, range 1) and PSNR (range 1): gray level = (gain + 147) / "
    "99.16, all cells, buildings set to 0 in prediction and truth."
)
#: Names of the metrics; for SSIM and PSNR more is better.
METRICS = ("rmse_db", "nmse", "rmse_gray", "ssim", "psnr_db")

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


@dataclass(frozen=True)
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
                row, col = cell
                room = buildings.copy()
                room[max(0, row - 1) : row + 2, max(0, col - 1) : col + 2] = False
                gain = engine(room.tobytes(), size).path_gain_db(place_m)
            maps.append(np.nan_to_num(gain, nan=units.FLOOR_DB, neginf=units.FLOOR_DB))
        return torch.from_numpy(np.stack(maps))[:, None]

    return predict


def model_predictor(pipeline: RadioDiffPipeline, config: EvaluateConfig) -> Predictor:
    """Return the mean path gain of several samples as a predictor.

    Each sample's noise is a function of the map's name and the seed, so no result depends on the
    batch size.
    """

    def predict(batch: RadioMapSample) -> Tensor:
        total = torch.zeros_like(batch.radio_map, dtype=torch.float64)
        for k in range(config.samples):
            maps = draw_maps(pipeline, batch, config, number=k)
            total += pipeline.path_gain_db(maps).double().cpu()
        return total / config.samples

    return predict


def draw_maps(
    pipeline: RadioDiffPipeline, batch: RadioMapSample, config: EvaluateConfig, *, number: int = 0
) -> Tensor:
    """Return sample ``number`` of each map of a batch, in [-1, 1], shape ``(b, 1, h, w)``."""
    names = [f"{'' if config.shared_noise else name}/{number}" for name in batch.name]
    generators = map_generators(names, config.seed)
    return pipeline.radio_maps(batch.condition, steps=config.steps, generator=generators)


def _check_scale(batch: RadioMapSample) -> None:
    """Raise unless a batch holds path gain on the scale of the files, as `PROTOCOL` says."""
    if (batch.threshold != 0).any():  # NaN is not 0 either
        raise ValueError(
            f"{batch.name[0]}: scores are defined for path gain on the scale of RadioMapSeer's "
            "files; this dataset is thresholded or has no known scale in dB (data.threshold, "
            "data.source). Use data.threshold=0, or look at samples with `radiodiff sample`"
        )


def map_errors(path_gain_db: Tensor, batch: RadioMapSample) -> dict[str, Tensor]:
    """Return all metrics of predicted path gains, one value per map (see `PROTOCOL`).

    Args:
        path_gain_db: Predictions [dB], shape ``(b, 1, h, w)``.
        batch: Collated truth.

    Returns:
        Metric name to tensor of shape ``(b,)``.

    Raises:
        ValueError: If the truth is not path gain on the scale of the files.
    """
    _check_scale(batch)
    outdoor = batch.outdoor_mask
    path_gain_db = path_gain_db.clamp(units.FLOOR_DB, units.PEAK_DB)
    truth_db = units.model_to_path_gain_db(batch.radio_map).double()
    gray = units.path_gain_db_to_gray(path_gain_db).masked_fill(~outdoor, 0)
    truth = units.path_gain_db_to_gray(truth_db).masked_fill(~outdoor, 0)
    return {
        "rmse_db": metrics.rmse(path_gain_db, truth_db, outdoor),
        "nmse": metrics.nmse(gray, truth),
        "rmse_gray": metrics.rmse(gray, truth),
        "ssim": metrics.ssim(gray, truth),
        "psnr_db": metrics.psnr(gray, truth),
    }


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


def evaluate(
    predictors: Mapping[str, Predictor], dataset: Dataset[RadioMapSample], config: EvaluateConfig
) -> dict[str, Any]:
    """Score predictors on a dataset, with intervals over tiles.

    Args:
        predictors: Name to predictor; the first is compared with each of the others.
        dataset: Maps of the split that is judged.
        config: Batch size, resamples and seed.

    Returns:
        ``protocol``, ``tiles``, ``maps``, ``scores`` (method → metric → mean, low, high) and
        ``differences`` (method → mean, low, high of the first method's RMSE [dB] minus its).
    """
    values: dict[str, dict[str, list[float]]] = {
        name: {metric: [] for metric in METRICS} for name in predictors
    }
    names: list[str] = []
    loader = DataLoader(dataset, batch_size=config.batch_size)
    for number, batch in enumerate(loader, start=1):
        names += batch.name
        for method, predictor in predictors.items():
            for metric, errors in map_errors(predictor(batch), batch).items():
                values[method][metric] += errors.tolist()
        logger.info(
            "evaluated %d of %d maps", min(number * config.batch_size, len(dataset)), len(dataset)
        )
    tiles = [name.split("_")[0] for name in names]
    per_tile = {
        method: {metric: _tile_means(tiles, column) for metric, column in columns.items()}
        for method, columns in values.items()
    }

    def summary(column: np.ndarray) -> dict[str, float]:
        rng = np.random.default_rng(config.seed)
        low, high = bootstrap_interval(column, resamples=config.bootstrap, rng=rng)
        return {"mean": float(column.mean()), "low": low, "high": high}

    first, *others = per_tile
    return {
        "protocol": PROTOCOL,
        "tiles": len(set(tiles)),
        "maps": len(names),
        "scores": {
            method: {metric: summary(column) for metric, column in columns.items()}
            for method, columns in per_tile.items()
        },
        "differences": {
            other: summary(per_tile[first]["rmse_db"] - per_tile[other]["rmse_db"])
            for other in others
        },
    }


def _tile_means(tiles: list[str], column: list[float]) -> np.ndarray:
    """Mean of each tile's values, tiles in order of first appearance."""
    groups: dict[str, list[float]] = {}
    for tile, value in zip(tiles, column, strict=True):
        groups.setdefault(tile, []).append(value)
    return np.array([np.mean(group) for group in groups.values()])


def format_table(result: Mapping[str, Any]) -> str:
    """Return an evaluation as a text table with its protocol."""
    first = next(iter(result["scores"]))
    lines = [
        f"{'':<18}{'RMSE [dB]':>21}{'NMSE':>8}{'RMSE [gray]':>13}{'SSIM':>7}{'PSNR [dB]':>11}"
        "  difference of RMSE [dB]"
    ]
    for method, scores in result["scores"].items():
        error = scores["rmse_db"]
        cells = f"{error['mean']:.2f} [{error['low']:.2f}, {error['high']:.2f}]"
        line = (
            f"{method:<18}{cells:>21}{scores['nmse']['mean']:>8.4f}"
            f"{scores['rmse_gray']['mean']:>13.4f}{scores['ssim']['mean']:>7.3f}"
            f"{scores['psnr_db']['mean']:>11.2f}"
        )
        if method in result["differences"]:
            gap = result["differences"][method]
            line += f"  {gap['mean']:+.2f} [{gap['low']:+.2f}, {gap['high']:+.2f}]"
        lines.append(line)
    notes = (
        f"{result['maps']} maps of {result['tiles']} tiles. {result['protocol']} Difference: "
        f"{first} minus the method of the row; an interval below 0 is a gain."
    )
    lines += textwrap.wrap(notes, width=len(lines[0]))
    return "\n".join(lines)
