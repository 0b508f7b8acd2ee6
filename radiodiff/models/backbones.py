"""Convolutional image networks as condition encoders, as the public code offers beside Swin.

Sources: He et al., *Deep Residual Learning for Image Recognition*, arXiv:1512.03385; Tan and Le,
*EfficientNet*, arXiv:1905.11946; Simonyan and Zisserman, *Very Deep Convolutional Networks*,
arXiv:1409.1556. The layers come from torchvision, which only these encoders need. Its parameter
names are kept, so its published weights load key by key; none are downloaded.
"""

from collections.abc import Mapping
from types import ModuleType
from typing import Literal

import torch
from torch import Tensor, nn

from radiodiff.models.swin import check_condition

__all__ = ["BACKBONE_CHANNELS", "BACKBONE_INPUTS", "BackboneEncoder", "backbone_state_dict"]

#: Channels of the condition that every network takes.
BACKBONE_INPUTS = 3
#: Channels of the feature maps of each network at strides 4, 8, 16 and 32.
BACKBONE_CHANNELS: dict[str, tuple[int, ...]] = {
    "resnet101": (256, 512, 1024, 2048),
    "efficientnet_b7": (48, 80, 224, 640),
    "vgg16": (128, 256, 512, 512),
}

#: Layers whose outputs are the feature maps; of VGG16 these are the last four max-pools.
TAPS = {
    "resnet101": ("layer1", "layer2", "layer3", "layer4"),
    "efficientnet_b7": ("features.2", "features.3", "features.5", "features.7"),
    "vgg16": ("features.9", "features.16", "features.23", "features.30"),
}

#: Layers of torchvision that are left out.
DROPPED = {
    "resnet101": ("avgpool", "fc"),
    "efficientnet_b7": ("avgpool", "classifier"),
    "vgg16": ("avgpool",),
}
#: Layers that are kept so that the parameters count as upstream, but are never run.
UNUSED = {"resnet101": (), "efficientnet_b7": ("features.8",), "vgg16": ("classifier",)}


class BackboneEncoder(nn.Module):
    """Feature maps of an image network at strides 4, 8, 16 and 32.

    As upstream, VGG16 owns its classifier and EfficientNet-B7 its last convolution, although no
    feature map needs them: here they are never run and never trained (their parameters are
    frozen). As upstream, the condition is not normalised as ImageNet pictures are.

    Args:
        name: Which network.

    Raises:
        ValueError: If the network is unknown.
        ImportError: If torchvision cannot be imported.
    """

    def __init__(self, name: Literal["resnet101", "efficientnet_b7", "vgg16"]) -> None:
        super().__init__()
        check_name(name)
        self.name = name
        self.channels = BACKBONE_CHANNELS[name]
        network = getattr(import_torchvision(name).models, name)(weights=None)
        for child_name, child in network.named_children():
            if child_name not in DROPPED[name]:
                self.add_module(child_name, child)
        for layer in UNUSED[name]:
            self.get_submodule(layer).requires_grad_(False)
        if name == "vgg16":
            round_up(self.features)

    def forward(self, condition: Tensor) -> list[Tensor]:
        """Return the feature pyramid of a condition.

        Args:
            condition: Condition in [-1, 1], shape ``(b, 3, h, w)``; ``h`` and ``w`` are multiples
                of 4.

        Returns:
            Four maps, finest first, of shapes ``(b, channels[0], h / 4, w / 4)`` to
            ``(b, channels[3], h / 32, w / 32)``, sides rounded up.

        Raises:
            ValueError: If the channels are wrong or a side is no multiple of 4.
        """
        check_condition(condition, BACKBONE_INPUTS)
        # ResNet's layers are children of the network itself, those of the others of `features`.
        prefix, body = ("", self) if self.name == "resnet101" else ("features.", self.features)
        x = condition
        maps = []
        for child_name, layer in body.named_children():
            if prefix + child_name in UNUSED[self.name]:
                continue
            x = layer(x)
            if prefix + child_name in TAPS[self.name]:
                maps.append(x)
        return maps


def backbone_state_dict(
    torchvision_state: Mapping[str, Tensor],
    name: Literal["resnet101", "efficientnet_b7", "vgg16"],
) -> dict[str, Tensor]:
    """Return the entries of torchvision's weights that a :class:`BackboneEncoder` has.

    Left out are ``fc.*`` of ResNet-101 and ``classifier.*`` of EfficientNet-B7; VGG16 keeps all.

    Args:
        torchvision_state: State dict of torchvision's network of that name.
        name: Which network.

    Returns:
        State dict for ``BackboneEncoder(name)``; tensors are shared, not copied.

    Raises:
        ValueError: If the network is unknown.
    """
    check_name(name)
    return {
        key: value
        for key, value in torchvision_state.items()
        if key.split(".")[0] not in DROPPED[name]
    }


def check_name(name: str) -> None:
    """Refuse a network that is not among the backbones.

    Args:
        name: Which network.

    Raises:
        ValueError: If the network is unknown.
    """
    if name not in BACKBONE_CHANNELS:
        raise ValueError(f"name must be one of {tuple(BACKBONE_CHANNELS)}, got {name!r}")


def import_torchvision(name: str) -> ModuleType:
    """Return torchvision.

    Args:
        name: The network that needs it.

    Raises:
        ImportError: If torchvision is missing or does not fit the installed torch.
    """
    try:
        import torchvision
    # Built for another torch, it may fail in any of these ways.
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise ImportError(
            f"expected a working torchvision for encoder: {name}, but its import failed with "
            f"{type(error).__name__}: {error}; install the torchvision that belongs to torch "
            f"{torch.__version__}, or use encoder: swin or conv"
        ) from error
    return torchvision


def round_up(layers: nn.Module) -> None:
    """Make max-pools keep the last cell of an odd side, as strided convolutions do.

    torchvision drops it, so that a side below 32 would leave nothing at the last pool. Sides that
    are multiples of 32 give the same either way.
    """
    for layer in layers.modules():
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
