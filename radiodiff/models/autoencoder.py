"""The first stage: a convolutional autoencoder with a Gaussian latent (KL autoencoder).

Source: Rombach et al., *High-Resolution Image Synthesis with Latent Diffusion Models*,
arXiv:2112.10752. The network is fully convolutional apart from one attention over the latent
cells, so every image whose sides are multiples of ``downsampling`` is accepted.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from radiodiff.noise import normal
from radiodiff.ranges import MAX_SIDE, check_numbers

__all__ = ["AutoencoderConfig", "AutoencoderKL", "DiagonalGaussian"]

NORM_GROUPS = 32


@dataclass(frozen=True)
class AutoencoderConfig:
    """Size of an :class:`AutoencoderKL`; the defaults are those of the reference code."""

    in_channels: int = 1
    """Channels of the map that the encoder takes."""
    out_channels: int | None = None
    """Channels of the map that the decoder returns; ``null`` for as many as the encoder takes."""
    latent_channels: int = 3
    """Channels of the latent, the ones that the diffusion sees."""
    inner_channels: int | None = None
    """Channels in which encoder and decoder hold the latent, before and after the 1 x 1
    convolutions that map it to ``latent_channels`` and back; ``null`` for the same number."""
    width: int = 128
    """Channels at full resolution; a multiple of 32 (the groups of the normalisation)."""
    multipliers: tuple[int, ...] = (1, 2, 4)
    """Channels of each level in units of ``width``; each level after the first halves the sides."""
    blocks: int = 2
    """Residual blocks per level of the encoder; the decoder has one more."""
    dropout: float = 0.0
    """Probability of dropping a hidden value of a residual block in training."""
    attention: Literal["softmax", "linear", "none"] = "softmax"
    """How the cells of the lowest resolution attend to each other; ``linear`` costs no matrix of
    cells by cells and, as in the reference code, has neither norm nor shortcut."""
    learned_resampling: bool = True
    """Halve and double the sides with a convolution; else average four cells, and repeat them."""
    bounded: bool = False
    """End the decoder in a hyperbolic tangent, which keeps maps in [-1, 1]."""

    def __post_init__(self) -> None:
        """Refuse sizes no network can have.

        Raises:
            ValueError: If ``width`` is no positive multiple of 32, there is no level, a number
                lies outside its range, ``dropout`` is no probability below 1, or ``attention``
                is unknown.
        """
        if self.width < NORM_GROUPS or self.width % NORM_GROUPS:
            raise ValueError(f"width must be a multiple of {NORM_GROUPS}, got {self.width}")
        if not self.multipliers:
            raise ValueError("multipliers must name at least one level, got ()")
        channels = ("in_channels", "out_channels", "latent_channels", "inner_channels")
        check_numbers(self, *channels, "width", "multipliers", least=1, most=MAX_SIDE)
        check_numbers(self, "blocks", least=0, most=MAX_SIDE)
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout:g}")
        if self.attention not in ATTENTIONS:
            raise ValueError(
                f"attention must be one of {', '.join(ATTENTIONS)}, got {self.attention!r}"
            )

    @property
    def downsampling(self) -> int:
        """Cells of the map per cell of the latent, along one side."""
        return 2 ** (len(self.multipliers) - 1)


@dataclass(frozen=True, eq=False)
class DiagonalGaussian:
    """A normal distribution with independent entries, one per entry of ``mean``."""

    mean: Tensor
    """Means, shape ``(b, c, h, w)``."""
    log_variance: Tensor
    """Natural logarithms of the variances, shape ``(b, c, h, w)``."""

    def sample(
        self, generator: torch.Generator | None = None, *, noise: Tensor | None = None
    ) -> Tensor:
        """Draw ``mean + exp(log_variance / 2) * noise`` (eq. ``posterior``).

        Args:
            generator: Source of the noise, on the device of ``mean``; the global generator of
                that device if ``None``.
            noise: Standard normal numbers to use instead of drawing, shape ``(b, c, h, w)``.

        Returns:
            One draw, shape ``(b, c, h, w)``.

        Raises:
            ValueError: If ``noise`` has another shape than ``mean``.
        """
        # As upstream, but for the device: upstream always draws on the CPU.
        if noise is None:
            noise = normal(
                self.mean.shape, generator, device=self.mean.device, dtype=self.mean.dtype
            )
        if noise.shape != self.mean.shape:
            raise ValueError(
                f"noise must have the shape of the mean, {tuple(self.mean.shape)}, "
                f"got {tuple(noise.shape)}"
            )
        return self.mean + (0.5 * self.log_variance).exp() * noise

    def mode(self) -> Tensor:
        """Return the most likely value, the mean, shape ``(b, c, h, w)``."""
        return self.mean

    def kl(self) -> Tensor:
        """Return the divergence from the standard normal [nat] (eq. ``kl``).

        Returns:
            Sums over channels and cells, one per map, shape ``(b,)``.
        """
        variance = self.log_variance.exp()
        return 0.5 * (self.mean**2 + variance - 1 - self.log_variance).flatten(1).sum(1)


class AutoencoderKL(nn.Module):
    """Maps radio maps to Gaussian latents and latents back to radio maps.

    Args:
        config: Size of the network.
    """

    def __init__(self, config: AutoencoderConfig | None = None) -> None:
        super().__init__()
        self.config = config or AutoencoderConfig()
        latent = self.config.latent_channels
        inner = self.config.inner_channels or latent
        self.encoder = Encoder(self.config, 2 * inner)
        self.decoder = Decoder(self.config, inner)
        self.quant_conv = nn.Conv2d(2 * inner, 2 * latent, 1)
        self.post_quant_conv = nn.Conv2d(latent, inner, 1)

    @property
    def downsampling(self) -> int:
        """Cells of the map per cell of the latent, along one side."""
        return self.config.downsampling

    @property
    def last_layer(self) -> nn.Parameter:
        """Weight of the last convolution, where adversarial gradients are balanced."""
        return self.decoder.conv_out.weight

    def encode(self, radio_map: Tensor) -> DiagonalGaussian:
        """Return the distribution of the latent of a map.

        Args:
            radio_map: Maps in [-1, 1], shape ``(b, 1, h, w)`` at the default size; ``h`` and ``w``
                are multiples of ``downsampling``.

        Returns:
            Latent distribution, shape ``(b, c, h / 4, w / 4)`` at the default size; logarithmic
            variances lie in [-30, 20].

        Raises:
            ValueError: If the channels are wrong or a side is no multiple of ``downsampling``.
        """
        expected = self.config.in_channels
        if radio_map.ndim != 4 or radio_map.shape[1] != expected:
            raise ValueError(
                f"expected maps of shape (b, {expected}, h, w), got {tuple(radio_map.shape)}"
            )
        height, width = radio_map.shape[-2:]
        factor = self.downsampling
        if height % factor or width % factor:
            raise ValueError(
                f"expected a multiple of {factor} for both sides, got {height} x {width}; "
                "pad or crop the map"
            )
        moments = self.quant_conv(self.encoder(radio_map))
        moments = moments.to(radio_map.dtype)  # in mixed precision too: no loss in half precision
        mean, log_variance = moments.chunk(2, dim=1)
        return DiagonalGaussian(mean, log_variance.clamp(-30.0, 20.0))

    def decode(self, latent: Tensor) -> Tensor:
        """Return the map of a latent.

        Args:
            latent: Latents, shape ``(b, c, h, w)``.

        Returns:
            Maps, nominally in [-1, 1] but not clamped, shape ``(b, 1, 4 h, 4 w)`` at the default
            size.

        Raises:
            ValueError: If the latent has the wrong number of channels.
        """
        expected = self.config.latent_channels
        if latent.ndim != 4 or latent.shape[1] != expected:
            raise ValueError(
                f"expected latents of shape (b, {expected}, h, w), got {tuple(latent.shape)}"
            )
        return self.decoder(self.post_quant_conv(latent)).to(latent.dtype)

    def forward(
        self,
        radio_map: Tensor,
        generator: torch.Generator | None = None,
        *,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, DiagonalGaussian]:
        """Encode, draw a latent and decode it.

        Args:
            radio_map: Maps in [-1, 1], shape ``(b, 1, h, w)``.
            generator: Source of the noise; see :meth:`DiagonalGaussian.sample`.
            noise: Noise to use instead of drawing, shape ``(b, c, h / 4, w / 4)``.

        Returns:
            Reconstructions, shape ``(b, 1, h, w)``, and the latent distribution.
        """
        posterior = self.encode(radio_map)
        return self.decode(posterior.sample(generator, noise=noise)), posterior


class Encoder(nn.Module):
    """Radio maps to what the latent's moments are mixed from, at the lowest resolution.

    Args:
        config: Size of the autoencoder.
        out_channels: Channels of the result.
    """

    def __init__(self, config: AutoencoderConfig, out_channels: int) -> None:
        super().__init__()
        widths = [config.width * m for m in config.multipliers]
        self.conv_in = nn.Conv2d(config.in_channels, config.width, 3, padding=1)
        self.levels = nn.ModuleList()
        channels = config.width
        for i, width in enumerate(widths):
            is_last = i == len(widths) - 1
            resample = nn.Identity() if is_last else Downsample(width, config.learned_resampling)
            self.levels.append(Level(channels, width, config.blocks, resample, config.dropout))
            channels = width
        self.middle = make_middle(channels, config)
        self.norm_out = make_norm(channels)
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(b, out_channels, h / 4, w / 4)`` for ``(b, 1, h, w)`` at the default size."""
        x = self.conv_in(x)
        for level in self.levels:
            x = level(x)
        x = self.middle(x)
        return self.conv_out(functional.silu(self.norm_out(x)))


