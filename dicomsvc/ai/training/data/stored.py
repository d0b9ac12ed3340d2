"""Finds what was drawn on the slides of a study: reports, bulk annotations and segmentations in the store."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from pydicom.dataset import Dataset as Document
from pydicom.uid import MicroscopyBulkSimpleAnnotationsStorage, VLWholeSlideMicroscopyImageStorage

from dicomsvc.ai.overlay.stored import SEGMENTATIONS, same_object
from dicomsvc.ai.overlay.view import SlidePlane
from dicomsvc.ai.training.data.bulk import bulk_marks
from dicomsvc.ai.training.data.choice import Choice, LeftOut, Origin
from dicomsvc.ai.training.data.marks import Mark, Role
from dicomsvc.ai.training.data.reports import REPORT_STORAGES, Report, ToPixels, load_report, read_report, series_named
from dicomsvc.ai.training.data.segments import Segment, segments_of
from dicomsvc.dicom.json import Metadata, metadata_dataset
from dicomsvc.errors import DicomsvcError
from dicomsvc.objects.annotations import AnnotationGroup, Generation, read_annotations
from dicomsvc.objects.verification import Verdict, latest_versions
from dicomsvc.store import InstanceRecord, Store
from dicomsvc.wsi.attributes import Dataset, first, item, text
from dicomsvc.wsi.image import StoredImage, open_image
from dicomsvc.wsi.levels import slide_mpp
from dicomsvc.wsi.slide import Slide, open_slide

UNNAMED = "unnamed person"
_FRAME_OF_REFERENCE = "00200052"
_BY_HAND = ("MANUAL", "SEMIAUTOMATIC")
_REJECTED = "result that a person rejected"


@dataclass(slots=True, eq=False)
class Drawing:
    """What one annotator drew on one slide; a model is an annotator by its object's name."""

    annotator: str
    origin: Origin
    marks: list[Mark] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    records: dict[str, InstanceRecord] = field(default_factory=dict)
    """The objects that it was drawn in, by their UID."""


@dataclass(frozen=True, slots=True, eq=False)
class DrawnSlide:
    """A slide of the store and all drawings on it."""

    study_instance_uid: str
    series_instance_uid: str
    slide: Slide
    plane: SlidePlane
    mpp: tuple[float, float]
    drawings: dict[tuple[str, Origin], Drawing] = field(default_factory=dict)

    @property
    def dataset(self) -> Dataset:
        return self.slide.levels[0].dataset

    def drawing(self, annotator: str, origin: Origin) -> Drawing:
        return self.drawings.setdefault((annotator, origin), Drawing(annotator, origin))


def read_study(store: Store, study_instance_uid: str, choice: Choice, left_out: LeftOut) -> list[DrawnSlide]:
    """Return the slides of a study that something was drawn on.

    What cannot be read, or is not asked for, is counted in ``left_out`` with the reason.

    Raises
    ------
    NotFound
        When nothing is stored under this UID.
    """
    records = store.instances.find(study_instance_uid)
    study = _Study(store, choice, left_out, _slides(store, records, left_out))
    verdicts = study.take_reports([record for record in records if record.sop_class_uid in REPORT_STORAGES])
    study.take_objects(records, verdicts)
    return [slide for slide in study.slides if slide.drawings]


def _slides(store: Store, records: Sequence[InstanceRecord], left_out: LeftOut) -> list[DrawnSlide]:
    series = dict.fromkeys(
        (record.study_instance_uid, record.series_instance_uid)
        for record in records
        if record.sop_class_uid == VLWholeSlideMicroscopyImageStorage
    )
    found = []
    for uids in series:
        try:
            slide = open_slide(store, *uids)
            found.append(DrawnSlide(*uids, slide, SlidePlane(slide.levels[0]), slide_mpp(slide)))
        except (DicomsvcError, IndexError):
            left_out.add("slide that cannot be opened, or does not say how its pixels lie on the glass")
    return found


