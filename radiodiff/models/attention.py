"""Attention layers of the conditional U-Net.

Sources: Shen et al., *Efficient Attention*, arXiv:1812.01243 (linear attention); Ye et al.,
*DiffusionEdge*, arXiv:2401.02032, and Wang et al., *RadioDiff*, IEEE TCCN 2025 (relation block).
"""

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.models.blocks import at_least_single

__all__ = [
    "Attention",
    "ChannelNorm",
    "LinearAttention",
    "RelationBlock",
    "WindowedCrossAttention",
    "sine_position_code",
]


class ChannelNorm(nn.Module):
    """Standardises each cell over its channels and applies a gain.

    Args:
        channels: Channels of the input.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return the standardised features, shape ``(b, c, h, w)``."""
        x = at_least_single(x)  # in half precision a mean swallows small variances
        variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        return (x - mean) * (variance + 1e-5).rsqrt() * self.gain


class LinearAttention(nn.Module):
    """Self-attention of all cells at a cost linear in their number, plus a shortcut.

    Args:
        channels: Channels of the input.
        heads: Attention heads.
        head_width: Features per head.
    """

    def __init__(self, channels: int, heads: int = 4, head_width: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * heads * head_width, 1, bias=False)
        self.projection = nn.Conv2d(heads * head_width, channels, 1)
        self.out_norm = ChannelNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus what each cell gathers, shape ``(b, c, h, w)``."""
        height, width = x.shape[-2:]
        qkv = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1))
        query, key, value = qkv.unbind(1)  # each (b, heads, d, n)
        query = query.softmax(dim=-2) * query.shape[-2] ** -0.5
        key = key.softmax(dim=-1)
        context = key @ (value / (height * width)).transpose(-2, -1)  # (b, heads, d, d)
        mixed = (context.transpose(-2, -1) @ query).flatten(1, 2)  # (b, heads * d, n)
        mixed = mixed.unflatten(-1, (height, width))
        return x + self.out_norm(self.projection(mixed))


class Attention(nn.Module):
    """Self-attention of all cells, plus a shortcut.

    Args:
        channels: Channels of the input.
        heads: Attention heads.
        head_width: Features per head.
    """

    def __init__(self, channels: int, heads: int = 4, head_width: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.norm = ChannelNorm(channels)
        self.qkv = nn.Conv2d(channels, 3 * heads * head_width, 1, bias=False)
        self.projection = nn.Conv2d(heads * head_width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus what each cell gathers, shape ``(b, c, h, w)``."""
        qkv = self.qkv(self.norm(x)).flatten(2).unflatten(1, (3, self.heads, -1))
        query, key, value = qkv.transpose(-2, -1).unbind(1)  # each (b, heads, n, d)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        mixed = mixed.transpose(-2, -1).flatten(1, 2).unflatten(-1, x.shape[-2:])
        return x + self.projection(mixed)