class Decoder(nn.Module):
    """What the latent is mixed into, to radio maps.

    Args:
        config: Size of the autoencoder.
        in_channels: Channels of the input.
    """

    def __init__(self, config: AutoencoderConfig, in_channels: int) -> None:
        super().__init__()
        widths = [config.width * m for m in config.multipliers]
        channels = widths[-1]
        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.middle = make_middle(channels, config)
        levels = []
        for i, width in reversed(list(enumerate(widths))):
            resample = nn.Identity() if i == 0 else Upsample(width, config.learned_resampling)
            levels.append(Level(channels, width, config.blocks + 1, resample, config.dropout))
            channels = width
        # Level 0 has full resolution, as in the encoder; the forward pass runs from the last.
        self.levels = nn.ModuleList(reversed(levels))
        self.norm_out = make_norm(channels)
        out_channels = config.out_channels or config.in_channels
        self.conv_out = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.limit = nn.Tanh() if config.bounded else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return maps, ``(b, 1, 4 h, 4 w)`` for ``(b, in_channels, h, w)`` at the default size."""
        x = self.middle(self.conv_in(x))
        for level in reversed(self.levels):
            x = level(x)
        return self.limit(self.conv_out(functional.silu(self.norm_out(x))))


class Level(nn.Module):
    """Residual blocks at one resolution, then a change of resolution."""

    def __init__(
        self, channels: int, width: int, blocks: int, resample: nn.Module, dropout: float
    ) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(ResidualBlock(channels if i == 0 else width, width, dropout) for i in range(blocks))
        )
        self.resample = resample

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of the next level."""
        return self.resample(self.blocks(x))


