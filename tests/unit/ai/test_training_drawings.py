"""Outlines of people become labels of pixels; what nobody looked at stays unknown."""

import csv
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.sr.codedict import codes
from typer.testing import CliRunner

from dicomsvc.ai.training.data.bulk import bulk_marks
from dicomsvc.ai.training.data.crops import Cutting, Drawn, areas, cut
from dicomsvc.ai.training.data.geojson import read_geojson
from dicomsvc.ai.training.data.marks import Role, disc, ellipse, make_mark, role_of
from dicomsvc.ai.training.data.painting import painted
from dicomsvc.ai.training.data.reports import read_report
from dicomsvc.ai.training.labelled import UNKNOWN, fold_of, folds_of, read_folder
from dicomsvc.cli import app
from dicomsvc.errors import BadRequest, InvalidInstance
from dicomsvc.objects.annotations import AnnotationGroup, GraphicType
from dicomsvc.wsi.plan import Rectangle, make_grid
from tests.unit.objects.pyramid_slide import datasets
from tests.unit.objects.result_slide import NUCLEUS
from tests.viewer_drawings import NEOPLASM, PERSON, REGION, Outline, report, square

LABELS = Path(__file__).parents[3] / "scripts" / "nuclei_labels" / "CMU-1-Small-Region.geojson"


class White:
    """A slide of 2000 x 1000 pixels of 0.25 um, seen at 0.5 um."""

    def __init__(self):
        self.grid = make_grid(2000, 1000, (0.25, 0.25), 0.5)
        self.mpp = (0.5, 0.5)

    def read(self, area):
        return np.full((area.height, area.width, 3), 255, np.uint8)


def box(x, y, width, height, label="Tumor"):
    return make_mark(label, None, [np.array([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])])


def drawn(*marks):
    labels = sorted({mark.label for mark in marks if mark.role is Role.THING})
    return Drawn(White(), marks, (), {label: number for number, label in enumerate(labels, 1)})


def only(found, cutting=None):
    [area], more = areas(found, cutting or Cutting())
    assert not more
    return cut(found, area, cutting or Cutting())


@pytest.mark.parametrize(
    ("label", "code", "role"),
    [
        ("Region*", None, Role.REGION),
        ("Region of interest", None, Role.REGION),
        ("anything", codes.DCM.SelectedRegion, Role.REGION),
        ("Ignore*", None, Role.IGNORED),
        ("Necrosis", None, Role.THING),
    ],
)
def test_a_class_tells_what_an_outline_is_for(label, code, role):
    assert role_of(label, code) is role


def test_a_pixel_belongs_to_a_thing_when_half_of_it_is_inside():
    mark = box(10, 20, 4, 6)
    place, inside = painted(mark, (0.5, 0.5), Rectangle(0, 0, 100, 100))
    assert (place.x, place.y, place.width, place.height) == (5, 10, 2, 3)
    assert inside.all()
    assert not painted(box(10.7, 20, 1, 10), (1, 1), Rectangle(0, 0, 50, 50))[1][:, 0].any()


def test_the_area_of_round_things_is_kept():
    ring = ellipse(np.array([(100, 200), (180, 200), (140, 180), (140, 220)]))
    _, inside = painted(make_mark("x", None, [ring]), (1, 1), Rectangle(0, 0, 400, 400))
    assert inside.sum() == pytest.approx(np.pi * 40 * 20, rel=0.01)
    _, inside = painted(make_mark("x", None, [disc(np.array([50, 50]), (9, 9))]), (1, 1), Rectangle(0, 0, 99, 99))
    assert inside.sum() == pytest.approx(np.pi * 81, rel=0.02)


def test_a_hole_is_no_part_of_a_thing():
    outer, inner = (np.array([(a, a), (b, a), (b, b), (a, b)]) for a, b in ((0, 40), (10, 30)))
    _, inside = painted(make_mark("x", None, [outer, inner]), (1, 1), Rectangle(0, 0, 40, 40))
    assert inside.sum() == 1600 - 400


