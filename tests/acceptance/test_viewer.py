"""dicom-microscopy-viewer, the library of Slim, draws a slide and our results in Chromium, each at its right place."""

import io
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest
import tifffile
from dicomweb_client import DICOMwebClient

from dicomsvc.objects.segmentation import Organisation, SegmentationKind
from dicomsvc.objects.source import SourceSlide, source_slide
from tests.acceptance.viewer import known, results
from tests.acceptance.viewer.browser import Page, chromium
from tests.acceptance.viewer.compare import (
    Mask,
    Picture,
    Screen,
    changed,
    distance_to,
    outlines,
    overlap,
    screen,
)
from tests.acceptance.viewer.site import LIBRARY, site
from tests.conftest import CMU_SMALL_REGION, require_program, start_service
from tests.integration.wado_server import converted

pytestmark = pytest.mark.peer
WINDOW = (480, 400)
# Pixels of the finest level for one of the screen, what is in the middle, the window. The library zooms out until the
# slide fits into the window, or into 256 pixels.
NEAR = (0.5, (600, 1500), WINDOW)
MIDDLE = (2.5, (1010, 1290), WINDOW)
FAR = (7.4, (1110, 1483), WINDOW)
OVERVIEW = (11.5, (1110, 1483), (240, 260))
LOOKS = (NEAR, MIDDLE, FAR, OVERVIEW)
_ANNOTATIONS_FOLLOW_MS = 800
Look = tuple[float, tuple[int, int], tuple[int, int]]


@dataclass(frozen=True)
class Seen:
    """A window without a thing and with it."""

    view: Screen
    before: Picture
    after: Picture

    @property
    def drawn(self) -> Mask:
        return changed(self.before, self.after)


@dataclass(frozen=True)
class Shown:
    """A browser that shows the slide of a running service."""

    page: Page
    origin: str
    client: DICOMwebClient
    source: SourceSlide

    def open(self) -> None:
        """Show the slide alone in a fresh page."""
        self.page.go(f"{self.origin}/page.html", *WINDOW)
        uids = self.source.study_instance_uid, self.source.series_instance_uid
        self.page.call("slidePage.open", self.client.base_url, *uids)

    def look(self, look: Look, pause_ms: int = 0) -> Screen:
        """Show a part of the slide; return where it lies."""
        scale, (column, row), size = look
        self.page.resize(*size)
        self.page.call("slidePage.resized")
        self.page.call("slidePage.look", column, row, scale, pause_ms)
        return screen(self.page, *size)

    def add(self, modality: str, series: results.Series) -> list[tuple[str, str]]:
        """Store a series and give it to the viewer; returns the UIDs that it shows things by, with their labels."""
        self.client.store_instances([pydicom.dcmread(io.BytesIO(file)) for file in series.files])
        return [(each["uid"], each["label"]) for each in self.page.call("slidePage.add", modality, series.uid)]

    def picture(self) -> Picture:
        """Return what the window shows once that no longer changes."""
        picture = self.page.picture()
        for _ in range(20):
            previous, picture = picture, self.page.picture()
            if np.array_equal(previous, picture):
                return picture
        raise AssertionError("the window never comes to rest")

    def before_and_after(self, modality: str, uid: str, looks: Sequence[Look]) -> Iterator[tuple[Look, Seen]]:
        """Look at the slide without a thing, then with it, and take it away again."""
        views = []
        for look in looks:
            view = self.look(look)
            views.append((look, view, self.picture()))
        self.page.call("slidePage.show", modality, uid)
        for look, view, before in views:
            self.look(look, _ANNOTATIONS_FOLLOW_MS if modality == "ANN" else 0)
            yield look, Seen(view, before, self.picture())
        self.page.call("slidePage.remove", modality, uid)


@pytest.fixture(scope="module")
def shown() -> Iterator[Shown]:
    program = require_program("chromium")
    if not LIBRARY.is_dir():
        pytest.skip("dicom-microscopy-viewer is not installed (`make setup-test`)")
    slide = [pydicom.dcmread(io.BytesIO(content)) for content in converted(CMU_SMALL_REGION)]
    source = source_slide([ds for ds in slide if ds.ImageType[2] == "VOLUME"])
    with tempfile.TemporaryDirectory(prefix="dicomsvc-viewer-") as name, site() as origin:
        Path(name).chmod(0o755)
        running = start_service(
            Path(name) / "data",
            environment={"DICOMSVC_HTTP__CORS_ORIGINS": json.dumps([origin]), "DICOMSVC_TRITON__IN_PROCESS": "true"},
        )
        try:
            client = DICOMwebClient(running.dicomweb)
            client.store_instances(slide)
            with chromium(program) as page:
                viewer = Shown(page, origin, client, source)
                viewer.open()
                yield viewer
        finally:
            running.process.terminate()
            running.process.wait(40)


@pytest.fixture(autouse=True)
def no_complaints(shown: Shown) -> Iterator[None]:
    """Every request is answered, and nothing is logged as an error, in every test."""
    shown.page.errors.clear()
    shown.page.answers.clear()
    yield
    assert shown.page.errors == []
    assert [answer for answer in shown.page.answers if answer[1] >= 400] == []


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def expected(view: Screen) -> Mask:
    return known.covered(view.columns, view.rows)


