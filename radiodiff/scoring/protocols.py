"""What an error means: named protocols, and numbers that know theirs.

The same prediction has many NMSEs. They differ in the scale of the gray levels, in the cells that
count, in the order of averaging and in the range of the data, and published tables seldom say
which they use. Here a rule is a `Protocol`, the published ones have names (`PROTOCOLS`), and a
`Score` refuses to be compared with one of another protocol. NMSE belongs to the gray level: in dB
the ratio has no meaning, since the dB scale has no natural zero. Chapter: ``notebooks/evaluate``.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from radiodiff import units
from radiodiff.scoring.intervals import tile_means, tile_picks
from radiodiff.scoring.metrics import ssim

__all__ = [
    "NMSE_RULES",
    "PROTOCOLS",
    "MapSums",
    "Protocol",
    "Score",
    "fingerprint",
    "likely_scale",
    "map_sums",
    "read_score",
    "reduce_sums",
]

#: Gray level below which RadioUNet's scale is 0.
THRESHOLD = 0.2
_SPAN_DB = units.PEAK_DB - units.FLOOR_DB
#: One unit of a scale [dB], where that is the same everywhere on it.
_UNIT_DB = {"gray": _SPAN_DB, "thresholded": (1 - THRESHOLD) * _SPAN_DB}
_BATCH = 64

Scale = Literal["gray", "thresholded", "decibels", "power", "wrapped"]


@dataclass(frozen=True)
class Protocol:
    """One rule for the errors of radio maps."""

    name: str
    """What a table calls it."""
    scale: Scale
    """What is compared. ``gray``: gray levels of the files, in [0, 1]. ``thresholded``: gray below
    0.2 cut, the rest stretched to [0, 1]. ``decibels``: path gain [dB]. ``power``: linear power.
    ``wrapped``: bytes, in 8-bit arithmetic that wraps around (a fault of public test scripts)."""
    cells: Literal["all", "outdoor"] = "all"
    """Cells that count. ``all`` takes buildings as predicted; in the truth they are mostly 0."""
    reduction: Literal["dataset", "maps", "batches", "tiles"] = "maps"
    """How maps become one number. ``dataset``: sums over all maps, then ratio and root. ``maps``:
    mean of one value per map. ``batches``: the same of batches of 64, in the dataset's order.
    ``tiles``: mean over the transmitters of a tile, then over tiles; NMSE as for ``dataset``."""
    data_range: Literal["one", "target", "larger"] | None = "one"
    """Range of PSNR and SSIM: 1, that of each target, or for SSIM the larger one of target and
    prediction (PSNR takes the target's); ``None`` leaves both out."""
    window: Literal["gaussian", "uniform"] = "gaussian"
    """Window of SSIM, see `radiodiff.scoring.metrics.ssim`."""
    border: Literal["valid", "reflect", "zero"] = "valid"
    """What SSIM does where a window crosses the border of the map."""
    source: str = ""
    """Where the rule is from, and how sure we are of it."""

    def __str__(self) -> str:
        """Say in a few sentences what the numbers mean."""
        scale = {
            "gray": "gray level = (gain + 147) / 99.16 dB",
            "thresholded": "gray level, below 0.2 cut, the rest stretched to [0, 1]",
            "decibels": "path gain in dB",
            "power": "linear power",
            "wrapped": "bytes, in arithmetic that wraps around at 256",
        }[self.scale]
        cells = {"all": "all cells, buildings as predicted", "outdoor": "outdoor cells"}[self.cells]
        reduction = {
            "dataset": "sums over all maps, then ratio and root",
            "maps": "mean of one value per map",
            "batches": f"mean of one value per batch of {_BATCH} maps",
            "tiles": (
                "mean over the transmitters of a tile, then over tiles (NMSE: ratio of sums over "
                "all maps); 95 % percentile bootstrap over tiles"
            ),
        }[self.reduction]
        text = f"Protocol {self.name}: {scale}; {cells}; {reduction}."
        if self.data_range is not None:
            ranges = {
                "one": "1",
                "target": "that of each target",
                "larger": "the larger one of target and prediction, PSNR the target's",
            }[self.data_range]
            blanked = ", buildings 0 in both" if self.cells == "outdoor" else ""
            text += (
                f" SSIM: whole map{blanked}, {self.window} window, border {self.border}; "
                f"range: {ranges}."
            )
        return text


#: The protocols of published tables, and ours.
PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "city",
            "gray",
            cells="outdoor",
            reduction="tiles",
            source="ours: streets only, in dB, every tile counts the same",
        ),
        Protocol(
            "radiodiff",
            "gray",
            data_range="larger",
            border="reflect",
            source=(
                "the public evaluation of RadioDiff with torchmetrics 1.4.3 to 1.7.4; older ones "
                "leave out a border in SSIM, and which one was used is unknown (arXiv:2408.08593)"
            ),
        ),
        Protocol(
            "radiounet",
            "thresholded",
            reduction="dataset",
            data_range=None,
            source="RadioUNet, arXiv:1911.09002; it reports NMSE and RMSE only",
        ),
        Protocol(
            "rmdm",
            "thresholded",
            data_range="target",
            window="uniform",
            source=(
                "RMDM, arXiv:2501.19160: scikit-image on each map; the scale is inferred from the "
                "fingerprint of the published pairs"
            ),
        ),
        Protocol(
            "radioflow",
            "thresholded",
            reduction="batches",
            border="zero",
            source=(
                "RadioFlow, arXiv:2510.09314: own SSIM; the scale is inferred from the "
                "fingerprint of the published pairs"
            ),
        ),
    )
}

