"""Encoders: from an image to maps of its features, each half as large as the one before.

ResNet: He et al., CVPR 2016. VGG: Simonyan and Zisserman, ICLR 2015. MobileNetV2: Sandler et al., CVPR 2018. Their
parameters are named as torchvision names them, so that its weight files fit; only those of EfficientNet-Lite0 come in a
package.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from dicomsvc.ai.training.networks import lite0

_MEAN: Final = (123.675, 116.28, 103.53)
_DEVIATION: Final = (58.395, 57.12, 57.375)
_VGG16: Final = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
_MOBILENET: Final = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, blocks and stride of the first block (MobileNetV2, table 2)."""
_PLAIN: Final = (24, 48, 72, 96)


class MapEncoder(nn.Module):
    """``(n, 3 + more, rows, columns)``, red, green and blue from 0 to 255 → maps of ``channels`` at 1/2, 1/4 and so on.

    Rows and columns must be a multiple of ``multiple``. Further input channels are used as they are, and count for
    nothing until they are trained.
    """

    channels: tuple[int, ...]

    @property
    def multiple(self) -> int:
        return int(2 ** len(self.channels))

    def normalised(self, image: Tensor) -> Tensor:
        mean = torch.tensor(_MEAN, device=image.device).view(1, 3, 1, 1)
        deviation = torch.tensor(_DEVIATION, device=image.device).view(1, 3, 1, 1)
        colours = (image[:, :3] - mean) / deviation
        return colours if image.shape[1] == 3 else torch.cat([colours, image[:, 3:]], dim=1)


class _Residual(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outside)
        self.conv2 = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outside)
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or inside != outside:
            self.downsample = nn.Sequential(nn.Conv2d(inside, outside, 1, stride, bias=False), nn.BatchNorm2d(outside))

    def forward(self, values: Tensor) -> Tensor:
        inner = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(values)))))
        return functional.relu(inner + self.downsample(values))


class ResNet(MapEncoder):
    """ResNet-18 and -34 by the number of blocks of their four layers."""

    channels = (64, 64, 128, 256, 512)

    def __init__(self, blocks: Sequence[int], more: int = 0) -> None:
        super().__init__()
        self.conv1 = _stem(nn.Conv2d(3 + more, 64, 7, 2, 3, bias=False))
        self.bn1 = nn.BatchNorm2d(64)
        inside = self.channels[:4]
        one, two, three, four = map(_layer, inside, self.channels[1:], blocks, (1, 2, 2, 2))
        self.layer1, self.layer2, self.layer3, self.layer4 = one, two, three, four

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [functional.relu(self.bn1(self.conv1(self.normalised(image))))]
        values = functional.max_pool2d(maps[0], 3, 2, 1)
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            values = layer(values)
            maps.append(values)
        return maps


def _layer(inside: int, outside: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Residual(inside, outside, stride)
    return nn.Sequential(first, *(_Residual(outside, outside, 1) for _ in range(blocks - 1)))


class Vgg16(MapEncoder):
    """The thirteen convolutions of VGG-16; the map at full resolution is not given out."""

    channels = (128, 256, 512, 512)

    def __init__(self, more: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 3 + more
        self._ends = []
        for block in _VGG16:
            for outside in block:
                layers += [nn.Conv2d(inside, outside, 3, padding=1), nn.ReLU()]
                inside = outside
            self._ends.append(len(layers) - 1)
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])
        for layer in layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        if more:
            _stem(self.features[0])

    def forward(self, image: Tensor) -> list[Tensor]:
        values, maps = self.normalised(image), []
        for number, layer in enumerate(self.features):
            values = layer(values)
            if number in self._ends:
                maps.append(values)
        return maps[1:]


class _Inverted(nn.Module):
    def __init__(self, inside: int, outside: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        parts: list[nn.Module] = [] if expansion == 1 else [_clipped(inside, wide, 1, 1, 1)]
        parts += [_clipped(wide, wide, 3, stride, wide), nn.Conv2d(wide, outside, 1, bias=False)]
        self.conv = nn.Sequential(*parts, nn.BatchNorm2d(outside))
        self._adds = stride == 1 and inside == outside

    def forward(self, values: Tensor) -> Tensor:
        inner: Tensor = self.conv(values)
        return values + inner if self._adds else inner


def _clipped(inside: int, outside: int, kernel: int, stride: int, groups: int) -> nn.Sequential:
    convolution = nn.Conv2d(inside, outside, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outside), nn.ReLU6())


