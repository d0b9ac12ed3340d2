"""An IHC model's maps give classes and amounts of dye in and around each nucleus."""

import numpy as np
import pytest

from dicomsvc.ai.catalogue.manifest import OutputKind, Stain
from dicomsvc.ai.decoding import decoder
from dicomsvc.ai.findings import Instances
from dicomsvc.wsi.plan import Rectangle, Tile
from tests.unit.ai.made_models import made_manifest

SIDE = 64
TENSORS = {"mask": "MASK", "positive": "POSITIVE", "marker": "MARKER", "counterstain": "HEMATOXYLIN"}


def planes(**values: float) -> dict[str, np.ndarray]:
    """Two square nuclei: the left one as told, the right one with nothing but counterstain."""
    made = {name: np.zeros((SIDE, SIDE, 1), np.uint8) for name in TENSORS.values()}
    for left in (8, 40):
        made["MASK"][24:40, left : left + 16] = 255
        made["HEMATOXYLIN"][24:40, left : left + 16] = 51
    for name, value in values.items():
        made[name][24:40, 8:24] = round(255 * value)
    return made


def found(outputs: dict[str, np.ndarray], **settings: float) -> Instances:
    manifest = made_manifest(
        OutputKind.INSTANCES, classes=2, tile_size=SIDE, overlap=0, tensors=TENSORS, stain=Stain.IHC, **settings
    )
    tile = Tile(0, Rectangle(0, 0, SIDE, SIDE), Rectangle(0, 0, SIDE, SIDE))
    image = np.full((SIDE, SIDE, 3), 240, np.uint8)
    instances = decoder(manifest).decode(outputs, image, tile, (1.0, 1.0)).instances
    assert instances is not None
    return instances.chosen(np.argsort(instances.centroids[:, 0]))


@pytest.mark.parametrize(("share", "positive"), [(0.0, 0), (0.45, 0), (0.55, 1), (1.0, 1)])
def test_a_nucleus_is_positive_when_most_of_it_is(share: float, positive: int) -> None:
    assert found(planes(POSITIVE=share)).class_index.tolist() == [positive, 0]


def test_the_threshold_of_positive_can_be_set() -> None:
    assert found(planes(POSITIVE=0.6), positive_threshold=0.7).class_index.tolist() == [0, 0]


def test_densities_are_those_of_the_maps() -> None:
    outputs = planes(MARKER=0.5)
    outputs["MARKER"][30, 12] = 255
    measurements = found(outputs).measurements
    assert measurements["mean_marker_od"] == pytest.approx([1.0, 0], abs=0.02)
    assert measurements["highest_marker_od"] == pytest.approx([2.0, 0], abs=0.01)
    assert measurements["ring_marker_od"] == pytest.approx([0, 0], abs=0.01)
    assert measurements["mean_counterstain_od"] == pytest.approx([0.4, 0.4], abs=0.01)


def test_the_ring_is_around_the_nucleus_and_not_in_its_neighbour() -> None:
    outputs = planes()
    outputs["MARKER"][20:44, 4:28] = 128
    outputs["MARKER"][24:40, 8:24] = 0
    measurements = found(outputs).measurements
    assert measurements["ring_marker_od"][0] == pytest.approx(1.0, abs=0.02)
    assert measurements["ring_marker_od"][1] == 0
    assert measurements["mean_marker_od"] == pytest.approx([0, 0], abs=0.01)