_rule = functools.partial(Protocol, data_range=None)
#: Rules for NMSE and RMSE found in the literature and in public code, for one prediction.
NMSE_RULES: tuple[Protocol, ...] = (
    _rule("gray, all cells, ratio of sums", "gray", reduction="dataset"),
    _rule("gray, all cells, mean of ratios", "gray"),
    _rule("gray, outdoors, ratio of sums", "gray", cells="outdoor", reduction="dataset"),
    _rule("thresholded, ratio of sums", "thresholded", reduction="dataset"),
    _rule("thresholded, mean of ratios", "thresholded"),
    _rule("decibels in the ratio", "decibels", reduction="dataset"),
    _rule("linear power", "power", reduction="dataset"),
    _rule("8-bit arithmetic that wraps", "wrapped", reduction="dataset"),
)


class MapSums(NamedTuple):
    """What a protocol needs of each map; every entry has shape ``(b,)``."""

    squared_error: Tensor
    """Sum of squared errors over the cells that count."""
    power: Tensor
    """Sum of squared targets over the same cells."""
    cells: Tensor
    """How many cells count."""
    ssim: Tensor
    """Structural similarity; NaN where the protocol has none."""
    peak: Tensor
    """Range that PSNR refers to; NaN where the protocol has none."""


def map_sums(prediction: Tensor, target: Tensor, outdoor: Tensor, protocol: Protocol) -> MapSums:
    """Return the sums of each map from which `reduce_sums` makes a protocol's numbers.

    Args:
        prediction: Gray levels, held to [0, 1] here, shape ``(b, 1, h, w)``.
        target: Gray levels, shape ``(b, 1, h, w)``.
        outdoor: Cells outside buildings, bool, shape ``(b, 1, h, w)``.
        protocol: The rule.

    Raises:
        ValueError: If the shapes differ.
    """
    if not prediction.shape == target.shape == outdoor.shape or target.ndim != 4:
        raise ValueError(
            "prediction, target and outdoor must share one shape (b, 1, h, w), got "
            f"{[tuple(x.shape) for x in (prediction, target, outdoor)]}"
        )
    p, g = (_on_scale(x.double().clamp(0, 1), protocol.scale) for x in (prediction, target))
    weights = outdoor.double() if protocol.cells == "outdoor" else torch.ones_like(g)
    squared_error, power = (p - g).square(), g.square()
    if protocol.scale == "wrapped":  # uint8 minus uint8 stays uint8, and so do the squares
        squared_error, power = ((p - g) % 256).square() % 256, power % 256
    nan = torch.full((len(g),), torch.nan, dtype=torch.float64)
    similarity = peak = nan
    if protocol.data_range is not None and protocol.scale in _UNIT_DB:
        if protocol.cells == "outdoor":  # a window has no meaning under a mask
            p, g = p * weights, g * weights
        span_p, span_g = (x.flatten(1).amax(1) - x.flatten(1).amin(1) for x in (p, g))
        peak = torch.ones_like(nan) if protocol.data_range == "one" else span_g
        spans = torch.maximum(span_p, span_g) if protocol.data_range == "larger" else peak
        similarity = ssim(p, g, data_range=spans, window=protocol.window, border=protocol.border)
    return MapSums(
        (squared_error * weights).flatten(1).sum(1),
        (power * weights).flatten(1).sum(1),
        weights.flatten(1).sum(1),
        similarity,
        peak,
    )


