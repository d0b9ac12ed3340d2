"""Findings as result objects, into the store all or none.

UIDs are made from the work item's, and dates are those of the first attempt: a second attempt makes the same objects,
which the store then knows.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from pydicom.uid import (
    MicroscopyBulkSimpleAnnotationsStorage,
    ParametricMapStorage,
    VLWholeSlideMicroscopyImageStorage,
)

from dicomsvc.ai.analysis.preparation import Preparation
from dicomsvc.ai.analysis.strips import (
    RasterStrips,
    Strip,
    channel_strips,
    class_strips,
    nearest_level,
    outline_strips,
)
from dicomsvc.ai.analysis.summary import Summary, annotation_group_uid, report_content
from dicomsvc.ai.catalogue.manifest import OutputKind
from dicomsvc.ai.findings import Instances
from dicomsvc.objects.annotations import AnnotationGroup, GraphicType, write_annotations
from dicomsvc.objects.common import derived_uid
from dicomsvc.objects.derived import DerivedChannel, DerivedImage, write_derived_image
from dicomsvc.objects.levels import Strips, Target
from dicomsvc.objects.parametric import MapQuantity, write_parametric_map
from dicomsvc.objects.provenance import FindingClass, Identity, Provenance
from dicomsvc.objects.report import write_report
from dicomsvc.objects.report_content import ResultReference
from dicomsvc.objects.segmentation import (
    LABELMAP_STORAGE,
    SEGMENTATION_STORAGE,
    Organisation,
    SegmentationKind,
    SegmentationOptions,
    write_segmentation_pyramid,
)
from dicomsvc.objects.source import SourceSlide
from dicomsvc.store import Source, SpoolFile, Store, Stored

_TILE: Final = 256
_DENSE_SHARE: Final = 0.25
_LARGEST_DENSE_PIXELS: Final = 1 << 32
# An instance holds at most 4 GB of uncompressed pixels; of a map each has four bytes.
_LARGEST_MAP_PIXELS: Final = 1 << 29
_SERIES: Final = {
    "SEG": (901, "segmentation"),
    "LABELMAP": (902, "label map"),
    "FRACTIONAL": (903, "probability"),
    "ANN": (911, "annotations"),
    "PM": (921, "map"),
    "SM": (931, "synthetic image"),
    "SR": (941, "report"),
}
_KINDS: Final = {
    "SEG": SegmentationKind.BINARY,
    "LABELMAP": SegmentationKind.LABELMAP,
    "FRACTIONAL": SegmentationKind.FRACTIONAL,
}


@dataclass(frozen=True, slots=True, eq=False)
class Findings:
    """What a model found on the whole of what was asked for; ``rasters`` by name."""

    instances: Instances | None
    rasters: dict[str, RasterStrips]


class ResultWriter:
    """Writes the objects of one analysis into the store's spool; `store_all` lets them in.

    Use as a context: what was not stored is gone at its end. ``tell`` hears what is being written, many times, and may
    raise to stop.
    """

    def __init__(
        self, store: Store, preparation: Preparation, provenance: Provenance, tell: Callable[[str], None]
    ) -> None:
        self._store = store
        self._preparation = preparation
        self._provenance = provenance
        self._tell = tell
        self._stack = ExitStack()
        self._files: list[SpoolFile] = []
        self.references: dict[str, ResultReference] = {}

    def __enter__(self) -> "ResultWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def classes(self) -> tuple[FindingClass, ...]:
        found = self._preparation.manifest.classes
        return tuple(FindingClass(each.label, each.category, each.type, each.colour) for each in found)

    @property
    def _source(self) -> SourceSlide:
        return self._preparation.subject.source

    def write_all(self, findings: Findings, summary: Summary) -> None:
        """Write every object that the model's manifest and the request ask for; the report last."""
        manifest, options = self._preparation.manifest, self._preparation.request.options
        wanted = set(manifest.objects)
        if findings.instances is not None and len(findings.instances) and "ANN" in wanted:
            self._write_annotations(findings.instances)
        if "SEG" in wanted:
            self._write_segmentation("SEG", findings)
            if options.labelmap:
                self._write_segmentation("LABELMAP", findings)
        if options.probability and "probability" in findings.rasters:
            self._write_probability(findings.rasters["probability"])
        if "PM" in wanted and "map" in findings.rasters:
            self._write_map(findings.rasters["map"], summary)
        if "SM" in wanted and "image" in findings.rasters:
            self._write_image(findings.rasters["image"])
        if "channels" in findings.rasters:
            self._write_channels(findings.rasters["channels"])
        if "SR" in wanted:
            content = report_content(manifest, self.classes, summary, self.references, self._provenance.work_item_uid)
            file, identity = self._open("SR")
            write_report(file.write, self._source, content, identity, self._provenance)

    def store_all(self, who: str) -> list[Stored]:
        """Let all objects into the store, or none.

        Raises
        ------
        OutOfResources
            When disk or database refuse.
        """
        return self._store.add_all(self._files, Source("analysis", who))

    def _open(self, kind: str, number: int = 1) -> tuple[SpoolFile, Identity]:
        """Start a file, and name what will be in it."""
        file = self._stack.enter_context(self._store.spool())
        self._files.append(file)
        uid = self._provenance.work_item_uid
        series_number, word = _SERIES[kind]
        identity = Identity(
            series_instance_uid=derived_uid(uid, kind),
            series_number=series_number,
            series_description=f"{self._preparation.manifest.title}: {word}"[:64],
            sop_instance_uid=derived_uid(uid, kind, str(number)),
            instance_number=number,
        )
        return file, identity

    def _targets(self, kind: str, sop_class_uid: str, mpp: float) -> list[Target]:
        """Start a file for each level of the slide from the one of this resolution on."""
        first, last = nearest_level(self._source, mpp), len(self._source.levels) - 1
        while kind == "PM" and first < last and self._pixels(first) > _LARGEST_MAP_PIXELS:
            first += 1
        targets = []
        for number, level in enumerate(range(first, last + 1), 1):
            file, identity = self._open(kind, number)
            targets.append(Target(file.write, level, identity))
        finest = targets[0].identity
        self.references[kind] = ResultReference(finest.series_instance_uid, sop_class_uid, finest.sop_instance_uid)
        return targets

    def _pixels(self, level: int) -> int:
        return self._source.levels[level].columns * self._source.levels[level].rows

    @property
    def _mpp(self) -> float:
        return float(np.sqrt(np.prod(self._preparation.plane.mpp)))

    def _write_annotations(self, instances: Instances) -> None:
        kind = GraphicType.POLYGON if len(instances.outline) else GraphicType.POINT
        groups = []
        for number, finding in enumerate(self.classes):
            chosen = instances.chosen(instances.class_index == number)
            if not len(chosen):
                continue
            measurements = {**chosen.measurements, "probability": chosen.probability}
            uid = annotation_group_uid(self._provenance.work_item_uid, number)
            if kind is GraphicType.POINT:
                groups.append(AnnotationGroup.of_points(finding, chosen.centroids, measurements, uid=uid))
            else:
                groups.append(AnnotationGroup(finding, kind, chosen.outline, chosen.offsets, measurements, uid=uid))
        file, identity = self._open("ANN")
        write_annotations(file.write, self._source, groups, identity, self._provenance)
        self.references["ANN"] = ResultReference(
            identity.series_instance_uid, MicroscopyBulkSimpleAnnotationsStorage, identity.sop_instance_uid
        )

    def _write_segmentation(self, kind: str, findings: Findings) -> None:
        labels = kind == "LABELMAP"
        mpp = self._mpp * (1 if findings.instances is not None else findings.rasters["class_map"].cell)
        targets = self._targets(kind, LABELMAP_STORAGE if labels else SEGMENTATION_STORAGE, mpp)
        level = self._source.levels[targets[0].level]
        if findings.instances is not None:
            strips = outline_strips(findings.instances, len(self.classes), self._source, level, _TILE)
        else:
            strips = class_strips(findings.rasters["class_map"].strips(self._source, level, _TILE), len(self.classes))
        self._write_pyramid(kind, targets, strips)

    def _write_probability(self, raster: RasterStrips) -> None:
        targets = self._targets("FRACTIONAL", SEGMENTATION_STORAGE, self._mpp * raster.cell)
        level = self._source.levels[targets[0].level]
        self._write_pyramid("FRACTIONAL", targets, channel_strips(raster.strips(self._source, level, _TILE)))

    def _write_pyramid(self, kind: str, targets: Sequence[Target], strips: Strips) -> None:
        # Outlines of two classes may cross; classes of a map, or a class alone, share no pixel.
        crossing = self._preparation.manifest.output.kind is OutputKind.INSTANCES and len(self.classes) > 1
        overlap = None if crossing and kind == "SEG" else False
        options = SegmentationOptions(
            kind=_KINDS[kind],
            organisation=Organisation.FULL if self._is_dense and kind == "SEG" else Organisation.AUTO,
            tile_size=_TILE,
            overlap=overlap,
            scratch=self._scratch,
        )

        def told(number: int) -> Strip | None:
            self._tell(_SERIES[kind][1])
            return strips(number)

        write_segmentation_pyramid(targets, self._source, self.classes, told, self._provenance, options)

    def _write_map(self, raster: RasterStrips, summary: Summary) -> None:
        targets = self._targets("PM", ParametricMapStorage, self._mpp * raster.cell)
        level = self._source.levels[targets[0].level]
        what, bounds = self.classes[0], summary.bounds
        quantity = MapQuantity(what.label[:16], what.label, what.type, *bounds)
        rows = raster.strips(self._source, level, _TILE)

        def strips(number: int) -> Strip:
            self._tell("map")
            return np.nan_to_num(rows(number), nan=bounds[0])[None]

        write_parametric_map(
            targets, self._source, quantity, strips, self._provenance, tile_size=_TILE, scratch=self._scratch
        )

    def _write_image(self, raster: RasterStrips) -> None:
        """Write a picture in red, green and blue."""
        title = self._preparation.manifest.title
        image = DerivedImage(title, (DerivedChannel("1", title),), rgb=True)

        def made(rows: Callable[[int], Strip]) -> Strips:
            return lambda number: rows(number)[None]

        self._write_derived(raster, image, made)

    def _write_channels(self, raster: RasterStrips) -> None:
        """Write named pictures in grey as optical paths of one image; what was not looked at is black."""
        manifest = self._preparation.manifest
        channels = manifest.output.channels
        said = "; ".join(f"{each.label} stands for {each.stands_for}" for each in channels if each.stands_for)
        title = f"{manifest.title}: {said}" if said else manifest.title
        paths = (DerivedChannel(str(at), each.label, each.colour) for at, each in enumerate(channels, 1))
        self._write_derived(raster, DerivedImage(title, tuple(paths)), channel_strips)

    def _write_derived(
        self, raster: RasterStrips, image: DerivedImage, made: Callable[[Callable[[int], Strip]], Strips]
    ) -> None:
        targets = self._targets("SM", VLWholeSlideMicroscopyImageStorage, self._mpp * raster.cell)
        level = self._source.levels[targets[0].level]
        strips = made(raster.strips(self._source, level, _TILE))

        def told(number: int) -> Strip | None:
            self._tell("image")
            return strips(number)

        write_derived_image(
            targets, self._source, image, told, self._provenance, tile_size=_TILE, scratch=self._scratch
        )

    @property
    def _is_dense(self) -> bool:
        """Whether most tiles will hold something, and all of them fit into an instance: then none has to wait."""
        plan = self._preparation.plan
        looked_at = plan.tiles * (plan.tile_size - 2 * plan.overlap) ** 2
        return (
            looked_at > _DENSE_SHARE * plan.columns * plan.rows
            and self._pixels(0) * len(self.classes) < _LARGEST_DENSE_PIXELS
        )

    @property
    def _scratch(self) -> Path:
        return self._preparation.checkpoint.folder
