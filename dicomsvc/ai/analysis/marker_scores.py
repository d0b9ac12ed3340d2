"""The score of an IHC model in an analysis: its colours checked before, its cells after, its place in the report."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.sr.coding import Code

from dicomsvc.ai.catalogue.manifest import Manifest
from dicomsvc.ai.findings import Instances
from dicomsvc.ai.ihc.assessment import NOT_FOR_DIAGNOSIS, Assessment, assess, gives_scores, reclassed
from dicomsvc.ai.ihc.plausibility import Colouring, colouring, judge_colours
from dicomsvc.ai.ihc.presets import DEFAULT, preset_named
from dicomsvc.errors import BadRequest, UnfitSlide
from dicomsvc.objects.codes import PRIVATE_SCHEME
from dicomsvc.objects.report_content import Evaluation, ReportGroup, ReportMeasurement

_STATUS: Final = Code("SCORE_STATUS", PRIVATE_SCHEME, "Status of Score")
_REASON: Final = Code("SCORE_REASON", PRIVATE_SCHEME, "Reason Why There Is No Score")
_WARNING: Final = Code("SCORE_WARNING", PRIVATE_SCHEME, "Warning about Score")
_CATEGORY: Final = Code("SCORE_CATEGORY", PRIVATE_SCHEME, "Category of Score")
_RULES: Final = Code("SCORE_RULES", PRIVATE_SCHEME, "Rules of Score")


def check_marker(manifest: Manifest, marker: str | None) -> None:
    """Refuse a marker that is not known, or that the model gives no scores of.

    Raises
    ------
    BadRequest
    """
    if marker is None:
        return
    if not gives_scores(manifest):
        raise BadRequest(f"{manifest.name} tells no positive cells from negative ones; the option marker is not for it")
    preset_named(marker)


def colour_numbers(manifest: Manifest, sample: npt.NDArray[np.uint8]) -> dict[str, Any]:
    """Return what a slide's tissue is coloured by, to be kept with the analysis; nothing for other models."""
    return {"colours": asdict(colouring(sample))} if gives_scores(manifest) else {}


def check_colours(manifest: Manifest, numbers: Mapping[str, Any]) -> None:
    """Refuse a slide whose colours are not those of immunohistochemistry.

    Raises
    ------
    UnfitSlide
        With the reason.
    """
    if "colours" in numbers:
        judgement = judge_colours(Colouring(**numbers["colours"]))
        if judgement.refusals:
            raise UnfitSlide(f"{manifest.name} is for immunohistochemistry; the slide {'; '.join(judgement.refusals)}")


def marked(instances: Instances, manifest: Manifest, marker: str | None) -> Instances:
    """Return things in the classes of a marker that is not looked for in the nucleus."""
    return reclassed(instances, preset_named(marker or DEFAULT)) if gives_scores(manifest) else instances


def assessed(
    instances: Instances,
    manifest: Manifest,
    marker: str | None,
    numbers: Mapping[str, Any],
    rows: npt.NDArray[np.bool_] | None,
) -> Assessment | None:
    """Return the score of some rows, or of all; None for models that give none."""
    if not gives_scores(manifest):
        return None
    return assess(instances, preset_named(marker or DEFAULT), manifest, Colouring(**numbers["colours"]), rows)


def score_group(area: str, region: npt.NDArray[np.float64] | None, assessment: Assessment) -> ReportGroup:
    """Return a score as a group of a report; one that is refused gives the reason, and no number but the cells."""
    found = assessment.score
    measurements = [ReportMeasurement("cells_count", found.total)]
    evaluations = [Evaluation(_STATUS, _status(assessment))]
    if assessment.refused:
        evaluations += [Evaluation(_REASON, reason) for reason in assessment.judgement.refusals]
    else:
        measurements += [
            ReportMeasurement("positive_count", found.positive),
            ReportMeasurement(found.preset.measure, found.percent_positive),
            ReportMeasurement("h_score", found.h_score),
        ]
        measurements += [ReportMeasurement(f"intensity_{grade}_count", count) for grade, count in enumerate(found.bins)]
        if found.allred is not None:
            measurements += [
                ReportMeasurement("allred_proportion", found.allred[0]),
                ReportMeasurement("allred_intensity", found.allred[1]),
            ]
        if found.category:
            evaluations.append(Evaluation(_CATEGORY, found.category))
        if found.preset.source:
            evaluations.append(Evaluation(_RULES, found.preset.source))
    evaluations += [Evaluation(_WARNING, warning) for warning in assessment.judgement.warnings]
    return ReportGroup(f"{found.preset.label}, {area}", tuple(measurements), tuple(evaluations), region=region)


def _status(assessment: Assessment) -> str:
    if assessment.refused:
        return f"refused, {NOT_FOR_DIAGNOSIS}"
    return f"{'scored' if assessment.final else 'scored, not final'}, {NOT_FOR_DIAGNOSIS}"