def _on_scale(gray: Tensor, scale: Scale) -> Tensor:
    """Return gray levels in [0, 1] on the scale that a protocol compares."""
    if scale == "thresholded":
        return units.thresholded(gray, THRESHOLD)
    if scale == "decibels":
        return units.gray_to_path_gain_db(gray)
    if scale == "power":
        return 10 ** (units.gray_to_path_gain_db(gray) / 10)
    return (255 * gray).round() if scale == "wrapped" else gray


def reduce_sums(
    sums: MapSums,
    tiles: Sequence[str],
    protocol: Protocol,
    *,
    resamples: int = 0,
    rng: np.random.Generator | None = None,
) -> dict[str, np.ndarray]:
    """Return a protocol's numbers for a set of maps (eqs. ``nmse``, ``rmse`` and ``psnr``).

    Args:
        sums: Of all maps, in the dataset's order, each entry of shape ``(n,)``.
        tiles: Name of each map's tile.
        protocol: The rule.
        resamples: Bootstrap resamples of the tiles; only ``tiles`` has them.
        rng: Source of the resamples.

    Returns:
        Metric to values, shape ``(1 + resamples,)``, the first one that of all tiles: ``nmse``,
        ``rmse`` (in the unit of the scale), and where the protocol has them ``rmse_db`` [dB],
        ``ssim`` and ``psnr_db`` [dB].

    Raises:
        ValueError: If there is no map, a target is zero everywhere, or a resample is asked of a
            protocol that has none.
    """
    error, power, cells, similarity, peak = (x.double().cpu().numpy() for x in sums)
    if not len(error) or len(error) != len(tiles):
        raise ValueError(f"expected a tile for each of one or more maps, got {len(tiles)}")
    if resamples and protocol.reduction != "tiles":
        raise ValueError(f"protocol {protocol.name} has no intervals; city has")
    if not (power > 0).all():
        raise ValueError("NMSE needs targets that are not zero everywhere")
    groups = {
        "dataset": np.zeros(len(error), int),
        "maps": np.arange(len(error)),
        "batches": np.arange(len(error)) // _BATCH,
        "tiles": np.arange(len(error)),
    }[protocol.reduction]
    # Sums of each group, then one value a group: a group is a map, a batch, or all maps.
    error, power, cells, similarity, peak, maps = (
        np.bincount(groups, weights=x)
        for x in (error, power, cells, similarity, peak, np.ones_like(error))
    )
    columns = {"nmse": error / power, "rmse": np.sqrt(error / cells)}
    if protocol.scale in _UNIT_DB:
        columns = {"rmse_db": columns["rmse"] * _UNIT_DB[protocol.scale], **columns}
        if protocol.data_range is not None:
            with np.errstate(divide="ignore"):  # a perfect map has infinite PSNR
                ratio = (peak / maps) ** 2 * cells / error
                columns |= {"ssim": similarity / maps, "psnr_db": 10 * np.log10(ratio)}
    if protocol.reduction != "tiles":
        # As the public code: a batch that is not full counts by its maps.
        share = maps / maps.sum()
        return {name: np.array([(column * share).sum()]) for name, column in columns.items()}
    index, picks = tile_picks(tiles, resamples=resamples, rng=rng)
    values = {name: tile_means(column, index, picks) for name, column in columns.items()}
    tile_error, tile_power = np.bincount(index, error), np.bincount(index, power)
    values["nmse"] = tile_error[picks].sum(1) / tile_power[picks].sum(1)
    return values


