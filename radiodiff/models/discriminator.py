"""The patch discriminator of the autoencoder's adversarial loss.

Source: Isola et al., *Image-to-Image Translation with Conditional Adversarial Networks*,
arXiv:1611.07004.
"""

from torch import Tensor, nn

__all__ = ["PatchDiscriminator"]


class PatchDiscriminator(nn.Module):
    """Scores overlapping patches of a map as real (high) or reconstructed (low).

    Args:
        in_channels: Channels of the map.
        width: Channels after the first convolution.
        layers: Convolutions that halve the sides; at 3 a score sees 70 x 70 cells.

    Raises:
        ValueError: If ``layers`` is not positive.
    """

    def __init__(self, in_channels: int = 1, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        if layers < 1:
            raise ValueError(f"layers must be positive, got {layers}")
        widths = [width * min(2**i, 8) for i in range(layers + 1)]
        stack: list[nn.Module] = [
            nn.Conv2d(in_channels, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
        ]
        for i in range(1, layers + 1):
            stride = 1 if i == layers else 2
            stack += [
                nn.Conv2d(widths[i - 1], widths[i], 4, stride=stride, padding=1, bias=False),
                nn.BatchNorm2d(widths[i]),
                nn.LeakyReLU(0.2),
            ]
        stack.append(nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.main = nn.Sequential(*stack)
        self.apply(init_patch)

    def forward(self, radio_map: Tensor) -> Tensor:
        """Return one score per patch.

        Args:
            radio_map: Maps in [-1, 1], shape ``(b, in_channels, h, w)``.

        Returns:
            Unbounded scores, shape ``(b, 1, h / 8 - 2, w / 8 - 2)`` at 3 layers.
        """
        return self.main(radio_map).to(radio_map.dtype)  # in mixed precision too


def init_patch(module: nn.Module) -> None:
    """Fill a convolution or batch norm with the initial values of the paper."""
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
