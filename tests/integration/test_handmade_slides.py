"""Slides that other writers lay out in other ways are read as the same slide, or refused with a reason."""

from collections.abc import Callable

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from dicomsvc.ai.analysis.subject import open_subject
from dicomsvc.errors import UnfitSlide
from dicomsvc.store import Store
from dicomsvc.wsi.image import open_image
from dicomsvc.wsi.plan import Rectangle
from dicomsvc.wsi.resampling import Plane
from dicomsvc.wsi.slide import Slide, open_slide
from tests.integration.handmade_slides import Picture, concatenation, file_of, halved, item, level, uids
from tests.integration.wado_server import store_files
from tests.unit.wsi.made_slides import picture

COLOUR = picture(700, 900)
BLURRED = np.full_like(COLOUR, 127)
DAPI, CD3 = (picture(700, 900, seed)[:, :, :1].astype(np.uint16) * 16 for seed in (1, 2))
SERIES = uids()


def levels(*planes: Picture, **how: object) -> list[Dataset]:
    how = {"uids": SERIES, **how}
    return [level(planes, **how), level([halved(plane) for plane in planes], factor=2, **how)]  # type: ignore[arg-type]


def in_parts(**how: object) -> list[Dataset]:
    return [part for ds in levels(COLOUR, **how) for part in concatenation(ds, 2)]


def another_pyramid(**how: object) -> list[Dataset]:
    return levels(COLOUR) + levels(BLURRED[:640, :820], **how)


WHOLE: dict[str, Callable[[], list[Dataset]]] = {
    "sparse": lambda: levels(COLOUR, sparse=True),
    "focal planes": lambda: levels(BLURRED, COLOUR, BLURRED, focal_planes=3),
    "focal planes, sparse": lambda: levels(BLURRED, COLOUR, BLURRED, focal_planes=3, sparse=True),
    "a focal plane an instance": lambda: (
        levels(BLURRED, height=1.0) + levels(BLURRED, height=-1.0) + levels(COLOUR, height=0.0)
    ),
    "concatenation": in_parts,
    "concatenation, sparse": lambda: in_parts(sparse=True),
    "another pyramid elsewhere": lambda: another_pyramid(origin=(5.0, 60.0)),
    "another pyramid at the same corner": lambda: another_pyramid(),
}


@pytest.mark.parametrize("layout", list(WHOLE))
def test_the_same_pixels_are_read_whatever_the_layout(layout: str, store: Store) -> None:
    slide = _stored(store, WHOLE[layout]())
    assert [(each.columns, each.rows) for each in slide.levels] == [(900, 700), (450, 350)]
    assert np.array_equal(slide.read_region(0, 0, 0, 900, 700), COLOUR)
    assert np.array_equal(slide.read_region(1, 100, 50, 300, 200), halved(COLOUR)[50:250, 100:400])


FLUORESCENCE: dict[str, Callable[[], list[Dataset]]] = {
    "one instance": lambda: levels(DAPI, CD3, paths=("DAPI", "CD3")),
    "one instance, sparse": lambda: levels(DAPI, CD3, paths=("DAPI", "CD3"), sparse=True),
    "an instance each": lambda: levels(DAPI, paths=("DAPI",)) + levels(CD3, paths=("CD3",)),
    "an instance each, of focal planes": lambda: (
        levels(CD3, DAPI, CD3, paths=("DAPI",), focal_planes=3) + levels(CD3, paths=("CD3",), sparse=True)
    ),
}


@pytest.mark.parametrize("layout", list(FLUORESCENCE))
def test_optical_paths_are_found_by_name_whatever_the_layout(layout: str, store: Store) -> None:
    slide = _stored(store, FLUORESCENCE[layout]())
    assert len(slide.levels) == 2
    channels = slide.levels[0].tiling.channels
    assert set(channels) == {"DAPI", "CD3"}
    for name, pixels in (("DAPI", DAPI), ("CD3", CD3)):
        assert np.array_equal(slide.read_region(0, 0, 0, 900, 700, channels.index(name)), pixels)
    tile = Plane(slide, 0.5, ("CD3", "DAPI")).read(Rectangle(0, 0, 900, 700))
    assert np.corrcoef(tile[:, :, 0].ravel(), CD3.ravel())[0, 1] > 0.99
    assert np.corrcoef(tile[:, :, 1].ravel(), DAPI.ravel())[0, 1] > 0.99


def test_a_concatenation_with_a_part_missing_is_refused(store: Store) -> None:
    with pytest.raises(UnfitSlide, match="concatenation of 2, of which 1 are stored"):
        _stored(store, in_parts()[:1])


def test_an_image_of_one_optical_path_is_a_level_among_images_of_that_path(store: Store) -> None:
    _stored(store, FLUORESCENCE["an instance each"]())
    records = store.instances.find(*SERIES[:2])
    for found in store.instances.metadata(records):
        image = open_image(store, *found)
        slide = open_slide(store, *SERIES[:2], like=image)
        assert [each.columns for each in slide.levels] == [900, 450]
        assert {each.tiling.channels for each in slide.levels} == {image.tiling.channels}


def test_a_series_that_is_no_slide_cannot_be_analysed(store: Store) -> None:
    ds = levels(COLOUR)[0]
    ds.SOPClassUID = "1.2.840.10008.5.1.4.1.1.66.4"
    ds.SegmentSequence = [item(SegmentNumber=1)]
    ds.SOPInstanceUID = generate_uid()
    store_files(store, [file_of(ds)])
    with pytest.raises(UnfitSlide, match="no slide"):
        open_subject(store, *SERIES[:2])


def _stored(store: Store, datasets: list[Dataset]) -> Slide:
    store_files(store, [file_of(ds) for ds in datasets])
    return open_slide(store, *SERIES[:2])