def test_only_in_a_region_of_interest_is_the_rest_background():
    crop = only(drawn(box(100, 100, 200, 100, "Region*"), box(120, 120, 20, 20), box(290, 120, 40, 20)))
    assert crop.area == Rectangle(42, 42, 116, 66)
    assert crop.things.max() == 2 and (crop.things > 0).sum() == 100 + 130
    known = ~crop.unknown
    assert known.sum() == 100 * 50 + 8 * 10, "the region, and what of a thing reaches out of it"
    assert known[8:58, 8:108].all()


def test_without_a_region_only_what_was_drawn_is_known():
    things = (box(120, 120, 20, 20), box(200, 130, 20, 20, "Stroma"))
    crop = only(drawn(*things))
    assert ((crop.things > 0) == ~crop.unknown).all()
    assert {int(value) for value in np.unique(crop.classes[~crop.unknown])} == {1, 2}
    crop = only(drawn(*things), Cutting(rim_um=2))
    assert (~crop.unknown & (crop.things == 0)).sum() > 300
    assert not only(drawn(*things), Cutting(is_complete=True)).unknown.any()


class Mask:
    """A segment that is everything of a rectangle of the plane."""

    role, label = Role.THING, "Tumor"

    def __init__(self, place):
        self.place = place

    def tiles(self, grid, side):
        place = self.place
        return product(
            range(place.x // side, -(-place.right // side)), range(place.y // side, -(-place.bottom // side))
        )

    def inside(self, grid, area):
        found = np.zeros((area.height, area.width), np.bool_)
        place = self.place.overlap(area)
        found[place.y - area.y : place.bottom - area.y, place.x - area.x : place.right - area.x] = True
        return found


@pytest.mark.parametrize(("label", "things", "unknown"), [("Tumor", 2, 44), ("Stroma", 3, 0)])
def test_what_outlines_leave_of_a_mask_of_the_same_class_is_no_thing_more(label, things, unknown):
    outline = box(42, 42, 20, 20, label)
    masks = [Mask(Rectangle(20, 20, 12, 12)), Mask(Rectangle(50, 50, 6, 6))]
    found = Drawn(White(), [outline], masks, {"Stroma": 1, "Tumor": 2})
    crop = cut(found, Rectangle(0, 0, 64, 64), Cutting(is_complete=True))
    assert (crop.things.max(), crop.unknown.sum()) == (things, unknown)
    assert (crop.things[50:56, 50:56] > 0).all() and (crop.things[21:31, 21:31] > 0).all()


@pytest.mark.parametrize(("width", "tiles"), [(30, []), (200, [64, 128, 192, 256])])
def test_a_mask_is_cut_out_once(width, tiles):
    region, mask = box(80, 80, 100, 40, "Region*"), Mask(Rectangle(70, 45, width, 12))
    found, _ = areas(Drawn(White(), [region], [mask], {"Tumor": 1}), Cutting(side=64))
    assert [area.x for area in found] == [32, *tiles]


def test_what_is_to_be_ignored_is_unknown_inside_of_a_region_too():
    crop = only(drawn(box(100, 100, 200, 100, "Region*"), box(120, 120, 20, 20), box(110, 110, 30, 20, "Ignore*")))
    assert (~crop.unknown).sum() == 5000 - 150
    assert (crop.things > 0).sum() == 50


def test_a_large_region_is_cut_evenly_and_a_large_thing_into_tiles():
    found, _ = areas(drawn(box(0, 0, 2000, 1000, "Region*"), box(5, 5, 9, 9)), Cutting(side=256))
    assert len(found) == 6 and sum(area.width * area.height for area in found) == 1000 * 500
    found, _ = areas(drawn(box(0, 0, 2000, 20)), Cutting(side=256))
    assert [area.x for area in found] == [0, 256, 512, 768]
    found, more = areas(drawn(box(0, 0, 2000, 1000)), Cutting(side=64, most=10))
    assert (len(found), more) == (10, 16 * 8 - 10)


def test_smaller_things_lie_on_top_of_larger_ones():
    crop = only(drawn(box(100, 100, 20, 20, "Nucleus"), box(60, 60, 200, 200)))
    assert (crop.classes == 1).sum() == 100
    assert (crop.classes == 2).sum() == 100 * 100 - 100


def test_a_report_of_a_viewer_gives_its_outlines_in_slide_pixels():
    levels = datasets()
    ends = [(100.0, 100.0), (140.0, 100.0), (120.0, 90.0), (120.0, 110.0)]
    document = report(levels, [square(20, 30, 16), Outline(ends, NEOPLASM, "ELLIPSE"), square(0, 0, 90, REGION)])
    frame = levels[0].FrameOfReferenceUID
    found = read_report(document, {frame: lambda mm: 0.5 + (mm[:, 1::-1] - (40, 20)) / -0.0005})
    assert found.annotator == PERSON and found.verdict is None
    nucleus, neoplasm, region = found.marks[frame]
    assert (nucleus.label, nucleus.code.value, nucleus.role) == ("Nucleus", "84640000", Role.THING)
    assert nucleus.box == pytest.approx((20, 30, 36, 46), abs=0.01)
    assert neoplasm.box == pytest.approx((100, 90, 140, 110), abs=0.2)
    assert region.role is Role.REGION
    elsewhere = read_report(document, {})
    assert elsewhere.left_out == {"outline on a slide that is not in this study": 3}


def test_points_of_a_report_need_a_size():
    levels = datasets()
    document = report(levels, [Outline([(50.0, 60.0)], kind="POINT")])
    frame = levels[0].FrameOfReferenceUID
    assert read_report(document, {frame: lambda mm: mm}).left_out == {"point, and no size for points was given": 1}
    [mark] = read_report(document, {frame: lambda mm: mm[:, :2] * 0 + 50}, (4, 8)).marks[frame]
    assert mark.box == pytest.approx((46, 42, 54, 58), abs=0.1)


def test_a_report_of_rubbish_is_refused():
    document = report(datasets(), [square(20, 30, 16)])
    document.ContentSequence[-1].ContentSequence = []
    del document.ContentSequence[0].ValueType
    with pytest.raises(InvalidInstance):
        read_report(document, {})


@pytest.mark.parametrize(
    ("kind", "points", "found"),
    [
        (GraphicType.POLYGON, [(0, 0), (9, 0), (9, 9)], (0, 0, 9, 9)),
        (GraphicType.RECTANGLE, [(1, 1), (5, 1), (5, 7), (1, 7)], (1, 1, 5, 7)),
        (GraphicType.ELLIPSE, [(0, 5), (10, 5), (5, 2), (5, 8)], (0, 2, 10, 8)),
        (GraphicType.POINT, [(10, 10)], (8, 7, 12, 13)),
        (GraphicType.POLYLINE, [(0, 0), (9, 0), (9, 9)], None),
        (GraphicType.POLYLINE, [(0, 0), (9, 0), (9, 9), (0, 0)], (0, 0, 9, 9)),
        (GraphicType.POLYGON, [(0, 0), (9, 9), (4.5, 4.5)], None),
    ],
)
def test_bulk_annotations_of_every_kind_become_outlines(kind, points, found):
    group = AnnotationGroup(NUCLEUS, kind, np.array(points, np.float32), np.array([0, len(points)]))
    marks, left_out = bulk_marks(group, lambda places: places, (2, 3))
    assert (len(marks), sum(left_out.values())) == ((1, 0) if found else (0, 1))
    if found:
        assert marks[0].box == pytest.approx(found, abs=0.02)


def write(path, document):
    path.write_text(json.dumps(document))
    return path


def feature(geometry, **properties):
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def test_geojson_of_qupath_is_read(tmp_path):
    ring = [[0, 0], [9, 0], [9, 9], [0, 0]]
    features = [
        feature({"type": "Polygon", "coordinates": [ring]}, classification={"name": "Tumor"}),
        feature({"type": "MultiPolygon", "coordinates": [[ring], [ring]]}, classification={"names": ["A", "B"]}),
        feature({"type": "Point", "coordinates": [5, 5]}, classification={"name": "Cell"}),
        feature({"type": "LineString", "coordinates": ring}),
        feature({"type": "Polygon", "coordinates": [[[0, 0], [1e300, 0], [9, 9]]]}),
        feature({"type": "Polygon", "coordinates": "nonsense"}),
        feature(None),
    ]
    file = write(tmp_path / "a.geojson", {"type": "FeatureCollection", "features": features})
    marks, left_out = read_geojson(file)
    assert [(mark.label, len(mark.rings)) for mark in marks] == [("Tumor", 1), ("A: B", 2)]
    assert sum(left_out.values()) == 5 and left_out["point, and no size for points was given"] == 1
    assert len(read_geojson(file, (3, 3))[0]) == 3
    assert len(read_geojson(write(tmp_path / "b.geojson", features))[0]) == 2


@pytest.mark.parametrize("text", ["", "[1]", '{"type": "Feature', "[" * 100_000, '{"features": 3}'])
def test_what_is_no_geojson_is_refused(tmp_path, text):
    (tmp_path / "bad").write_text(text)
    with pytest.raises(BadRequest, match=r"no (GeoJSON|JSON)"):
        read_geojson(tmp_path / "bad")


def test_the_hand_made_labels_become_a_folder_that_training_reads(tmp_path, cmu_small_region):
    words = ["training-data", str(LABELS), "--slide", str(cmu_small_region), "--mpp", "0.5", "--json"]
    done = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")])
    assert done.exception is None
    told = json.loads(done.stdout)
    assert (told["pictures"], told["classes"], told["background"]) == (11, {"Nucleus": 308}, True)
    samples = list(read_folder(tmp_path / "out"))
    assert len(samples) == 11
    assert sum(len(np.unique(sample.labels)) - 1 for sample in samples) == 308
    for sample in samples:
        assert sample.unknown is not None and not sample.unknown[8:-8, 8:-8].any() and sample.unknown[:8].all()
        nuclei = sample.pixels[sample.labels > 0].mean()
        assert nuclei < sample.pixels[~sample.unknown & (sample.labels == 0)].mean() - 20, "nuclei are dark"
    with pytest.raises(BadRequest, match="not empty"):
        raise CliRunner().invoke(app, [*words, "--out", str(tmp_path / "out")]).exception


def test_a_slide_is_resampled_to_the_resolution_that_is_asked_for(tmp_path, cmu_small_region):
    words = ["training-data", str(LABELS), "--slide", str(cmu_small_region), "--mpp", "1", "--json"]
    done = CliRunner().invoke(app, [*words, "--slide-mpp", "0.25", "--out", str(tmp_path / "out")])
    assert done.exception is None
    rows = list(csv.DictReader((tmp_path / "out" / "index.csv").open()))
    assert {row["mpp"] for row in rows} == {"1.0"}
    assert {row[side] for row in rows for side in ("width", "height")} <= {"48", "49"}, "128 / 4 and a margin of 8"


def test_pictures_of_one_patient_are_in_one_fold(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    for name in "abcdefgh":
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(np.full((4, 4), UNKNOWN, np.uint16)).save(tmp_path / "labels" / f"{name}.png")
    assert len(set(folds_of(tmp_path, "abcdefgh").values())) > 1
    lines = ["id,group", *(f"{name},patient-1" for name in "abcdefgh")]
    (tmp_path / "groups.csv").write_text("\n".join(lines))
    assert set(folds_of(tmp_path, "abcdefgh").values()) == {fold_of("patient-1")}
    assert len(list(read_folder(tmp_path, folds=[fold_of("patient-1")]))) == 8
    (tmp_path / "groups.csv").write_text("picture\na\n")
    with pytest.raises(BadRequest, match="columns id and group"):
        folds_of(tmp_path, "a")
