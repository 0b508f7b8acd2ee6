"""Looks into a conditional U-Net: its costs part by part, its attention, its frequency filters.

Nothing here changes a network or what it computes. Chapters: ``notebooks/unet`` and
``notebooks/vae``.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from radiodiff.models.attention import (
    Attention,
    LinearAttention,
    RelationBlock,
    WindowedCrossAttention,
    flatten_cells,
    pool_windows,
    sine_position_code,
)
from radiodiff.models.autoencoder import AutoencoderConfig, AutoencoderKL
from radiodiff.models.backbones import BackboneEncoder
from radiodiff.models.blocks import (
    FourierFilter,
    ResidualBlock,
    TimeEmbedding,
    resample_spectrum,
)
from radiodiff.models.condition import ConvEncoder
from radiodiff.models.swin import PATCH, SwinEncoder, separated_tokens
from radiodiff.models.unet import UNet, UNetConfig

__all__ = [
    "Cost",
    "RelationAttention",
    "StageCosts",
    "attention_weights",
    "filter_response",
    "format_costs",
    "relation_attention",
    "stage_costs",
    "sum_costs",
    "swin_window_labels",
    "unet_costs",
]

_ENCODER = "condition encoder"
_CONVOLUTIONS = "other convolutions"
#: Kind of a layer by its class; what is in none of these are convolutions, most of them resampling.
_KINDS: dict[type[nn.Module], str] = {
    SwinEncoder: _ENCODER,
    ConvEncoder: _ENCODER,
    BackboneEncoder: _ENCODER,
    ResidualBlock: "residual blocks",
    RelationBlock: "relation blocks",
    LinearAttention: "self-attention",
    Attention: "self-attention",
    FourierFilter: "frequency filters",
    TimeEmbedding: "time embedding",
}
#: Part of the network by the first word of a layer's name.
_PARTS = {
    "condition_encoder": _ENCODER,
    "condition_mix": _ENCODER,
    "projections": "projections",
    "time_embedding": "time embedding",
    "span_embedding": "time embedding",
    "stem": "stem",
    "down": "way down",
    "middle_block1": "middle",
    "middle_attention": "middle",
    "middle_block2": "middle",
}


class Cost(NamedTuple):
    """What the layers of one kind in one part of a network cost."""

    part: str
    """Part of the network, such as ``way down``."""
    level: int | None
    """Level of the U-Net, 0 is the finest; ``None`` for what belongs to none."""
    kind: str
    """Kind of the layers, such as ``relation blocks``."""
    parameters: int
    """Numbers that the layers own, frozen ones included."""
    flops: int
    """Floating-point operations for one map, two per multiplication with addition."""


def unet_costs(config: UNetConfig, size: tuple[int, int]) -> list[Cost]:
    """Count parameters and operations of a U-Net, part by part, without running it.

    The network is made on the meta device, which has shapes and no numbers, so the size does not
    matter. Operations are those of convolutions, matrix products and attention; norms, Fourier
    transforms, resizing and everything else cell by cell are not counted. The condition encoder
    runs once for each map, everything else at each time.

    Args:
        config: Size of the network.
        size: Sides of the condition [cells], multiples of 4; a latent has a quarter of them.

    Returns:
        One entry for each part, level and kind, in the order of computation. Their sums are the
        network's; nothing is counted twice.

    Raises:
        ValueError: If the network does not take conditions of this size.
    """
    with torch.device("meta"), torch.no_grad():
        unet = UNet(config).eval()
        condition = torch.zeros(1, config.condition_inputs, *size)
        x_t = torch.zeros(1, config.latent_channels, size[0] // PATCH, size[1] // PATCH)
        times = [torch.ones(1)] * config.times
        with FlopCounterMode(display=False) as encoding:
            features = unet.encode_condition(condition)
        with FlopCounterMode(display=False) as denoising:
            unet(x_t, *times[:1], features, *times[1:])
    counted = denoising.get_flop_counts()
    found: dict[tuple[str, int | None, str], tuple[int, int]] = {}
    # Without a forward pass of its own, encode_condition leaves no name in the counter.
    found[_ENCODER, None, _ENCODER] = (0, encoding.get_total_flops())
    for name, layer in _layers(unet):
        key = _place(name, layer, len(config.multipliers))
        own = sum(parameter.numel() for parameter in layer.parameters())
        flops = sum(counted.get(f"UNet.{name}", {}).values())
        parameters_before, flops_before = found.get(key, (0, 0))
        found[key] = parameters_before + own, flops_before + flops
    order = [*dict.fromkeys(_PARTS.values()), *(f"{head} decoder" for head in config.heads)]
    costs = [Cost(*key, *numbers) for key, numbers in found.items()]
    return sorted(costs, key=lambda cost: order.index(cost.part))


def _layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield layers of a known kind whole, and the single layers that are in none of them."""
    for name, child in module.named_children():
        if isinstance(child, tuple(_KINDS)) or next(child.children(), None) is None:
            yield prefix + name, child
        else:
            yield from _layers(child, f"{prefix}{name}.")