@dataclass(slots=True, eq=False)
class _Study:
    store: Store
    choice: Choice
    left_out: LeftOut
    slides: list[DrawnSlide]

    def take_reports(self, records: Sequence[InstanceRecord]) -> dict[str, Verdict]:
        """Take what reports outline; return what people said of the instances that they name, by UID."""
        documents: list[tuple[InstanceRecord, Document]] = []
        for record in records:
            try:
                documents.append((record, load_report(record)))
            except DicomsvcError as error:
                self.left_out.add(str(error))
        try:
            newest = {id(each) for each in latest_versions([ds for _, ds in documents])}
        except DicomsvcError as error:
            self.left_out.add(str(error), len(documents))
            return {}
        judged = [self._take_report(record, ds) for record, ds in documents if id(ds) in newest]
        return _joined((uid, verdict) for each in judged for uid, verdict in each.items())

    def _take_report(self, record: InstanceRecord, ds: Document) -> dict[str, Verdict]:
        slides: dict[str, DrawnSlide] = {}
        try:
            named = series_named(ds)
            # Two slides may share a frame of reference: that of the series which the report names goes first.
            for slide in sorted(self.slides, key=lambda each: each.series_instance_uid not in named):
                slides.setdefault(text(slide.dataset, _FRAME_OF_REFERENCE), slide)
            radius = self.choice.point_radius(self.slides[0].mpp) if self.slides else None
            report = read_report(ds, {uid: slide.plane.from_mm for uid, slide in slides.items()}, radius)
        except DicomsvcError as error:
            self.left_out.add(str(error))
            return {}
        # What a person's report names is not what it is a verdict on.
        judged = {} if report.verdict is None or report.annotator else dict.fromkeys(report.references, report.verdict)
        if report.verdict is Verdict.REJECTED:
            self.left_out.add("report that a person rejected", max(1, sum(map(len, report.marks.values()))))
            return judged
        self.left_out.update(report.left_out)
        for uid, marks in report.marks.items():
            # What a model's report outlines is where it looked, not what it found.
            outlines = marks if report.annotator else [replace(mark, role=Role.REGION) for mark in marks]
            if outlines:
                self._add(record, slides[uid], _annotator_of(report), _origin_of(report), outlines)
        return judged

    def take_objects(self, records: Sequence[InstanceRecord], verdicts: Mapping[str, Verdict]) -> None:
        """Take bulk annotations and segmentations; ``verdicts`` are by the UID of an instance."""
        kinds = (str(MicroscopyBulkSimpleAnnotationsStorage), *SEGMENTATIONS)
        chosen = [record for record in records if record.sop_class_uid in kinds]
        # A report names the finest level of a pyramid; the others are in its series.
        of_series = _joined(
            (record.series_instance_uid, verdicts[record.sop_instance_uid])
            for record in chosen
            if record.sop_instance_uid in verdicts
        )
        images: dict[tuple[Verdict | None, tuple[object, ...]], list[StoredImage]] = defaultdict(list)
        for record, metadata in self.store.instances.metadata(chosen):
            verdict = verdicts.get(record.sop_instance_uid) or of_series.get(record.series_instance_uid)
            try:
                if record.sop_class_uid in SEGMENTATIONS:
                    image = open_image(self.store, record, metadata)
                    images[verdict, same_object(image)].append(image)
                elif verdict is Verdict.REJECTED:
                    self.left_out.add(_REJECTED)
                else:
                    self._take_annotations(record, metadata, _automatic(verdict))
            except DicomsvcError as error:
                self.left_out.add(f"annotations that cannot be read: {type(error).__name__}")
        for (verdict, _), levels in images.items():
            if verdict is Verdict.REJECTED:
                self.left_out.add(_REJECTED)
            else:
                self._take_segmentation(levels, _automatic(verdict))

    def _take_annotations(self, record: InstanceRecord, metadata: Metadata, automatic: Origin) -> None:
        ds = metadata_dataset(metadata, "")
        groups = read_annotations(record.readable_path())
        for slide, group, to_slide in self._placed(ds, groups):
            marks, left_out = bulk_marks(group, to_slide, self.choice.point_radius(slide.mpp))
            self.left_out.update(left_out)
            by_hand = group.generation is not Generation.AUTOMATIC
            self._add(record, slide, _creator(ds, by_hand), Origin.PEOPLE if by_hand else automatic, marks)

    def _placed(
        self, ds: Dataset, groups: Sequence[AnnotationGroup]
    ) -> Iterator[tuple[DrawnSlide, AnnotationGroup, ToPixels]]:
        """Yield each group with its slide and what makes slide pixels of its points."""
        referenced = text(item(ds, "00081140"), "00081155")
        frame = text(ds, _FRAME_OF_REFERENCE)
        for group in groups:
            for slide in self.slides:
                level = next((each for each in slide.slide.levels if each.record.sop_instance_uid == referenced), None)
                if group.points.shape[1] == 3 and frame == text(slide.dataset, _FRAME_OF_REFERENCE):
                    yield slide, group, slide.plane.from_mm
                    break
                if group.points.shape[1] == 2 and level is not None:
                    yield slide, group, _from_level(slide.plane.placing(level).factor)
                    break
            else:
                self.left_out.add("outline on a slide that is not in this study", len(group))

    def _take_segmentation(self, levels: Sequence[StoredImage], automatic: Origin) -> None:
        frame = text(levels[0].dataset, _FRAME_OF_REFERENCE)
        slide = next((each for each in self.slides if text(each.dataset, _FRAME_OF_REFERENCE) == frame), None)
        if slide is None or not frame:
            self.left_out.add("segmentation of a slide that is not in this study")
            return
        for segment in segments_of(levels, slide.plane, self.choice.threshold):
            by_hand = segment.generation in _BY_HAND
            origin = Origin.PEOPLE if by_hand else automatic
            self._add(levels[0].record, slide, _creator(levels[0].dataset, by_hand), origin, [segment])

    def _add(
        self,
        record: InstanceRecord,
        slide: DrawnSlide,
        annotator: str,
        origin: Origin,
        found: Sequence[Mark] | Sequence[Segment],
    ) -> None:
        """Keep what is asked for."""
        if not self.choice.takes_series(record.series_instance_uid, slide.series_instance_uid):
            self.left_out.add("annotation of a series that was not asked for", len(found))
        elif origin not in self.choice.origins:
            reason = "result of a model that nobody accepted" if origin is Origin.MODELS else f"origin {origin}"
            self.left_out.add(reason, len(found))
        elif not self.choice.takes_annotator(annotator):
            self.left_out.add("annotation of a person who was not asked for", len(found))
        else:
            for each in found:
                if not self.choice.takes_class(each.label, each.code, each.role):
                    self.left_out.add("class that was not asked for")
                    continue
                drawing = slide.drawing(annotator, origin)
                drawing.records[record.sop_instance_uid] = record
                if isinstance(each, Mark):
                    drawing.marks.append(each)
                else:
                    drawing.segments.append(each)


