"""Pictures of a slide with stored results: everything stands where the results say."""

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from dicomsvc.ai.overlay import MAX_SIDE, overlay_picture
from dicomsvc.ai.overlay.legend import bar_length_um, readable
from dicomsvc.ai.overlay.picture import slide_picture
from dicomsvc.errors import BadRequest, Conflict, NotFound, TooLarge
from dicomsvc.objects.segmentation import Organisation, SegmentationKind
from dicomsvc.objects.source import SourceSlide, source_slide
from dicomsvc.store import Store
from dicomsvc.wsi.plan import Rectangle
from dicomsvc.wsi.slide import Slide
from tests.acceptance.viewer import known, results
from tests.acceptance.viewer.compare import changed, distance_to, overlap
from tests.integration.wado_server import converted, store_files
from tests.unit.wsi.made_slides import made_image

CORNER = Rectangle(200, 1300, 600, 600)


@pytest.fixture
def source(store: Store, cmu_small_region: Path) -> SourceSlide:
    """The small slide, stored."""
    contents = converted(cmu_small_region)
    store_files(store, contents)
    slide = [pydicom.dcmread(io.BytesIO(content)) for content in contents]
    return source_slide([ds for ds in slide if ds.ImageType[2] == "VOLUME"])


def picture(
    store: Store,
    source: SourceSlide,
    series: Sequence[results.Series],
    *,
    region: Rectangle | None = None,
    max_size: int = 742,
) -> np.ndarray:
    """Return the part of the picture that shows the slide, without the legend."""
    uids = [each.uid for each in series]
    made = overlay_picture(
        store, source.study_instance_uid, source.series_instance_uid, uids, region=region, max_size=max_size
    )
    shown = region or Rectangle(0, 0, 2220, 2967)
    scale = max_size / max(shown.width, shown.height)
    return np.asarray(made)[: round(shown.height * scale), : round(shown.width * scale)]


