"""A Swin transformer that turns the condition into a pyramid of features.

Source: Liu et al., *Swin Transformer*, arXiv:2103.14030. Parameter names follow torchvision's
``swin_b``, so its published weights load key by key with ``load_state_dict``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.ranges import MAX_SIDE, check_numbers

__all__ = ["PATCH", "SwinConfig", "SwinEncoder", "relative_position_index"]

#: Cells of the condition, along each side, that make one token or cell of the finest feature map.
PATCH = 4
CLASSES = 1000


@dataclass(frozen=True)
class SwinConfig:
    """Size of a :class:`SwinEncoder`; the defaults are Swin-B."""

    in_channels: int = 3
    """Channels of the condition."""
    width: int = 128
    """Channels of the first stage; each later stage doubles them."""
    depths: tuple[int, ...] = (2, 2, 18, 2)
    """Transformer blocks per stage."""
    heads: tuple[int, ...] = (4, 8, 16, 32)
    """Attention heads per stage; each divides the channels of its stage."""
    window: int = 7
    """Side of an attention window [tokens]; every other block shifts its windows by half of it."""
    mlp_ratio: float = 4.0
    """Hidden width of the feed-forward layers in units of the stage's channels."""
    stochastic_depth: float = 0.5
    """Probability with which training skips the last block; falls linearly to 0 at the first."""
    sticky_shift: bool = False
    """Let a small input switch off the shift of windows for all later inputs, as in the public
    code; without it each input decides for itself (D10)."""
    classifier_tail: bool = True
    """Own the final norm and the 1000-class head, so that published weights load key by key.

    The tail is never run and never trained (its parameters are frozen).
    """

    def __post_init__(self) -> None:
        """Refuse inconsistent sizes.

        Raises:
            ValueError: If a number lies outside its range, ``depths`` and ``heads`` differ in
                length, a head count does not divide its channels, or ``stochastic_depth`` lies
                outside [0, 1).
        """
        check_numbers(self, "in_channels", "width", "depths", "heads", least=1, most=MAX_SIDE)
        check_numbers(self, "window", least=1, most=MAX_SIDE)
        check_numbers(self, "mlp_ratio", above=0, most=64)
        if not self.depths or len(self.depths) != len(self.heads):
            raise ValueError(
                f"depths and heads must have one entry per stage, got {self.depths} and "
                f"{self.heads}"
            )
        for channels, heads in zip(self.channels, self.heads, strict=True):
            if channels % heads:
                raise ValueError(f"heads must divide the channels, got {heads} and {channels}")
        if not 0 <= self.stochastic_depth < 1:
            raise ValueError(f"stochastic_depth must lie in [0, 1), got {self.stochastic_depth:g}")

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the feature maps, finest first."""
        return tuple(self.width * 2**i for i in range(len(self.depths)))


class SwinEncoder(nn.Module):
    """Feature maps at strides 4, 8, 16 and 32 (one per stage).

    Args:
        config: Size of the network.
    """

    def __init__(self, config: SwinConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or SwinConfig()
        self.channels = config.channels
        # torchvision keeps a layer without parameters between the two: hence 0 and 2.
        embedding = {
            "0": nn.Conv2d(config.in_channels, config.width, PATCH, stride=PATCH),
            "2": nn.LayerNorm(config.width),
        }
        layers: list[nn.Module] = [nn.ModuleDict(embedding)]
        last_block = max(sum(config.depths) - 1, 1)
        block = 0
        for i, (channels, depth) in enumerate(zip(self.channels, config.depths, strict=True)):
            if i > 0:
                layers.append(PatchMerging(channels // 2))
            stage = nn.Sequential()
            for j in range(depth):
                shift = 0 if j % 2 == 0 else config.window // 2
                skip_probability = config.stochastic_depth * block / last_block
                stage.append(SwinBlock(config, channels, config.heads[i], shift, skip_probability))
                block += 1
            layers.append(stage)
        self.features = nn.ModuleList(layers)
        self.apply(init_linear)
        if config.classifier_tail:
            self.norm = nn.LayerNorm(self.channels[-1]).requires_grad_(False)
            self.head = nn.Linear(self.channels[-1], CLASSES).requires_grad_(False)
            init_linear(self.head)

    def forward(self, condition: Tensor) -> list[Tensor]:
        """Return the feature pyramid of a condition.

        Args:
            condition: Condition in [-1, 1], shape ``(b, k, h, w)``; ``h`` and ``w`` are multiples
                of 4.

        Returns:
            One map per stage, finest first; at the defaults shapes ``(b, 128, h / 4, w / 4)`` to
            ``(b, 1024, h / 32, w / 32)``, sides rounded up.

        Raises:
            ValueError: If the channels are wrong or a side is no multiple of 4.
        """
        check_condition(condition, self.config.in_channels)
        embedding = self.features[0]
        x = embedding["0"](condition).permute(0, 2, 3, 1)  # (b, h, w, c) from here on
        x = embedding["2"](x)
        maps = []
        for layer in self.features[1:]:
            x = layer(x)
            if not isinstance(layer, PatchMerging):
                maps.append(x.permute(0, 3, 1, 2).contiguous())
        return maps


class SwinBlock(nn.Module):
    """Window attention and a feed-forward layer, each with a norm before and a shortcut around."""

    def __init__(
        self, config: SwinConfig, channels: int, heads: int, shift: int, skip_probability: float
    ) -> None:
        super().__init__()
        hidden = int(config.mlp_ratio * channels)
        self.skip_probability = skip_probability
        self.norm1 = nn.LayerNorm(channels)
        self.attn = ShiftedWindowAttention(
            channels, heads, config.window, shift, sticky=config.sticky_shift
        )
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = nn.ModuleDict(  # torchvision counts the dropouts: hence 0 and 3
            {"0": nn.Linear(channels, hidden), "3": nn.Linear(hidden, channels)}
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape ``(b, h, w, c)``."""
        x = x + self.skip_at_random(self.attn(self.norm1(x)))
        hidden = functional.gelu(self.mlp["0"](self.norm2(x)))
        return x + self.skip_at_random(self.mlp["3"](hidden))

    def skip_at_random(self, residual: Tensor) -> Tensor:
        """Return the residual, in training zeroed for some samples and scaled up for the others."""
        if not self.training or self.skip_probability == 0:
            return residual
        keep = 1 - self.skip_probability
        shape = (residual.shape[0],) + (1,) * (residual.ndim - 1)
        return residual * residual.new_empty(shape).bernoulli_(keep).div_(keep)