class MobileNetV2(MapEncoder):
    """MobileNetV2 up to its last block; the 1,280 channels that follow for 1,000 classes are left out."""

    channels = (16, 24, 32, 96, 320)
    _GIVEN: Final = (1, 3, 6, 13, 17)

    def __init__(self, more: int = 0) -> None:
        super().__init__()
        layers: list[nn.Module] = [_clipped(3 + more, 32, 3, 2, 1)]
        inside = 32
        for expansion, outside, blocks, stride in _MOBILENET:
            for number in range(blocks):
                layers.append(_Inverted(inside, outside, stride if number == 0 else 1, expansion))
                inside = outside
        self.features = nn.Sequential(*layers)
        if more:
            _stem(layers[0].get_submodule("0"))

    def forward(self, image: Tensor) -> list[Tensor]:
        values, maps = self.normalised(image), []
        for number, layer in enumerate(self.features):
            values = layer(values)
            if number in self._GIVEN:
                maps.append(values)
        return maps


class Lite0(lite0.Encoder):
    """EfficientNet-Lite0 as a `MapEncoder`, with the normalisation that its weights were made with."""

    multiple = lite0.MULTIPLE

    def forward(self, image: Tensor) -> list[Tensor]:
        colours = (image[:, :3] - 127.0) / 128.0
        return super().forward(colours if image.shape[1] == 3 else torch.cat([colours, image[:, 3:]], dim=1))


class Plain(MapEncoder):
    """Two convolutions a level, without pretrained weights: U-Net's (Ronneberger et al., MICCAI 2015), narrower."""

    def __init__(self, more: int = 0, channels: tuple[int, ...] = _PLAIN) -> None:
        super().__init__()
        self.channels = channels
        self.levels = nn.ModuleList(map(_level, (3 + more, *channels), channels))

    def forward(self, image: Tensor) -> list[Tensor]:
        values, maps = self.normalised(image), []
        for level in self.levels:
            values = level(values)
            maps.append(values)
        return maps


def _level(inside: int, outside: int) -> nn.Sequential:
    parts: list[nn.Module] = []
    for channels, stride in ((inside, 2), (outside, 1)):
        convolution = nn.Conv2d(channels, outside, 3, stride, 1, bias=False)
        parts += [convolution, nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*parts)


def _stem(convolution: nn.Module) -> nn.Conv2d:
    """Let input channels after red, green and blue count for nothing at first."""
    assert isinstance(convolution, nn.Conv2d)
    with torch.no_grad():
        convolution.weight[:, 3:] = 0
    return convolution


def _lite0(more: int, pretrained: bool) -> nn.Module:
    network = Lite0(more)
    weights = lite0.imagenet_weights() if pretrained else None
    if weights is not None:
        network.load_imagenet(weights)
    return network


_ENCODERS: Final[Mapping[str, Callable[[int, bool], nn.Module]]] = MappingProxyType(
    {
        "efficientnet_lite0": _lite0,
        "mobilenet_v2": lambda more, pretrained: MobileNetV2(more),
        "plain": lambda more, pretrained: Plain(more),
        "resnet18": lambda more, pretrained: ResNet((2, 2, 2, 2), more),
        "resnet34": lambda more, pretrained: ResNet((3, 4, 6, 3), more),
        "vgg16": lambda more, pretrained: Vgg16(more),
    }
)
ENCODERS: Final = tuple(_ENCODERS)


def encoder(name: str, more: int = 0, *, pretrained: bool = True) -> nn.Module:
    """Return an encoder of `ENCODERS` by name: a `MapEncoder`, or what answers the same.

    With ``pretrained``, from ImageNet weights where an installed package has them: ``efficientnet_lite0`` alone.
    """
    return _ENCODERS[name](more, pretrained)


def channels_of(encoder: nn.Module) -> tuple[int, ...]:
    """Return how many channels each map of an encoder has, the largest map first."""
    found = encoder.channels
    assert isinstance(found, tuple)
    return found


def multiple_of(encoder: nn.Module) -> int:
    """Return what rows and columns of an encoder's image must be a multiple of."""
    found = encoder.multiple
    assert isinstance(found, int)
    return found