def _annotator_of(report: Report) -> str:
    return report.annotator or "model"


def _origin_of(report: Report) -> Origin:
    return Origin.PEOPLE if report.annotator else _automatic(report.verdict)


def _automatic(verdict: Verdict | None) -> Origin:
    """Return the origin of what a model found."""
    return Origin.ACCEPTED if verdict is Verdict.ACCEPTED else Origin.MODELS


def _joined(verdicts: Iterable[tuple[str, Verdict]]) -> dict[str, Verdict]:
    """Return one verdict for each UID: a rejection goes before an acceptance."""
    found: dict[str, Verdict] = {}
    for uid, verdict in verdicts:
        if found.get(uid) is not Verdict.REJECTED:
            found[uid] = verdict
    return found


def _creator(ds: Dataset, by_hand: bool) -> str:
    """Return Content Creator's Name, else Operators' Name, of what a person drew."""
    return _person(ds, "00700084") or _person(ds, "00081070") or UNNAMED if by_hand else "model"


def _person(ds: Dataset, tag: str) -> str:
    name = first(ds, tag)
    found = name.get("Alphabetic") or name.get("Ideographic") if isinstance(name, Mapping) else None
    return found if isinstance(found, str) else ""


def _from_level(factor: tuple[float, float]) -> ToPixels:
    """Return what makes slide pixels of pixels of a level; ``factor`` is slide pixels per pixel of it, (x, y)."""
    return lambda points: np.asarray(points, np.float64)[:, :2] * factor