class ShiftedWindowAttention(nn.Module):
    """Attention within windows, with a learned bias for each offset between two tokens."""

    def __init__(
        self, channels: int, heads: int, window: int, shift: int, *, sticky: bool = False
    ) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.shift = (shift, shift)
        self.sticky = sticky
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)
        offsets = (2 * window - 1) ** 2
        self.relative_position_bias_table = nn.Parameter(torch.empty(offsets, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_position_index(window))

    def forward(self, x: Tensor) -> Tensor:
        """Return features of the same shape ``(b, h, w, c)``."""
        batch, height, width, channels = x.shape
        window = self.window
        x = functional.pad(x, (0, 0, 0, -width % window, 0, -height % window))
        rows, columns = x.shape[1] // window, x.shape[2] // window
        # A single window along an axis is not shifted. Upstream keeps that decision, so one small
        # input disables the shift for good (D10).
        shift_y = self.shift[0] if rows > 1 else 0
        shift_x = self.shift[1] if columns > 1 else 0
        if self.sticky:
            self.shift = (shift_y, shift_x)
        if shift_y or shift_x:
            x = x.roll((-shift_y, -shift_x), dims=(1, 2))

        tokens = x.reshape(batch, rows, window, columns, window, channels)
        tokens = tokens.transpose(2, 3).reshape(batch, rows * columns, window**2, channels)
        qkv = self.qkv(tokens).unflatten(-1, (3, self.heads, -1))
        query, key, value = qkv.permute(3, 0, 1, 4, 2, 5)  # each (b, windows, heads, n, d)
        bias = self.relative_position_bias_table[self.relative_position_index]
        bias = bias.view(window**2, window**2, self.heads).permute(2, 0, 1)  # (heads, n, n)
        if shift_y or shift_x:
            apart = separated_tokens(rows, columns, window, shift_y, shift_x, x.device)
            bias = bias - 100.0 * apart.unsqueeze(1).to(bias.dtype)  # (windows, heads, n, n)
        mixed = functional.scaled_dot_product_attention(query, key, value, bias.to(query.dtype))
        mixed = self.proj(mixed.transpose(2, 3).flatten(3))  # (b, windows, n, c)

        x = mixed.view(batch, rows, columns, window, window, channels).transpose(2, 3)
        x = x.reshape(batch, rows * window, columns * window, channels)
        if shift_y or shift_x:
            x = x.roll((shift_y, shift_x), dims=(1, 2))
        return x[:, :height, :width]


class PatchMerging(nn.Module):
    """Halves the sides and doubles the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(b, h / 2, w / 2, 2 c)``, sides rounded up, of features ``(b, h, w, c)``."""
        x = functional.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        even, odd = x[:, 0::2], x[:, 1::2]
        cells = (even[:, :, 0::2], odd[:, :, 0::2], even[:, :, 1::2], odd[:, :, 1::2])
        return self.reduction(self.norm(torch.cat(cells, dim=-1)))


def relative_position_index(window: int) -> Tensor:
    """Return the row of the bias table for each pair of tokens in a window.

    Args:
        window: Side of the window [tokens].

    Returns:
        ``(row offset + window - 1) * (2 window - 1) + column offset + window - 1``, offsets being
        first token minus second, int64, shape ``(window ** 4,)``.
    """
    side = torch.arange(window)
    offset = side[:, None] - side[None, :] + window - 1  # (window, window)
    index = offset[:, None, :, None] * (2 * window - 1) + offset[None, :, None, :]
    return index.reshape(-1)


def separated_tokens(
    rows: int, columns: int, window: int, shift_y: int, shift_x: int, device: torch.device
) -> Tensor:
    """Return which pairs of tokens share a window only because the shift wraps around.

    Args:
        rows: Windows along the vertical.
        columns: Windows along the horizontal.
        window: Side of a window [tokens].
        shift_y: Tokens by which the map was rolled upwards.
        shift_x: Tokens by which the map was rolled to the left.
        device: Device of the answer.

    Returns:
        True where a pair must not attend, shape ``(rows * columns, window ** 2, window ** 2)``.
    """

    def wrapped(windows: int, shift: int) -> Tensor:
        return torch.arange(windows * window, device=device) >= windows * window - shift

    # Only the last window of an axis holds tokens from both ends, so two labels are enough.
    label = 2 * wrapped(rows, shift_y)[:, None] + 1 * wrapped(columns, shift_x)[None, :]
    label = label.view(rows, window, columns, window).transpose(1, 2).reshape(-1, window**2)
    return label[:, :, None] != label[:, None, :]


def check_condition(condition: Tensor, channels: int) -> None:
    """Refuse a condition the encoders cannot divide into patches.

    Args:
        condition: Condition, to be of shape ``(b, channels, h, w)``.
        channels: Expected channels.

    Raises:
        ValueError: If the channels are wrong or a side is no multiple of 4.
    """
    if condition.ndim != 4 or condition.shape[1] != channels:
        raise ValueError(
            f"expected a condition of shape (b, {channels}, h, w), got {tuple(condition.shape)}"
        )
    height, width = condition.shape[-2:]
    if height % PATCH or width % PATCH:
        raise ValueError(
            f"expected a multiple of {PATCH} for both sides of the condition, got "
            f"{height} x {width}; pad or crop it"
        )


def init_linear(module: nn.Module) -> None:
    """Fill a linear layer with the initial values of Swin; leave other modules alone."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
