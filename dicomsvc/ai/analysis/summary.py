"""What was found, as numbers: for the report, and for whoever asked."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicomsvc.ai.analysis.marker_scores import score_group
from dicomsvc.ai.analysis.strips import RasterStrips
from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.findings import Instances
from dicomsvc.ai.ihc.assessment import Assessment
from dicomsvc.objects.codes import MAXIMUM, MEAN, MINIMUM, STANDARD_DEVIATION
from dicomsvc.objects.common import derived_uid
from dicomsvc.objects.provenance import FindingClass
from dicomsvc.objects.report_content import ReportContent, ReportGroup, ReportMeasurement, ResultReference
from dicomsvc.wsi.plan import Rectangle

_MOST_SAID = 20
"""Areas whose shares stand in the report's comment; all stand in its tree."""


@dataclass(frozen=True, slots=True, eq=False)
class Area:
    """A part of the slide that numbers are given for: the whole (without ``place``), or a region in slide pixels."""

    label: str
    analysed_mm2: float
    place: Rectangle | None = None

    def holds(self, centroids: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Return which of the points ``(n, 2)`` lie in it."""
        if self.place is None:
            return np.ones(len(centroids), bool)
        x, y = centroids[:, 0], centroids[:, 1]
        place = self.place
        inside: npt.NDArray[np.bool_] = (x >= place.x) & (x < place.right) & (y >= place.y) & (y < place.bottom)
        return inside

    @property
    def outline(self) -> npt.NDArray[np.float64] | None:
        if self.place is None:
            return None
        place = self.place
        corners = [(place.x, place.y), (place.right, place.y), (place.right, place.bottom), (place.x, place.bottom)]
        return np.array(corners, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The numbers of one class in one area."""

    area: Area
    number: int
    measurements: tuple[ReportMeasurement, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """All numbers of an analysis. ``bounds``: least and greatest value of a map; ``scores``: of an IHC model."""

    areas: tuple[Area, ...]
    rows: tuple[Row, ...] = ()
    bounds: tuple[float, float] = (0.0, 1.0)
    scores: tuple[tuple[Area, Assessment], ...] = ()

    def document(self, manifest: Manifest) -> list[dict[str, object]]:
        """Return the numbers as JSON, for a work item's outputs."""
        return [
            {"area": row.area.label, "class": manifest.classes[row.number].label, **_plain(row.measurements)}
            for row in self.rows
        ]

    def words(self, manifest: Manifest) -> str:
        """Return the numbers of the first area in a line."""
        parts = [each.words() for area, each in self.scores if area is self.areas[0]]
        for row in self.rows:
            if row.area is self.areas[0]:
                values = {each.name: each.value for each in row.measurements if each.statistic is None}
                parts.append(f"{manifest.classes[row.number].label}: {_line(values)}")
        return "; ".join(parts)


def counted(instances: Instances, areas: Sequence[Area], classes: int) -> Summary:
    """Count things by class and area; of their measurements the mean and the standard deviation."""

    def rows() -> Iterator[Row]:
        for area in areas:
            inside = area.holds(instances.centroids)
            for number in range(classes):
                chosen = inside & (instances.class_index == number)
                yield Row(area, number, tuple(_of_things(instances, chosen, area)))

    return Summary(tuple(areas), tuple(rows()))


def measured(
    counts: Mapping[str, npt.NDArray[np.int64]], cell_mm2: float, areas: Sequence[Area], *, of_classes: bool = False
) -> Summary:
    """Measure classes by the cells of their maps; ``counts`` by the area's label, none first.

    Shares are of the tissue that was analysed; of all that has a class where that is more, as when glass is one, or
    where ``of_classes`` says so: then they add to 100.
    """

    def rows() -> Iterator[Row]:
        for area in areas:
            cells = counts[area.label]
            classified = float(cells[1:].sum()) * cell_mm2
            whole = classified if of_classes else max(area.analysed_mm2, classified)
            for number, count in enumerate(cells[1:].tolist()):
                measurements = [ReportMeasurement("area_mm2", count * cell_mm2)]
                measurements.append(ReportMeasurement("area_percent", 100 * count * cell_mm2 / whole if whole else 0.0))
                yield Row(area, number, tuple(measurements))

    return Summary(tuple(areas), tuple(rows()))


def map_numbers(raster: RasterStrips, areas: Sequence[Area]) -> Summary:
    """Return mean, least and greatest value of a map's cells that were looked at."""
    rows = []
    bounds = [np.inf, -np.inf]
    for area in areas:
        total, count, least, most = 0.0, 0, np.inf, -np.inf
        for values in raster.values(area.place):
            known = values[np.isfinite(values)].astype(np.float64)
            if len(known):
                total, count = total + float(known.sum()), count + len(known)
                least, most = min(least, float(known.min())), max(most, float(known.max()))
        if count:
            bounds = [min(bounds[0], least), max(bounds[1], most)]
            numbers = ((total / count, MEAN), (least, MINIMUM), (most, MAXIMUM))
            rows.append(Row(area, 0, tuple(ReportMeasurement("value", number, what) for number, what in numbers)))
    if not rows:
        return Summary(tuple(areas))
    low, high = bounds
    return Summary(tuple(areas), tuple(rows), (low, high if high > low else low + 1))


def _of_things(instances: Instances, chosen: npt.NDArray[np.bool_], area: Area) -> Iterator[ReportMeasurement]:
    count = int(chosen.sum())
    yield ReportMeasurement("count", count)
    if area.analysed_mm2 > 0:
        yield ReportMeasurement("density_per_mm2", count / area.analysed_mm2)
    for name, values in instances.measurements.items():
        known = values[chosen]
        known = known[np.isfinite(known)].astype(np.float64)
        if len(known):
            yield ReportMeasurement(name, float(known.mean()), MEAN)
            yield ReportMeasurement(name, float(known.std()), STANDARD_DEVIATION)


def annotation_group_uid(work_item_uid: str, number: int) -> str:
    """Return the UID of a class's annotation group, by which the report tells whose numbers it gives."""
    return derived_uid(work_item_uid, "ANN", "group", str(number))


def report_content(
    manifest: Manifest,
    classes: Sequence[FindingClass],
    summary: Summary,
    references: Mapping[str, ResultReference],
    work_item_uid: str,
) -> ReportContent:
    """Return the report: what was looked at, then each class in each area, with the objects that show it."""
    whole = summary.areas[0]
    groups = [ReportGroup(whole.label, (ReportMeasurement("analysed_area_mm2", whole.analysed_mm2),))]
    for row in summary.rows:
        found = classes[row.number]
        in_whole = row.area.place is None
        groups.append(
            ReportGroup(
                found.label if in_whole else f"{found.label}, {row.area.label}",
                row.measurements,
                finding=found,
                region=row.area.outline,
                segmentation=references.get("SEG") if in_whole else None,
                segment_number=row.number + 1,
                annotations=references.get("ANN") if in_whole else None,
                tracking_uid=annotation_group_uid(work_item_uid, row.number)
                if "ANN" in references and in_whole
                else "",
            )
        )
    groups += [score_group(area.label, area.outline, each) for area, each in summary.scores]
    # A region's numbers are of a part of these objects: then the report as a whole names them.
    shown = {"SEG", "ANN"} if any(row.area.place is None for row in summary.rows) else set()
    # A label map shows what the segmentation does, and readers that do not know its class refuse the whole report.
    others = tuple(reference for kind, reference in references.items() if kind not in (*shown, "LABELMAP"))
    comment = " ".join((_shares(manifest, summary), manifest.intended_use, manifest.limitations)).strip()
    return ReportContent(tuple(groups), others, comment)


def _shares(manifest: Manifest, summary: Summary) -> str:
    """Return each area's shares in a sentence, the largest first; nothing where no class has an area."""
    sentences = []
    for area in summary.areas[:_MOST_SAID]:
        found = {
            manifest.classes[row.number].label: each.value
            for row in summary.rows
            if row.area is area
            for each in row.measurements
            if each.name == "area_percent"
        }
        ordered = sorted(found.items(), key=lambda entry: -entry[1])
        if ordered:
            sentences.append(
                f"{area.label}: {', '.join(f'{label} {share:.1f} %' for label, share in ordered)} of area."
            )
    return " ".join(sentences)


def _plain(measurements: Sequence[ReportMeasurement]) -> dict[str, float]:
    values = {}
    for each in measurements:
        suffix = "" if each.statistic is None else f"_{each.statistic.meaning.lower().replace(' ', '_')}"
        values[f"{each.name}{suffix}"] = round(float(each.value), 6)
    return values


def _line(values: Mapping[str, float]) -> str:
    words = {
        "count": "{:.0f}",
        "density_per_mm2": "{:.0f} per mm²",
        "area_mm2": "{:.3g} mm²",
        "area_percent": "{:.1f} %",
    }
    return ", ".join(form.format(values[name]) for name, form in words.items() if name in values)