def compared(
    store: Store, source: SourceSlide, series: results.Series, region: Rectangle | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Store results; return the picture without and with them, and the slide's columns and rows of its pixels."""
    store_files(store, map(bytes, series.files))
    before = picture(store, source, [], region=region)
    after = picture(store, source, [series], region=region)
    shown = region or Rectangle(0, 0, 2220, 2967)
    rows, columns = before.shape[:2]
    step = max(shown.width, shown.height) / 742
    places = np.meshgrid((np.arange(columns) + 0.5) * step + shown.x, (np.arange(rows) + 0.5) * step + shown.y)
    return before, after, places[0], places[1]


@pytest.mark.parametrize("region", [None, CORNER])
@pytest.mark.parametrize("kind", [SegmentationKind.BINARY, SegmentationKind.LABELMAP])
def test_a_segmentation_is_drawn_over_its_place(
    store: Store, source: SourceSlide, kind: SegmentationKind, region: Rectangle | None
) -> None:
    before, after, columns, rows = compared(store, source, results.segmentation(source, kind), region)
    assert overlap(changed(before, after), known.covered(columns, rows)) > 0.97


def test_a_segmentation_of_few_tiles_on_one_level_is_drawn_over_its_place(store: Store, source: SourceSlide) -> None:
    series = results.segmentation(source, SegmentationKind.BINARY, organisation=Organisation.SPARSE, levels=[1])
    before, after, columns, rows = compared(store, source, series)
    assert overlap(changed(before, after), known.covered(columns, rows)) > 0.97


def test_a_probability_is_drawn_the_stronger_the_higher_it_is(store: Store, source: SourceSlide) -> None:
    series = results.segmentation(source, SegmentationKind.FRACTIONAL)
    before, after, columns, rows = compared(store, source, series)
    difference = np.abs(before.astype(float) - after).sum(axis=2)
    share = known.share(columns, rows)
    certain, likely = (difference[distance_to(share != value) > 4].mean() for value in (1, known.HALF))
    assert 0.3 < likely / certain < 0.7
    assert difference[distance_to(share != 0) > 2].max() == 0


def test_a_map_is_drawn_in_the_colours_of_its_scale(store: Store, source: SourceSlide) -> None:
    before, after, columns, rows = compared(store, source, results.heat_map(source))
    values = known.heat(columns, rows)
    tint = (after.astype(float) - before * 0.45) / 0.55
    hottest, coolest = tint[distance_to(values < 1) > 4], tint[values < 0.02]
    assert np.abs(np.median(hottest, axis=0) - (255, 245, 150)).max() < 4
    assert np.abs(np.median(coolest, axis=0) - (10, 8, 60)).max() < 12


@pytest.mark.parametrize("spatial", [False, True])
@pytest.mark.parametrize("region", [None, CORNER])
def test_annotations_are_drawn_as_outlines(
    store: Store, source: SourceSlide, spatial: bool, region: Rectangle | None
) -> None:
    before, after, columns, rows = compared(store, source, results.annotations(source, spatial=spatial), region)
    drawn = changed(before, after)
    inside = np.zeros(drawn.shape, bool)
    step = columns[0, 1] - columns[0, 0]
    found = 0
    for kind in results.THINGS:
        for shape in results.shapes(kind):
            closed = np.concatenate([shape, shape[:1]])
            ends = np.linspace(closed[:-1], closed[1:], 2000).reshape(-1, 2)
            places = np.floor((ends - (columns[0, 0], rows[0, 0])) / step + 0.5).astype(int)
            places = places[np.all((places >= 0) & (places < drawn.shape[::-1]), axis=1)]
            inside[places[:, 1], places[:, 0]] = True
            if len(places):
                found += 1
                assert (distance_to(drawn)[places[:, 1], places[:, 0]] < 1.5).all(), kind
    assert found >= (1 if region else 7)
    assert distance_to(inside)[drawn].max() < 7


def test_the_legend_names_every_result_and_tells_the_scale(store: Store, source: SourceSlide) -> None:
    made = [results.segmentation(source, SegmentationKind.BINARY), results.annotations(source)]
    for series in made:
        store_files(store, map(bytes, series.files))
    uids = source.study_instance_uid, source.series_instance_uid
    alone = overlay_picture(store, *uids, [], max_size=742)
    whole = overlay_picture(store, *uids, [series.uid for series in made], max_size=742)
    assert isinstance(whole, Image.Image)
    assert whole.width == alone.width == 555
    assert whole.height > alone.height > 742
    strip = np.asarray(whole)[742:]
    for colour in (results.TISSUE.colour, results.NUCLEUS.colour, results.SPOT.colour):
        assert (np.abs(strip.astype(int) - colour).max(axis=2) < 3).sum() > 100, colour
    # 200 um of 555 pixels that are 2 um each
    bar = np.asarray(alone)[742 - 20 : 742 - 15, :200]
    assert 98 <= (bar.max(axis=(0, 2)) < 30).sum() <= 102


def test_two_objects_of_one_thing_are_one_entry_of_the_legend(store: Store, source: SourceSlide) -> None:
    made = [results.segmentation(source, kind) for kind in (SegmentationKind.BINARY, SegmentationKind.LABELMAP)]
    for series in made:
        store_files(store, map(bytes, series.files))
    uids = source.study_instance_uid, source.series_instance_uid
    one, both = (
        np.asarray(overlay_picture(store, *uids, [each.uid for each in chosen], max_size=742))[742:]
        for chosen in (made[:1], made)
    )
    assert np.array_equal(one, both)


def test_a_small_region_is_magnified_up_to_four_times(store: Store, source: SourceSlide) -> None:
    uids = source.study_instance_uid, source.series_instance_uid
    made = overlay_picture(store, *uids, [], region=Rectangle(500, 500, 100, 80))
    assert made.width == 400


def test_a_region_is_cut_to_the_slide(store: Store, source: SourceSlide) -> None:
    uids = source.study_instance_uid, source.series_instance_uid
    made = overlay_picture(store, *uids, [], region=Rectangle(-500, 2467, 1000, 9000), max_size=500)
    assert made.width == 500 and made.height > 500


def test_what_cannot_be_drawn_is_refused(store: Store, source: SourceSlide) -> None:
    uids = source.study_instance_uid, source.series_instance_uid
    with pytest.raises(BadRequest, match="2220 x 2967"):
        overlay_picture(store, *uids, [], region=Rectangle(3000, 0, 10, 10))
    with pytest.raises(BadRequest, match="pixels"):
        overlay_picture(store, *uids, [], max_size=MAX_SIDE + 1)
    with pytest.raises(NotFound):
        overlay_picture(store, *uids, ["1.2.3"])
    with pytest.raises(NotFound):
        overlay_picture(store, source.study_instance_uid, "1.2.3", [])


def test_fluorescence_is_shown_with_its_first_path_in_blue(tmp_path: Path) -> None:
    nuclei, other = np.zeros((2, 128, 128, 1), np.uint8)
    nuclei[:64], other[:, :64] = 200, 150
    slide = Slide((made_image(tmp_path / "two", [nuclei, other], (0.5, 0.5), paths=("DAPI", "CD3")),), ())
    canvas, view = slide_picture(slide, None, 128)
    assert canvas.shape == (128, 128, 3) and view.step == (1, 1)
    assert canvas[10, 10].tolist() == [0, 150, 200]
    assert canvas[100, 100].tolist() == [0, 0, 0]
    alone, _ = slide_picture(Slide((made_image(tmp_path / "one", [nuclei], (0.5, 0.5)),), ()), None, 128)
    assert alone[10, 10].tolist() == [200, 200, 200]


@pytest.mark.parametrize("highest", [0, 1])
def test_a_wrong_maximum_of_a_segmentation_is_no_crash(store: Store, source: SourceSlide, highest: int) -> None:
    series = results.segmentation(source, SegmentationKind.FRACTIONAL, compress=False, levels=[2])
    store_files(store, [edited(series.files[0], "MaximumFractionalValue", highest)])
    assert picture(store, source, [series]).shape == (742, 555, 3)


def test_results_of_another_slide_are_never_drawn(store: Store, source: SourceSlide) -> None:
    mask, outlines = results.segmentation(source, SegmentationKind.BINARY, levels=[2]), results.annotations(source)
    store_files(store, [edited(mask.files[0], "FrameOfReferenceUID", "1.2.3")])
    ds = pydicom.dcmread(io.BytesIO(outlines.files[0]))
    ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"
    store_files(store, [saved(ds)])
    for series in (mask, outlines):
        with pytest.raises(Conflict, match="another slide"):
            picture(store, source, [series])


@pytest.mark.parametrize("spacing", ["0.000000001", "1000"])
def test_a_result_with_an_absurd_pixel_spacing_is_refused_or_drawn(
    store: Store, source: SourceSlide, spacing: str
) -> None:
    series = results.segmentation(source, SegmentationKind.BINARY, levels=[2])
    ds = pydicom.dcmread(io.BytesIO(series.files[0]))
    ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [spacing, spacing]
    store_files(store, [saved(ds)])
    with contextlib.suppress(TooLarge):
        assert picture(store, source, [series]).shape == (742, 555, 3)


def edited(content: bytes | bytearray, keyword: str, value: int | str) -> bytes:
    ds = pydicom.dcmread(io.BytesIO(content))
    setattr(ds, keyword, value)
    return saved(ds)


def saved(ds: pydicom.Dataset) -> bytes:
    stream = io.BytesIO()
    ds.save_as(stream)
    return stream.getvalue()


@pytest.mark.parametrize(("um_per_pixel", "width", "length"), [(0.5, 800, 100), (0.25, 1600, 100), (2, 555, 200)])
def test_the_scale_bar_is_a_round_number(um_per_pixel: float, width: int, length: float) -> None:
    assert bar_length_um(um_per_pixel, width) == pytest.approx(length)


def test_a_label_is_one_short_line() -> None:
    assert readable("a\nb\x00c") == "a b c"
    assert len(readable("x" * 500)) == 60