def _place(name: str, layer: nn.Module, levels: int) -> tuple[str, int | None, str]:
    """Return part, level and kind of a layer."""
    words = name.split(".")
    part = _PARTS.get(words[0]) or words[0].removesuffix("_path") + " decoder"
    if part == _ENCODER:
        return part, None, _ENCODER
    level = None
    if words[0] == "down":
        level = int(words[1])
    elif words[1:2] == ["levels"]:  # a way up begins at the coarsest level
        level = levels - 1 - int(words[2])
    kind = next((kind for kinds, kind in _KINDS.items() if isinstance(layer, kinds)), _CONVOLUTIONS)
    return part, level, kind


class StageCosts(NamedTuple):
    """Floating-point operations behind one radio map, two per multiplication with addition."""

    step_on_latent: int
    """One evaluation of the network on the map's latent, its condition encoded before."""
    step_on_map: int
    """One evaluation of the same network on something of the map's size."""
    decoding: int
    """Decoding the latent."""


def stage_costs(network: UNetConfig, autoencoder: AutoencoderConfig, side: int) -> StageCosts:
    """Count what working on a latent saves, without running a network; see `unet_costs`.

    Args:
        network: Size of the network.
        autoencoder: Size of the first stage.
        side: Side of a square map [cells].

    Raises:
        ValueError: If a network does not take maps of this size.
    """
    with torch.device("meta"), torch.no_grad():
        unet, first_stage = UNet(network).eval(), AutoencoderKL(autoencoder).eval()
        features = unet.encode_condition(torch.zeros(1, network.condition_inputs, side, side))
        times = [torch.ones(1)] * network.times
        small = side // first_stage.downsampling
        counts = []
        for length in (small, side):
            x_t = torch.zeros(1, network.latent_channels, length, length)
            with FlopCounterMode(display=False) as step:
                unet(x_t, *times[:1], features, *times[1:])
            counts.append(step.get_total_flops())
        with FlopCounterMode(display=False) as decoding:
            first_stage.decode(torch.zeros(1, autoencoder.latent_channels, small, small))
    return StageCosts(*counts, decoding.get_total_flops())


def sum_costs(
    costs: Iterable[Cost], by: Literal["part", "level", "kind"]
) -> dict[str | int | None, tuple[int, int]]:
    """Return parameters and operations of each part, level or kind.

    Args:
        costs: What `unet_costs` returned.
        by: What to keep apart.

    Returns:
        Pairs of parameters and operations; their sums are those of ``costs``.
    """
    sums: dict[str | int | None, tuple[int, int]] = {}
    for cost in costs:
        parameters, flops = sums.get(getattr(cost, by), (0, 0))
        sums[getattr(cost, by)] = parameters + cost.parameters, flops + cost.flops
    return sums


def format_costs(costs: Sequence[Cost], by: Literal["part", "level", "kind"] = "part") -> str:
    """Return a table of parameters and operations, and of their shares of the whole.

    Args:
        costs: What `unet_costs` returned.
        by: What a row stands for.

    Returns:
        Lines of text, the last one with the sums.
    """
    sums = sum_costs(costs, by)
    totals = [sum(column) for column in zip(*sums.values(), strict=True)]
    lines = [f"{by:20s}{'parameters':>12s}{'share':>7s}{'GFLOP':>10s}{'share':>7s}"]
    for name, numbers in [*sums.items(), ("all", totals)]:
        shares = [number / max(total, 1) for number, total in zip(numbers, totals, strict=True)]
        label = "in no level" if name is None else str(name)
        lines.append(
            f"{label:20s}{numbers[0]:12,d}{shares[0]:7.1%}{numbers[1] / 1e9:10.3f}{shares[1]:7.1%}"
        )
    return "\n".join(lines)


@torch.no_grad()
def attention_weights(layer: WindowedCrossAttention, features: Tensor, condition: Tensor) -> Tensor:
    """Return how much each condition window takes from each feature window.

    These are the weights ``A`` of eq. ``relation-attention``.

    Args:
        layer: The attention inside a relation block.
        features: What the layer was given, shape ``(b, c, h, w)``.
        condition: What the layer was given, shape ``(b, c, hc, wc)``.

    Returns:
        Weights that sum to 1 over the last two axes, shape
        ``(b, heads, query rows, query columns, key rows, key columns)``.
    """
    queries, keys = (
        pool_windows(condition, layer.query_window),
        pool_windows(features, layer.key_window),
    )
    query, key = (
        layer.split_heads(project(flatten_cells(windows + sine_position_code(windows))))
        for project, windows in ((layer.query, queries), (layer.key, keys))
    )
    weights = (layer.logit_scale * query @ key.transpose(-2, -1)).softmax(-1)  # (b, heads, n, n)
    return weights.unflatten(-1, keys.shape[-2:]).unflatten(2, queries.shape[-2:])


