"""Networks that answer the class of a whole patch."""

from typing import Final

from torch import Tensor, nn

from dicomsvc.ai.training.networks.encoders import channels_of, encoder

CLASSIFIERS: Final = ("efficientnet_lite0", "mobilenet_v2", "resnet18", "resnet34", "vgg16", "plain")
_DROPOUT: Final = 0.2


class Classifier(nn.Module):
    """``(n, 3, rows, columns)``, red, green and blue from 0 to 255 → ``(n, classes)`` logits.

    One layer on the mean of the encoder's deepest map. VGG-16's own three layers, 120 of its 138 million parameters,
    are left out.
    """

    def __init__(self, name: str, classes: int, *, pretrained: bool = True) -> None:
        super().__init__()
        self.encoder = encoder(name, pretrained=pretrained)
        self.head = nn.Sequential(nn.Dropout(_DROPOUT), nn.Linear(channels_of(self.encoder)[-1], classes))

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.head(self.encoder(image)[-1].mean(dim=(2, 3)))
        return logits


def classifier(name: str, classes: int, pretrained: bool = True) -> Classifier:
    """Return a network for patches on one of `CLASSIFIERS`."""
    return Classifier(name, classes, pretrained=pretrained)
