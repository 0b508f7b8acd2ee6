"""Feature maps of VGG16 for the perceptual loss. No weights are bundled.

Sources: Simonyan and Zisserman, *Very Deep Convolutional Networks*, arXiv:1409.1556; input scaling
and choice of layers: Zhang et al., *The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric*, arXiv:1801.03924. Parameter names follow torchvision's ``vgg16``.
"""

import torch
from torch import Tensor, nn

__all__ = ["VGG16Features"]

BLOCKS = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
#: Mean and standard deviation of ImageNet, moved from [0, 1] to [-1, 1].
SHIFT = (-0.030, -0.088, -0.188)
SCALE = (0.458, 0.448, 0.450)


class VGG16Features(nn.Module):
    """The maps after relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3, frozen.

    ``load_state_dict`` takes the ``features.*`` entries of torchvision's ``vgg16``.
    """

    channels: tuple[int, ...] = tuple(block[-1] for block in BLOCKS)

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        taps = []
        channels = 3
        for block in BLOCKS:
            if layers:
                layers.append(nn.MaxPool2d(2))
            for width in block:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            taps.append(len(layers) - 1)
        self.taps = frozenset(taps)
        self.features = nn.Sequential(*layers)
        self.register_buffer("shift", torch.tensor(SHIFT).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).view(1, 3, 1, 1), persistent=False)
        self.requires_grad_(False)

    def forward(self, radio_map: Tensor) -> list[Tensor]:
        """Return the five feature maps.

        Args:
            radio_map: Maps in [-1, 1], shape ``(b, 1, h, w)`` (repeated to three channels) or
                ``(b, 3, h, w)``; sides of at least 16.

        Returns:
            Maps of 64, 128, 256, 512 and 512 channels at strides 1, 2, 4, 8 and 16.

        Raises:
            ValueError: If the map has neither 1 nor 3 channels.
        """
        if radio_map.ndim != 4 or radio_map.shape[1] not in (1, 3):
            raise ValueError(
                f"expected maps of shape (b, 1 or 3, h, w), got {tuple(radio_map.shape)}"
            )
        x = (radio_map - self.shift) / self.scale
        maps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.taps:
                maps.append(x)
        return maps