class ResidualBlock(nn.Module):
    """Norm, swish and convolution, twice, plus a shortcut."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = make_norm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm2 = make_norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        is_same = in_channels == out_channels
        self.shortcut = nn.Identity() if is_same else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``shortcut(x)`` plus the residual."""
        residual = self.conv1(functional.silu(self.norm1(x)))
        residual = self.conv2(self.dropout(functional.silu(self.norm2(residual))))
        return self.shortcut(x) + residual


class SpatialAttention(nn.Module):
    """Self-attention of all cells with a single head, plus a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = make_norm(channels)
        self.query = nn.Conv2d(channels, channels, 1)
        self.key = nn.Conv2d(channels, channels, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.projection = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` plus what each cell gathers from the others."""
        normed = self.norm(x)
        query, key, value = (
            layer(normed).flatten(2).transpose(1, 2).unsqueeze(1)  # (b, 1, n, c)
            for layer in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return x + self.projection(mixed.squeeze(1).transpose(1, 2).reshape(x.shape))


class LinearAttention(nn.Module):
    """Attention of all cells through one matrix of channels by channels, without a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(channels, 3 * channels, 1, bias=False)
        self.projection = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return what each cell gathers from all, shape ``(b, c, h, w)``."""
        query, key, value = self.qkv(x).flatten(2).chunk(3, dim=1)  # (b, c, n)
        context = value @ key.softmax(dim=-1).mT  # (b, c, c)
        return self.projection((context @ query).view(x.shape))


class Downsample(nn.Module):
    """Halves the sides by a strided convolution, padded at the right and the bottom only.

    Not ``learned``, it averages each square of four cells.
    """

    def __init__(self, channels: int, learned: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2) if learned else None

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(b, c, h / 2, w / 2)``."""
        if self.conv is None:
            return functional.avg_pool2d(x, 2)
        return self.conv(functional.pad(x, (0, 1, 0, 1)))


class Upsample(nn.Module):
    """Doubles the sides by repetition, then convolves if ``learned``."""

    def __init__(self, channels: int, learned: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1) if learned else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(b, c, 2 h, 2 w)``."""
        return self.conv(functional.interpolate(x, scale_factor=2.0, mode="nearest"))


def make_norm(channels: int) -> nn.GroupNorm:
    """Return the normalisation used throughout the autoencoder."""
    return nn.GroupNorm(NORM_GROUPS, channels, eps=1e-6)


def make_middle(channels: int, config: AutoencoderConfig) -> nn.Sequential:
    """Return the block at the lowest resolution, the only one with attention."""
    return nn.Sequential(
        ResidualBlock(channels, channels, config.dropout),
        ATTENTIONS[config.attention](channels),
        ResidualBlock(channels, channels, config.dropout),
    )


#: Attention at the lowest resolution, by its name in the configuration.
ATTENTIONS = {"softmax": SpatialAttention, "linear": LinearAttention, "none": nn.Identity}