class RelationAttention(NamedTuple):
    """Attention of one relation block, and where its windows lie on the map."""

    weights: Tensor
    """Shape ``(b, heads, query rows, query columns, key rows, key columns)``."""
    query_cells: tuple[int, int]
    """Sides of a condition window [cells of the map]."""
    key_cells: tuple[int, int]
    """Sides of a feature window [cells of the map]."""

    def seen_from(self, cell: tuple[int, int]) -> Tensor:
        """Return what the window with a cell ``(row, col)`` of the map attends to.

        Args:
            cell: Row and column on the map.

        Returns:
            Weights of the feature windows, shape ``(b, heads, key rows, key columns)``.
        """
        row, column = (side // window for side, window in zip(cell, self.query_cells, strict=True))
        return self.weights[:, :, row, column]

    def share_given_to(self, cell: tuple[int, int]) -> float:
        """Return the share of all attention that goes to the window with a cell of the map.

        Args:
            cell: Row and column on the map.

        Returns:
            Mean over maps, heads and asking windows, in units of an even share [1].
        """
        row, column = (side // window for side, window in zip(cell, self.key_cells, strict=True))
        windows = self.weights.shape[-2] * self.weights.shape[-1]
        return float(self.weights[..., row, column].mean()) * windows


@torch.no_grad()
def relation_attention(
    unet: UNet, x_t: Tensor, t: Tensor, features: Sequence[Tensor]
) -> dict[str, list[RelationAttention]]:
    """Run a U-Net once and return what its relation blocks attended to.

    Args:
        unet: The network; it runs in the mode it is in, without gradients.
        x_t: Noisy latents of a quarter of the map's sides, shape ``(b, c, h, w)``.
        t: Times, shape ``(b,)``.
        features: Feature pyramid from `UNet.encode_condition`.

    Returns:
        Attention of the blocks on the way ``down`` and on the way up to each head, such as
        ``drift`` and ``noise``, finest level first.

    Raises:
        ValueError: If a shape does not fit the network.
    """
    blocks = {"down": [level.relation for level in unet.down]} | {
        head: [level.relation for level in reversed(path.levels)]
        for head, path in unet.paths.items()
    }
    found: dict[str, dict[int, RelationAttention]] = {way: {} for way in blocks}

    def keep(
        layer: WindowedCrossAttention, inputs: tuple[Tensor, Tensor], *, way: str, level: int
    ) -> None:
        cell = PATCH * 2**level
        found[way][level] = RelationAttention(
            attention_weights(layer, *inputs),
            tuple(cell * side for side in layer.query_window),
            tuple(cell * side for side in layer.key_window),
        )

    hooks = [
        block.attention.register_forward_pre_hook(partial(keep, way=way, level=level))
        for way, ways in blocks.items()
        for level, block in enumerate(ways)
    ]
    try:
        unet(x_t, t, features)
    finally:
        for hook in hooks:
            hook.remove()
    return {way: [levels[i] for i in sorted(levels)] for way, levels in found.items()}


@torch.no_grad()
def filter_response(layer: FourierFilter, size: tuple[int, int] | None = None) -> Tensor:
    """Return what a frequency filter multiplies each spatial frequency by.

    This is ``K`` of eq. ``frequency-filter`` over the whole plane of frequencies. The weights of
    the half plane hold a little more than a real map can use: where a frequency and its mirror
    image are both stored, only what keeps the output real has an effect, and only that is returned.

    Args:
        layer: The filter.
        size: Sides ``(h, w)`` of the map at hand [cells]; those of the stored weights if ``None``.

    Returns:
        Complex factors, one for each frequency of ``torch.fft.fftfreq(h)`` and
        ``torch.fft.fftfreq(w)`` [cycles per cell], shape ``(c, h, w)``.
    """
    size = tuple(size or layer.size)
    weight = resample_spectrum(layer.complex_weight.float(), layer.size, size)
    kernel = torch.fft.irfft2(torch.view_as_complex(weight.contiguous()), s=size)
    return torch.fft.fft2(kernel)


def swin_window_labels(
    size: tuple[int, int], window: int, shift: int, *, pieces: bool = True
) -> Tensor:
    """Return which cells share an attention window of a Swin block.

    Args:
        size: Rows and columns of the map of tokens.
        window: Side of a window [tokens].
        shift: Tokens by which the windows are shifted; has no effect along an axis with one
            window.
        pieces: Tell apart the pieces of a window that the shift puts together from opposite ends
            of the map; they do not attend to each other.

    Returns:
        One number for each window (or piece), int64, shape ``size``.
    """
    rows, columns = (-(-side // window) for side in size)
    shift_y, shift_x = shift if rows > 1 else 0, shift if columns > 1 else 0
    tokens = window**2
    number = torch.arange(rows * columns)[:, None].expand(-1, tokens)
    if pieces and (shift_y or shift_x):
        apart = separated_tokens(rows, columns, window, shift_y, shift_x, number.device)
        # A token's piece is named after the first token of the window it may attend to.
        number = number * tokens + (~apart).int().argmax(dim=-1)
    label = number.reshape(rows, columns, window, window).transpose(1, 2)
    label = label.reshape(rows * window, columns * window)
    return label.roll((shift_y, shift_x), dims=(0, 1))[: size[0], : size[1]]