class WindowedCrossAttention(nn.Module):
    """Lets every condition window look at every feature window (eq. ``relation-attention``).

    Queries are the condition averaged over ``query_window`` cells, keys and values the features
    averaged over ``key_window`` cells; the answer is resized to the features and added to a
    mixture of both.

    Args:
        channels: Channels of both inputs; a multiple of ``heads`` and of 8.
        query_window: Sides of a pooled condition window [cells].
        key_window: Sides of a pooled feature window [cells].
        heads: Attention heads.
        dropout: Probability of dropping a hidden value in training.
        scale_logits: Divide the logits by the root of the head width, as attention usually does;
            upstream does not (D8).

    Raises:
        ValueError: If ``channels`` is not a multiple of ``heads`` and of 8.
    """

    def __init__(
        self,
        channels: int,
        query_window: tuple[int, int],
        key_window: tuple[int, int],
        *,
        heads: int = 8,
        dropout: float = 0.1,
        scale_logits: bool = True,
    ) -> None:
        super().__init__()
        if channels % heads or channels % 8:
            raise ValueError(
                f"channels must be a multiple of heads={heads} and of 8, got {channels}"
            )
        self.heads = heads
        self.query_window = query_window
        self.key_window = key_window
        self.logit_scale = (channels // heads) ** -0.5 if scale_logits else 1.0
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.hidden = nn.Conv2d(channels, 2 * channels, 1)
        self.hidden_out = nn.Conv2d(2 * channels, channels, 1)
        self.dropout = nn.Dropout(dropout)
        self.merge = nn.Conv2d(2 * channels, channels, 1)
        self.norm = nn.GroupNorm(8, channels)
        self.projection = nn.Conv2d(channels, channels, 1)
        for layer in (self.hidden, self.hidden_out, self.merge, self.projection):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.query, self.key, self.value):
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """Return the features informed by the condition.

        Args:
            features: Features, shape ``(b, c, h, w)``.
            condition: Condition features, shape ``(b, c, hc, wc)``.

        Returns:
            New features, shape ``(b, c, h, w)``.
        """
        size = features.shape[-2:]
        both = torch.cat([resize(condition, size), features], dim=1)
        shortcut = self.norm(features + self.merge(both))

        pooled = pool_windows(condition, self.query_window)
        queries = self.query(flatten_cells(pooled + sine_position_code(pooled)))
        keys_map = pool_windows(features, self.key_window)
        tokens = flatten_cells(keys_map + sine_position_code(keys_map))
        mixed = functional.scaled_dot_product_attention(
            self.split_heads(queries),
            self.split_heads(self.key(tokens)),
            self.split_heads(self.value(tokens)),
            scale=self.logit_scale,
        )
        answer = pooled + mixed.transpose(-2, -1).flatten(1, 2).unflatten(-1, pooled.shape[-2:])
        hidden = self.dropout(functional.relu(self.hidden(answer)))
        answer = answer + self.dropout(self.hidden_out(hidden))
        return shortcut + self.projection(resize(answer, size))

    def split_heads(self, tokens: Tensor) -> Tensor:
        """Return ``(b, heads, n, c / heads)`` of tokens ``(b, n, c)``."""
        return tokens.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class RelationBlock(nn.Module):
    """Brings features and condition to one width, then relates them by windowed attention.

    Args:
        feature_channels: Channels of the features.
        condition_channels: Channels of the condition.
        channels: Channels of the output; a multiple of 8.
        query_window: Sides of a pooled condition window [cells].
        key_window: Sides of a pooled feature window [cells].
        norm: Normalisation of the two inputs. Upstream takes ``"batch"``, whose statistics mix
            all times of a diffusion batch (D8).
        dropout: Probability of dropping a hidden value in training.
        scale_logits: Divide the attention logits by the root of the head width (D8).

    Raises:
        ValueError: If ``norm`` is neither ``"batch"`` nor ``"group"``.
    """

    def __init__(
        self,
        feature_channels: int,
        condition_channels: int,
        channels: int,
        query_window: tuple[int, int],
        key_window: tuple[int, int],
        *,
        norm: Literal["batch", "group"] = "group",
        dropout: float = 0.1,
        scale_logits: bool = True,
    ) -> None:
        super().__init__()
        if norm not in ("batch", "group"):
            raise ValueError(f"norm must be 'batch' or 'group', got {norm!r}")

        def make_input(in_channels: int) -> nn.Sequential:
            if norm == "batch":
                layer = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)
            else:
                layer = nn.GroupNorm(8, channels)
            return nn.Sequential(nn.Conv2d(in_channels, channels, 1), layer)

        self.condition_input = make_input(condition_channels)
        self.feature_input = make_input(feature_channels)
        self.attention = WindowedCrossAttention(
            channels, query_window, key_window, dropout=dropout, scale_logits=scale_logits
        )

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        """Return the features informed by the condition.

        Args:
            features: Features, shape ``(b, feature_channels, h, w)``.
            condition: Condition features, shape ``(b, condition_channels, hc, wc)``.

        Returns:
            New features, shape ``(b, channels, h, w)``.
        """
        return self.attention(self.feature_input(features), self.condition_input(condition))


def sine_position_code(x: Tensor) -> Tensor:
    """Return the fixed code of every cell, half for its row and half for its column.

    Source: Vaswani et al., *Attention Is All You Need*, arXiv:1706.03762, on two axes; rows and
    columns count from 1.

    Args:
        x: Features whose shape, type and device to take, shape ``(b, c, h, w)``, ``c`` a multiple
            of 4.

    Returns:
        Sines and cosines in turn, shape ``(c, h, w)``.
    """
    channels, height, width = x.shape[1:]
    half = channels // 2
    exponent = 2 * (torch.arange(half, device=x.device) // 2) / half
    period = 10000.0**exponent

    def code(length: int) -> Tensor:
        angle = torch.arange(1, length + 1, device=x.device)[:, None] / period
        pairs = torch.stack([angle[:, 0::2].sin(), angle[:, 1::2].cos()], dim=2)
        return pairs.flatten(1).T  # (half, length)

    rows = code(height)[:, :, None].expand(-1, -1, width)
    columns = code(width)[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns]).to(x.dtype)


def pool_windows(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Return the mean of each window; incomplete windows are filled up with zeros."""
    rows, columns = window
    height, width = x.shape[-2:]
    x = functional.pad(x, (0, -width % columns, 0, -height % rows))
    return functional.avg_pool2d(x, (rows, columns))


def flatten_cells(x: Tensor) -> Tensor:
    """Return tokens ``(b, n, c)`` of a map ``(b, c, h, w)``."""
    return x.flatten(2).transpose(1, 2)


def resize(x: Tensor, size: torch.Size) -> Tensor:
    """Return a map resized bilinearly so that the corner cells keep their places."""
    return functional.interpolate(x, size=size, mode="bilinear", align_corners=True)