@dataclass(frozen=True)
class Score:
    """A number that knows what it means; comparing two of different meaning raises.

    ``a < b``, ``a > b``, ``a <= b``, ``a >= b`` and ``a - b`` need the same protocol, metric and
    judged maps.
    """

    value: float
    """The number, in the unit of its metric."""
    metric: str
    """``rmse_db`` [dB], ``nmse``, ``rmse``, ``ssim`` or ``psnr_db`` [dB]."""
    protocol: str
    """Name of the rule, a key of `PROTOCOLS`."""
    data: str = ""
    """What was judged, for example ``data/sim-demo test, 24 tiles``."""
    low: float | None = None
    """Lower end of the interval, if the protocol has one."""
    high: float | None = None
    """Upper end of the interval, if the protocol has one."""

    def _other(self, other: "Score") -> float:
        if not isinstance(other, Score):
            raise TypeError(f"expected a Score, got {type(other).__name__}: {other!r}")
        for field in ("protocol", "metric", "data"):
            mine, theirs = getattr(self, field), getattr(other, field)
            if mine != theirs:
                raise ValueError(
                    f"cannot compare {self} with {other}: {field} {mine!r} is not {theirs!r}; "
                    "evaluate both under one protocol, on the same maps"
                )
        return other.value

    def __sub__(self, other: "Score") -> float:
        return self.value - self._other(other)

    def __lt__(self, other: "Score") -> bool:
        return self.value < self._other(other)

    def __le__(self, other: "Score") -> bool:
        return self.value <= self._other(other)

    def __gt__(self, other: "Score") -> bool:
        return self.value > self._other(other)

    def __ge__(self, other: "Score") -> bool:
        return self.value >= self._other(other)

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.4g}, {self.high:.4g}]"
        return f"{self.metric} {self.value:.4g}{interval} ({self.protocol})"


def read_score(
    result: Mapping[str, Any], method: str, metric: str, *, protocol: str = "city"
) -> Score:
    """Return one number of an evaluation, with its meaning.

    Args:
        result: What `radiodiff.evaluate_run` returns, or the content of its ``metrics.json``.
        method: Row of the table.
        metric: Column of the table.
        protocol: Name of a protocol that the evaluation holds.

    Raises:
        KeyError: If the evaluation does not hold it; names what it holds.
    """
    found: Any = result["protocols"]
    for what, key in (("protocol", protocol), ("method", method), ("metric", metric)):
        if key not in found:
            raise KeyError(f"no {what} {key!r}: there are {', '.join(found)}")
        found = found[key]["scores"] if what == "protocol" else found[key]
    return Score(
        found["value"], metric, protocol, result["judged"], found.get("low"), found.get("high")
    )


def fingerprint(*, nmse: float, rmse: float) -> float:
    """Return the mean square of the targets that a published pair implies, ``RMSE^2 / NMSE``.

    For a ratio of sums it is exact. It gives the scale away: on RadioMapSeer's maps it is about
    0.10 in gray level and about 0.05 on RadioUNet's scale.

    Raises:
        ValueError: If a number is not positive.
    """
    if not (nmse > 0 and rmse > 0):
        raise ValueError(f"expected positive errors, got NMSE {nmse:g} and RMSE {rmse:g}")
    return rmse**2 / nmse


def likely_scale(mean_square: float) -> Literal["gray", "thresholded", "neither"]:
    """Return the scale that a `fingerprint` on RadioMapSeer's maps speaks for.

    The bounds leave room for the choice of test maps: 0.04 to 0.06 is thresholded, 0.085 to 0.12
    gray. Measured on city map 0: 0.047 and 0.103.
    """
    if 0.04 <= mean_square <= 0.06:
        return "thresholded"
    return "gray" if 0.085 <= mean_square <= 0.12 else "neither"