@pytest.mark.parametrize("look", LOOKS)
def test_the_slide_is_drawn_where_its_pixels_are(shown: Shown, look: Look) -> None:
    view = shown.look(look)
    drawn = shown.picture().mean(axis=2)
    slide = tifffile.imread(CMU_SMALL_REGION, key=0)
    level = round(max(look[0], 1))
    reduced = slide[: slide.shape[0] // level * level, : slide.shape[1] // level * level].mean(axis=2)
    reduced = reduced.reshape(reduced.shape[0] // level, level, -1, level).mean(axis=(1, 3))
    inside = view.on_slide(reduced.shape[1] * level, reduced.shape[0] * level)
    columns, rows = (places[inside].astype(int) // level for places in (view.columns, view.rows))
    assert np.count_nonzero(inside) > 0.2 * inside.size
    fit = correlation(drawn[inside], reduced[rows, columns])
    assert fit > 0.9
    assert correlation(drawn[inside], reduced[::-1][rows, columns]) < fit - 0.3


@pytest.mark.parametrize(
    ("organisation", "looks"), [(Organisation.FULL, LOOKS), (Organisation.SPARSE, [MIDDLE, OVERVIEW])]
)
def test_a_binary_segmentation_covers_its_shapes(
    shown: Shown, organisation: Organisation, looks: Sequence[Look]
) -> None:
    series = results.segmentation(shown.source, SegmentationKind.BINARY, organisation=organisation)
    ((uid, label),) = shown.add("SEG", series)
    assert label == results.TISSUE.label
    for look, seen in shown.before_and_after("SEG", uid, looks):
        assert 0.01 < seen.drawn.mean() < 0.9, look
        assert overlap(seen.drawn, expected(seen.view)) > 0.95, look
        assert overlap(seen.drawn[::-1], expected(seen.view)) < 0.7, look
    if looks is LOOKS:
        assert {0, 1, 3} <= frames_asked(shown, series)


def test_a_segmentation_of_one_level_is_drawn_at_other_scales(shown: Shown) -> None:
    series = results.segmentation(shown.source, SegmentationKind.BINARY, levels=[1])
    ((uid, _),) = shown.add("SEG", series)
    for look, seen in shown.before_and_after("SEG", uid, [NEAR, FAR]):
        assert overlap(seen.drawn, expected(seen.view)) > 0.9, look


@pytest.mark.parametrize(("compress", "looks"), [(True, [MIDDLE, OVERVIEW]), (False, [FAR])])
def test_a_fractional_segmentation_has_a_colour_for_each_probability(
    shown: Shown, compress: bool, looks: Sequence[Look]
) -> None:
    series = results.segmentation(shown.source, SegmentationKind.FRACTIONAL, compress=compress)
    ((uid, _),) = shown.add("SEG", series)
    for look, seen in shown.before_and_after("SEG", uid, looks):
        assert overlap(seen.drawn, expected(seen.view)) > 0.9, look
        certain, likely = (colours(seen, value) for value in (1, known.HALF))
        assert np.ptp(certain, axis=0).max() <= 2, look
        if len(likely):
            assert np.ptp(likely, axis=0).max() <= 2, look
            assert np.abs(certain[0] - likely[0]).max() > 40, look


def test_a_parametric_map_has_brighter_colours_for_higher_values(shown: Shown) -> None:
    series = results.heat_map(shown.source)
    ((uid, label),) = shown.add("OT", series)
    assert label == "Heat"
    for look, seen in shown.before_and_after("OT", uid, [MIDDLE, OVERVIEW]):
        inside = seen.view.on_slide(2220, 2967)
        values = known.heat(seen.view.columns, seen.view.rows)
        brightness = seen.after.mean(axis=2)
        assert seen.drawn[inside].mean() > 0.95, look
        assert not seen.drawn[distance_to(inside) > 2].any(), look
        assert correlation(brightness[inside], values[inside]) > 0.9, look
        assert overlap((brightness > 220) & inside, expected(seen.view)) > 0.9, look


@pytest.mark.parametrize("spatial", [False, True])
def test_annotations_are_drawn_where_they_are(shown: Shown, spatial: bool) -> None:
    # Nothing is hidden or removed here: the library cannot take points away, and hides one of two layers.
    shown.open()
    groups = shown.add("ANN", results.annotations(shown.source, spatial=spatial))
    assert {label for _, label in groups} == {f"{kind.lower()}s" for kind in results.THINGS}
    before = []
    for look in (MIDDLE, FAR):
        shown.look(look)
        before.append(shown.picture())
    for uid, _ in groups:
        shown.page.call("slidePage.show", "ANN", uid)
    for look in (FAR, MIDDLE):
        view = shown.look(look, _ANNOTATIONS_FOLLOW_MS)
        check_annotations(look, Seen(view, before.pop(), shown.picture()))


def check_annotations(look: Look, seen: Seen) -> None:
    nothing = np.zeros(seen.drawn.shape, bool)
    places = nothing.copy()
    for kind in results.THINGS:
        for shape in results.shapes(kind):
            outline = outlines(seen.view, [shape])
            places |= outline
            # Near, the library leaves out what begins outside of the window.
            if not (outline.any() and seen.view.shows(shape[0])):
                continue
            assert (distance_to(seen.drawn)[outline] < 3).mean() > 0.95, (look, kind)
            colour = np.median(seen.after[seen.drawn & (distance_to(outline) < 1)], axis=0)
            assert np.abs(colour - results.colour(kind)).max() < 60, (look, kind)
    assert distance_to(places)[seen.drawn].max() < 6, look


def colours(seen: Seen, value: float) -> np.ndarray:
    """Return the colours of the screen's pixels that have this share, as their neighbours do."""
    mask = known.share(seen.view.columns, seen.view.rows) == value
    return seen.after[distance_to(~mask) > 3].astype(int)


def frames_asked(shown: Shown, series: results.Series) -> set[int]:
    """Return the numbers of the instances of which frames have been fetched in this test."""
    asked = {url.split("/frames/")[0].rsplit("/", 1)[1] for url, _, _ in shown.page.answers if "/frames/" in url}
    return {number for number, uid in enumerate(series.instances) if uid in asked}
